// Which ids of a row a filter leaves: a prefix of them in descending order of value, found by histograms.
#include "common.cuh"

typedef unsigned long long u64;

constexpr int SAMPLE_THREADS = 1024;
constexpr int BIN_BITS = 11, BINS = 1 << BIN_BITS;
constexpr float BINS_PER_NAT = 64;
constexpr int LISTED_MAX = 512;
constexpr int PART_BITS = 14, PARTS = 3;  // of a mass, at most 2^40; 2^18 ids do not overflow a sum of 32 bits
constexpr int CANDIDATE_BITS = 64;

// backend.cpu.FloatMath#exp.
__device__ __forceinline__ float exactExp(float x) {
    if (x < -87.33654f) return 0.0f;
    float bounded = x < 88.37626f ? x : 88.37626f;
    float n = __fsub_rn(__fmaf_rn(bounded, 1.442695f, 12582912.0f), 12582912.0f);
    float r = __fmaf_rn(-n, 0.6933594f, bounded);
    r = __fmaf_rn(-n, -0.00021219444f, r);
    float y = 0.00019875691f;
    y = __fmaf_rn(y, r, 0.0013981999f);
    y = __fmaf_rn(y, r, 0.008333452f);
    y = __fmaf_rn(y, r, 0.041665796f);
    y = __fmaf_rn(y, r, 0.16666666f);
    y = __fmaf_rn(y, r, 0.5f);
    y = __fadd_rn(__fmaf_rn(y, __fmul_rn(r, r), r), 1.0f);
    return __int_as_float(__float_as_int(y) + (int)((unsigned)(int)n << 23));
}

// A value and its id as one number that is larger for larger values, both zeros alike, and among equal ones for lower ids.
__device__ __forceinline__ u64 candidate(float v, int id) {
    unsigned bits = __float_as_uint(__fadd_rn(v, 0.0f));
    return (u64)(bits & 0x80000000u ? ~bits : bits | 0x80000000u) << 32 | (unsigned)~id;
}
__device__ __forceinline__ int candidateId(u64 c) { return (int)~(unsigned)c; }
__device__ __forceinline__ float candidateValue(u64 c) {
    unsigned key = (unsigned)(c >> 32);
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// Calls f(first id, values, how many) for each four ids of a row that are this thread's; loads of AT fours are under way
// together.
template <int AT, typename F>
__device__ __forceinline__ void forFours(const float* values, int n, F f) {
    bool isAligned = (u64)values % sizeof(float4) == 0;
#pragma unroll 1
    for (int begin = (int)threadIdx.x * 4; begin < n; begin += AT * SAMPLE_THREADS * 4) {
        float v[AT][4];
#pragma unroll
        for (int a = 0; a < AT; a++) {
            int first = begin + a * SAMPLE_THREADS * 4;
            if (isAligned && first + 4 <= n) {
                float4 four = *(const float4*)(values + first);
                v[a][0] = four.x, v[a][1] = four.y, v[a][2] = four.z, v[a][3] = four.w;
            } else {
#pragma unroll
                for (int i = 0; i < 4; i++) v[a][i] = first + i < n ? values[first + i] : 0;
            }
        }
#pragma unroll
        for (int a = 0; a < AT; a++) {
            int first = begin + a * SAMPLE_THREADS * 4;
            if (first < n) f(first, v[a], min(4, n - first));
        }
    }
}

struct SampleShared {
    u64 scratch[WARP];
    float floats[WARP];
    unsigned histogram[PARTS * BINS];
    u64 listed[LISTED_MAX], amounts[LISTED_MAX];
    int listedCount;
    int bin;
    u64 before;  // the total of the bins ahead of it
    u64 last;
};

// The largest over the block, to every thread. scratch: [32], free again after the next barrier.
__device__ __forceinline__ u64 blockBest(u64 best, u64* scratch) {
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask >>= 1) {
        u64 other = __shfl_xor_sync(0xffffffffu, best, mask);
        best = other > best ? other : best;
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = best;
    __syncthreads();
#pragma unroll 8
    for (int w = 0; w < SAMPLE_THREADS / WARP; w++) best = scratch[w] > best ? scratch[w] : best;
    return best;
}

// The largest value with the lowest id, to every thread.
__device__ __forceinline__ u64 bestOfAll(const float* values, int n, u64* scratch) {
    u64 best = 0;
    forFours<4>(values, n, [&](int first, const float(&v)[4], int count) {
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (i < count) best = max(best, candidate(v[i], first + i));
    });
    return blockBest(best, scratch);
}

// What filters need of a row.
struct Distribution {
    const float* values;
    int n;
    float largest, inverse;

    __device__ __forceinline__ float weight(float v) const {
        return exactExp(__fmul_rn(__fsub_rn(v, largest), inverse));
    }
    // At most 2^40, whatever the values.
    __device__ __forceinline__ u64 mass(float v) const { return (u64)__fmul_rn(min(1.0f, weight(v)), 1099511627776.0f); }
    // Even in the exponent, so that a histogram spreads; smaller for larger values. The order of operands keeps NaN out.
    __device__ __forceinline__ int bin(float v) const {
        return (int)max(0.0f, min(BINS - 1.0f, __fmul_rn(__fmul_rn(__fsub_rn(largest, v), inverse), BINS_PER_NAT)));
    }
};

// How far a prefix goes: to so many ids, or where count is 0 to so much of the mass.
struct Goal {
    int count;
    float share;
};

// Makes a list, in any order, of the candidates of a kind; returns how many there are, or LISTED_MAX + 1 for more.
template <typename F>
__device__ __forceinline__ int listWhere(const float* values, int n, SampleShared& shared, F isListed) {
    if (threadIdx.x == 0) shared.listedCount = 0;
    __syncthreads();
    forFours<4>(values, n, [&](int first, const float(&v)[4], int count) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u64 c = candidate(v[i], first + i);
            if (i >= count || !isListed(v[i], c) || *(volatile int*)&shared.listedCount > LISTED_MAX) continue;
            int to = atomicAdd(&shared.listedCount, 1);
            if (to < LISTED_MAX) shared.listed[to] = c;
        }
    });
    __syncthreads();
    return min(shared.listedCount, LISTED_MAX + 1);
}

// From the histogram: the bin at which the running total reaches the target, and the total ahead of it, to shared. The
// target of a share is known once the total is; it is left to the caller.
__device__ __forceinline__ void findBin(Goal goal, u64& target, SampleShared& shared) {
    constexpr int OWN = BINS / SAMPLE_THREADS;
    int thread = (int)threadIdx.x, lane = thread % WARP, warp = thread / WARP;
    u64 amounts[OWN], upTo = 0;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        int bin = thread * OWN + i;
        amounts[i] = shared.histogram[bin];
        if (goal.count == 0) {
#pragma unroll
            for (int p = 1; p < PARTS; p++) amounts[i] += (u64)shared.histogram[p * BINS + bin] << p * PART_BITS;
        }
        upTo += amounts[i];
    }
    u64 own = upTo;
#pragma unroll
    for (int delta = 1; delta < WARP; delta <<= 1) {
        u64 other = __shfl_up_sync(0xffffffffu, upTo, delta);
        if (lane >= delta) upTo += other;
    }
    if (lane == WARP - 1) shared.scratch[warp] = upTo;
    __syncthreads();
    u64 before = upTo - own, total = 0;
#pragma unroll 4
    for (int w = 0; w < SAMPLE_THREADS / WARP; w++) {
        if (w == warp) before += total;
        total += shared.scratch[w];
    }
    if (target == 0) target = (u64)ceil((double)goal.share * (double)total);
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        if (before < target && target <= before + amounts[i]) {
            shared.bin = thread * OWN + i;
            shared.before = before;
        }
        before += amounts[i];
    }
    __syncthreads();
}

// The last candidate of the shortest prefix that reaches a goal, of those that are no less than another.
//
// Bins of a histogram are first of the exponent and then of ever lower bits of the candidates in the bin that the last one
// belongs to, until these are few enough for a list. No two candidates are equal, so at the latest one alone is left.
__device__ __forceinline__ u64 shortestPrefix(const Distribution& d, u64 least, Goal goal, SampleShared& shared) {
    int thread = (int)threadIdx.x, selectedBin = -1, left = CANDIDATE_BITS;
    u64 target = (u64)goal.count, known = 0;
    auto isSelected = [&](float v, u64 c) {
        return c >= least && (selectedBin < 0 || d.bin(v) == selectedBin) &&
               (left == CANDIDATE_BITS || c >> left == known >> left);
    };
    for (;;) {
        int shift = max(left - BIN_BITS, 0), digits = (1 << (left - shift)) - 1;
        for (int i = thread; i < PARTS * BINS; i += SAMPLE_THREADS) shared.histogram[i] = 0;
        if (thread == 0) shared.bin = 0, shared.before = 0;
        __syncthreads();
        forFours<4>(d.values, d.n, [&](int first, const float(&v)[4], int count) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                u64 c = candidate(v[i], first + i);
                if (i >= count || !isSelected(v[i], c)) continue;
                int bin = selectedBin < 0 ? d.bin(v[i]) : digits - ((int)(c >> shift) & digits);
                if (goal.count > 0) {
                    atomicAdd(&shared.histogram[bin], 1u);
                } else {
                    u64 mass = d.mass(v[i]);
#pragma unroll
                    for (int p = 0; p < PARTS; p++) {
                        unsigned part = (unsigned)(mass >> p * PART_BITS) & ((1u << PART_BITS) - 1);
                        if (part) atomicAdd(&shared.histogram[p * BINS + bin], part);
                    }
                }
            }
        });
        __syncthreads();
        findBin(goal, target, shared);
        target -= shared.before;
        if (selectedBin < 0) {
            selectedBin = shared.bin;
        } else {
            known |= (u64)(digits - shared.bin) << shift;
            left = shift;
        }
        int listed = listWhere(d.values, d.n, shared, isSelected);
        if (listed > LISTED_MAX) continue;
        u64 own = thread < listed ? shared.listed[thread] : 0, amount = 0, upTo = 0;
        if (thread < listed) shared.amounts[thread] = amount = goal.count > 0 ? 1 : d.mass(candidateValue(own));
        if (thread == 0) shared.last = least;
        __syncthreads();
        if (thread < listed) {
            for (int i = 0; i < listed; i++) upTo += shared.listed[i] >= own ? shared.amounts[i] : 0;
            if (upTo >= target && upTo - amount < target) shared.last = own;
        }
        __syncthreads();
        return shared.last;
    }
}
