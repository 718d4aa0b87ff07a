// The next token of each row, and log-probabilities. The definition is that of backend.cpu.Sampler, bit for bit from the
// same logits: Philox4x32-10 words, and exp, log and Gumbel variates as fixed sequences of IEEE operations.
#include "common.cuh"

constexpr int SAMPLE_THREADS = 1024;
constexpr int BINS = 256;
typedef unsigned long long u64;

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

// backend.cpu.FloatMath#log.
__device__ __forceinline__ float exactLog(float x) {
    int bits = __float_as_int(x);
    int e = (bits - 0x3f3504f3) >> 23;
    float f = __fsub_rn(__int_as_float(bits - (int)((unsigned)e << 23)), 1.0f);
    float z = __fmul_rn(f, f);
    float y = 0.070376836f;
    y = __fmaf_rn(y, f, -0.1151461f);
    y = __fmaf_rn(y, f, 0.116769984f);
    y = __fmaf_rn(y, f, -0.12420141f);
    y = __fmaf_rn(y, f, 0.14249323f);
    y = __fmaf_rn(y, f, -0.16668057f);
    y = __fmaf_rn(y, f, 0.20000714f);
    y = __fmaf_rn(y, f, -0.24999994f);
    y = __fmaf_rn(y, f, 0.3333333f);
    y = __fmul_rn(__fmul_rn(y, f), z);
    y = __fmaf_rn((float)e, -0.00021219444f, y);
    y = __fmaf_rn(-0.5f, z, y);
    return __fmaf_rn((float)e, 0.6933594f, __fadd_rn(f, y));
}

// backend.cpu.FloatMath#gumbel.
__device__ __forceinline__ float exactGumbel(unsigned word) {
    float v = __fmaf_rn((float)(word >> 8), 5.9604644775390625e-8f, 1.16415321826934814453125e-10f);
    v = __fmaf_rn((float)(word & 0xff), 2.3283064365386962890625e-10f, v);
    v = v < 0.99999988f ? v : 0.99999988f;
    float u = __fsub_rn(1.0f, v);
    float d = __fsub_rn(1.0f, u);
    float exponential = d == 0.0f ? v : __fmul_rn(-exactLog(u), __fdiv_rn(v, d));
    return -exactLog(exponential);
}

// backend.cpu.Philox: the four words of the block that ids 4·block to 4·block + 3 draw from.
__device__ __forceinline__ uint4 philox(unsigned seedLow, unsigned seedHigh, int choice, long long position,
                                        unsigned block) {
    unsigned c0 = block, c1 = (unsigned)position, c2 = (unsigned)((u64)position >> 32), c3 = (unsigned)choice;
    unsigned k0 = seedLow, k1 = seedHigh;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        unsigned high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        unsigned high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return make_uint4(c0, c1, c2, c3);
}

// Order of floats as that of unsigned numbers; both zeros alike.
__device__ __forceinline__ unsigned orderKey(float v) {
    unsigned bits = __float_as_uint(__fadd_rn(v, 0.0f));
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// A value and its id as one number that is larger for larger values and, among equal ones, for lower ids.
__device__ __forceinline__ u64 candidate(float v, int id) { return (u64)orderKey(v) << 32 | (unsigned)~id; }
__device__ __forceinline__ int candidateId(u64 c) { return (int)~(unsigned)c; }

// The largest over the block, to every thread. scratch: [32], free again after the next barrier but one.
__device__ __forceinline__ u64 blockBest(u64 best, u64* scratch) {
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask >>= 1) {
        u64 other = __shfl_xor_sync(0xffffffffu, best, mask);
        best = other > best ? other : best;
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = best;
    __syncthreads();
    for (int w = 0; w < (int)blockDim.x / WARP; w++) best = scratch[w] > best ? scratch[w] : best;
    return best;
}

__device__ __forceinline__ u64 blockTotal(u64 v, u64* scratch) {
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask >>= 1) v += __shfl_xor_sync(0xffffffffu, v, mask);
    __syncthreads();
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = v;
    __syncthreads();
    u64 sum = 0;
    for (int w = 0; w < (int)blockDim.x / WARP; w++) sum += scratch[w];
    return sum;
}

struct SampleShared {
    u64 scratch[32];
    u64 histogram[BINS];
    float floats[32];
    int bin;
    u64 before;
    int idLimit;
};

// log Σ e^logit.
__device__ float logSumExp(const float* logits, int n, SampleShared& shared) {
    float largest = -INFINITY;
    for (int id = (int)threadIdx.x; id < n; id += (int)blockDim.x) largest = max(largest, logits[id]);
    __syncthreads();
    largest = blockMax(largest, shared.floats);
    float sum = 0;
    for (int id = (int)threadIdx.x; id < n; id += (int)blockDim.x) sum += expf(logits[id] - largest);
    __syncthreads();
    return largest + logf(blockSum(sum, shared.floats));
}

// The likeliest ids in order, each the best below the one before.
__device__ void writeTop(const float* logits, int n, int count, float normalizer, int* ids, float* logprobs,
                         SampleShared& shared) {
    u64 last = ~0ull;
    for (int i = 0; i < count && i < n; i++) {
        u64 best = 0;
        for (int id = (int)threadIdx.x; id < n; id += (int)blockDim.x) {
            u64 c = candidate(logits[id], id);
            if (c < last && c > best) best = c;
        }
        last = blockBest(best, shared.scratch);
        if (threadIdx.x == 0) {
            ids[i] = candidateId(last);
            logprobs[i] = logits[candidateId(last)] - normalizer;
        }
    }
}

// A prefix of the ids in descending order of value, equal ones in ascending order of id.
struct Prefix {
    unsigned key;
    int idLimit;

    __device__ __forceinline__ bool has(float v, int id) const {
        unsigned k = orderKey(v);
        return k > key || (k == key && id <= idLimit);
    }
};

// What filters need of a row.
struct Distribution {
    const float* values;
    int n;
    float largest, inverse;

    __device__ __forceinline__ float weight(float v) const {
        return exactExp(__fmul_rn(__fsub_rn(v, largest), inverse));
    }
    __device__ __forceinline__ u64 mass(float v) const { return (u64)__fmul_rn(weight(v), 1099511627776.0f); }
    // Even in the exponent, so that a histogram spreads; smaller for larger values.
    __device__ __forceinline__ int bin(float v) const {
        return (int)min(__fmul_rn(__fmul_rn(__fsub_rn(largest, v), inverse), 8.0f), BINS - 1.0f);
    }
};

// The bin where the running total from bin 0 on reaches target; shared.before is the total ahead of it.
__device__ void findBin(u64 target, SampleShared& shared) {
    __syncthreads();
    if (threadIdx.x == 0) {
        u64 total = 0;
        int bin = 0;
        while (bin < BINS - 1 && total + shared.histogram[bin] < target) total += shared.histogram[bin++];
        shared.bin = bin;
        shared.before = total;
    }
    __syncthreads();
}

// The shortest prefix, within another, whose count (or mass) reaches target.
__device__ Prefix shortestPrefix(const Distribution& d, Prefix within, bool isMass, u64 target, SampleShared& shared) {
    int thread = (int)threadIdx.x, step = (int)blockDim.x;
    int selectedBin = 0;
    unsigned key = 0;
    for (int level = 0; level <= 4; level++) {
        __syncthreads();
        for (int i = thread; i < BINS; i += step) shared.histogram[i] = 0;
        __syncthreads();
        int shift = 40 - 8 * level;  // of the bits above this level's, from level 1 on
        for (int id = thread; id < d.n; id += step) {
            float v = d.values[id];
            if (!within.has(v, id)) continue;
            int bin = d.bin(v);
            if (level > 0) {
                unsigned k = orderKey(v);
                if (bin != selectedBin || (level > 1 && k >> shift != key >> shift)) continue;
                bin = BINS - 1 - (int)(k >> (shift - 8) & 0xff);
            }
            atomicAdd(&shared.histogram[bin], isMass ? d.mass(v) : 1ull);
        }
        findBin(target, shared);
        target -= shared.before;
        if (level == 0) {
            selectedBin = shared.bin;
        } else {
            key |= (unsigned)(BINS - 1 - shared.bin) << (shift - 8);
        }
    }
    // Ties at the key: the lowest ids that are needed.
    u64 tied = shared.histogram[shared.bin], each = 1;
    if (isMass) {
        unsigned bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
        each = d.mass(__uint_as_float(bits));
    }
    u64 needed = each == 0 ? ~0ull : (target + each - 1) / each;
    Prefix prefix = {key, 0x7fffffff};
    if (each == 0 || needed * each >= tied) {
        prefix.idLimit = key == within.key ? within.idLimit : 0x7fffffff;
        return prefix;
    }
    __syncthreads();
    if (thread == 0) {
        int id = -1;
        for (u64 seen = 0; seen < needed;) seen += orderKey(d.values[++id]) == key;
        shared.idLimit = id;
    }
    __syncthreads();
    prefix.idLimit = shared.idLimit;
    return prefix;
}

// argmax of value / T + Gumbel over the ids that filters leave.
__device__ int draw(const float* values, int n, const SlotControl& control, long long position, SampleShared& shared) {
    Distribution d = {values, n, 0, __fdiv_rn(1.0f, control.temperature)};
    Prefix prefix = {0, 0x7fffffff};
    bool isFiltered = control.topK > 0 || control.topP < 1 || control.minP > 0;
    if (isFiltered) {
        float largest = -INFINITY;
        for (int id = (int)threadIdx.x; id < n; id += (int)blockDim.x) largest = max(largest, values[id]);
        __syncthreads();
        d.largest = blockMax(largest, shared.floats);
        if (control.topK > 0 && control.topK < n)
            prefix = shortestPrefix(d, prefix, false, (u64)control.topK, shared);
        if (control.topP < 1) {
            u64 total = 0;
            for (int id = (int)threadIdx.x; id < n; id += (int)blockDim.x)
                if (prefix.has(values[id], id)) total += d.mass(values[id]);
            total = blockTotal(total, shared.scratch);
            prefix = shortestPrefix(d, prefix, true, (u64)ceil((double)control.topP * (double)total), shared);
        }
    }
    u64 best = 0;
    for (int block = (int)threadIdx.x; block * 4 < n; block += (int)blockDim.x) {
        bool isWanted = !isFiltered;
        for (int i = 0; i < 4 && !isWanted && block * 4 + i < n; i++)
            isWanted = prefix.has(values[block * 4 + i], block * 4 + i);
        if (!isWanted) continue;
        uint4 words = philox(control.seedLow, control.seedHigh, control.choice, position, (unsigned)block);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int id = block * 4 + i;
            if (id >= n) break;
            float v = values[id];
            if (isFiltered && (!prefix.has(v, id) || d.weight(v) < control.minP)) continue;
            unsigned word = i == 0 ? words.x : i == 1 ? words.y : i == 2 ? words.z : words.w;
            u64 c = candidate(__fmaf_rn(v, d.inverse, exactGumbel(word)), id);
            best = c > best ? c : best;
        }
    }
    return candidateId(blockBest(best, shared.scratch));
}

// Penalties, bias and forbidden stops; the result goes to a buffer of its own.
__device__ void adjust(const float* logits, float* adjusted, int n, const SlotControl& control, const int* stops,
                       const int* biasIds, const float* biasValues, const unsigned short* counts) {
    for (int id = (int)threadIdx.x; id < n; id += (int)blockDim.x) {
        float v = logits[id];
        if (control.isPenalized && counts[id]) {
            v = v > 0 ? __fdiv_rn(v, control.repetitionPenalty) : __fmul_rn(v, control.repetitionPenalty);
            int count = counts[id] & 0x7fff;  // bit 15: in the prompt
            if (count > 0)
                v = __fsub_rn(__fsub_rn(v, __fmul_rn((float)count, control.frequencyPenalty)), control.presencePenalty);
        }
        adjusted[id] = v;
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < control.biasCount; i += (int)blockDim.x) adjusted[biasIds[i]] += biasValues[i];
    __syncthreads();
    if (control.sampledCount < control.minTokens)
        for (int i = (int)threadIdx.x; i < control.stopCount; i += (int)blockDim.x) adjusted[stops[i]] = -INFINITY;
    __syncthreads();
}

// A thread's best of all ids; many loads under way.
__device__ __forceinline__ u64 bestOfAll(const float* values, int n) {
    constexpr int WIDE = 4, AT = 4;  // values of a load; loads
    int stride = (int)blockDim.x * WIDE;
    bool isAligned = (unsigned long long)values % sizeof(float4) == 0;
    u64 best = 0;
    int first = (int)threadIdx.x * WIDE;
    for (; isAligned && first + (AT - 1) * stride + WIDE <= n; first += AT * stride) {
        float4 v[AT];
#pragma unroll
        for (int a = 0; a < AT; a++) v[a] = *(const float4*)(values + first + a * stride);
#pragma unroll
        for (int a = 0; a < AT; a++) {
            int id = first + a * stride;
            best = max(best, max(max(candidate(v[a].x, id), candidate(v[a].y, id + 1)),
                                 max(candidate(v[a].z, id + 2), candidate(v[a].w, id + 3))));
        }
    }
    for (; first < n; first += stride) {
        for (int id = first; id < min(first + WIDE, n); id++) best = max(best, candidate(values[id], id));
    }
    return best;
}

// By a word a thread.
__device__ __forceinline__ void copyControl(SlotControl& to, const SlotControl& from) {
    static_assert(sizeof(SlotControl) % 4 == 0, "words");
    int i = (int)threadIdx.x;
    if (i < (int)sizeof(SlotControl) / 4) ((int*)&to)[i] = loadNow((const int*)&from + i);
}

// Where a step's results go, in memory that the host reads: arrays one after another.
struct Results {
    int* tokens;          // [R]
    int* consumed;        // [R]
    float* logprobs;      // [R]
    int* topIds;          // [R, 20]
    float* topLogprobs;   // [R, 20]
    float* scores;        // [T]
    int* scoreTopIds;     // [T, 20]
    float* scoreTopLogprobs;  // [T, 20]

    __device__ __forceinline__ Results(unsigned char* base, int rowCountMax, int tokenCountMax) {
        int R = rowCountMax, T = tokenCountMax;
        tokens = (int*)base;
        consumed = tokens + R;
        logprobs = (float*)(consumed + R);
        topIds = (int*)(logprobs + R);
        topLogprobs = (float*)(topIds + R * TOP_COUNT_MAX);
        scores = topLogprobs + R * TOP_COUNT_MAX;
        scoreTopIds = (int*)(scores + T);
        scoreTopLogprobs = (float*)(scoreTopIds + (long long)T * TOP_COUNT_MAX);
    }
};

// sample: closes a step: draws the token of every row that samples, advances positions, freezes rows that are done.
// grid (B), block 1024; smem 3 KB
// bytes  N·4 a row that draws from all ids; a filtered one up to twelve times that, from the cache
// bound  latency: 8.9 us for one row, 20 to 22 for 256, greedy (H200, 2026-11-29)
// ref    backend.cpu.Sampler, exactly
extern "C" __global__ void __launch_bounds__(SAMPLE_THREADS) sample(
    const float* __restrict__ logits,        // [P, stride]
    float* __restrict__ adjusted,            // [P, stride] scratch
    int stride, int n,                       // n: N, without padding
    const int* __restrict__ activeSlots,     // [B]
    const int* __restrict__ rowCounts,       // [B], tokens of each row
    const int* __restrict__ rowPicks,        // [B], row of logits, -1 where the row does not sample
    const int* __restrict__ resultRows,      // [B], row of the results, -1 for padding
    SlotControl* __restrict__ controls,      // [S] in/out
    const int* __restrict__ stops,           // [S, 32]
    const int* __restrict__ biasIds,         // [S, 512]
    const float* __restrict__ biasValues,    // [S, 512]
    unsigned short* __restrict__ counts,     // [S, N] in/out
    unsigned char* const* __restrict__ results,  // [1] where the results go
    int rowCountMax, int tokenCountMax) {
    __shared__ SampleShared shared;
    __shared__ SlotControl control;
    int row = (int)blockIdx.x;
    int resultRow = loadNow(resultRows + row), pick = loadNow(rowPicks + row), count = loadNow(rowCounts + row);
    int slot = pick >= 0 ? loadNow(activeSlots + row) : -1;  // only after the head is its writer done for certain
    if (slot >= 0) copyControl(control, controls[slot]);
    awaitPredecessor();
    if (pick < 0) slot = loadNow(activeSlots + row);
    if (resultRow < 0) return;
    Results result(*results, rowCountMax, tokenCountMax);
    if (slot < 0 || pick < 0) {
        if (threadIdx.x == 0) {
            result.tokens[resultRow] = -1;
            result.consumed[resultRow] = slot < 0 ? 0 : count;
            if (slot >= 0) controls[slot].position += count;
        }
        return;
    }
    __syncthreads();
    const float* raw = logits + (long long)pick * stride;
    const float* values = raw;
    long long position = control.position + count;
    bool isTooEarly = control.stopCount > 0 && control.sampledCount < control.minTokens;
    unsigned short* ownCounts = counts + (long long)slot * n;
    if (control.isPenalized || control.biasCount > 0 || isTooEarly) {
        float* own = adjusted + (long long)pick * stride;
        adjust(raw, own, n, control, stops + slot * STOPS_MAX, biasIds + slot * BIASES_MAX,
               biasValues + slot * BIASES_MAX, ownCounts);
        values = own;
    }
    int token;
    if (control.temperature == 0) {
        token = candidateId(blockBest(bestOfAll(values, n), shared.scratch));
    } else {
        token = draw(values, n, control, position, shared);
    }
    token = min(max(token, 0), n - 1);
    if (control.logprobCount >= 0) {
        float normalizer = logSumExp(raw, n, shared);
        writeTop(raw, n, control.logprobCount, normalizer, result.topIds + resultRow * TOP_COUNT_MAX,
                 result.topLogprobs + resultRow * TOP_COUNT_MAX, shared);
        if (threadIdx.x == 0) result.logprobs[resultRow] = raw[token] - normalizer;
    }
    if (threadIdx.x == 0) {
        bool isDone = control.sampledCount + 1 >= control.maxTokens;
        for (int i = 0; i < control.stopCount; i++) isDone |= stops[slot * STOPS_MAX + i] == token;
        if (control.isPenalized && (ownCounts[token] & 0x7fff) < 0x7fff) ownCounts[token]++;
        controls[slot].position = position;
        controls[slot].lastToken = token;
        controls[slot].sampledCount = control.sampledCount + 1;
        controls[slot].isFrozen = isDone;
        result.tokens[resultRow] = token;
        result.consumed[resultRow] = count;
        __threadfence_system();
    }
}

// score: log-probability of the token after each picked one, and the likeliest ids there.
// grid (P), block 1024; smem 3 KB
// bytes  N·4 a token, twice, and once more for each likely id
// bound  latency: not measured
// ref    backend.cpu.LogSoftmax
extern "C" __global__ void __launch_bounds__(SAMPLE_THREADS) score(
    const float* __restrict__ logits,       // [P, stride]
    int stride, int n,
    const int* __restrict__ targets,        // [P], the next token or -1
    const int* __restrict__ topCounts,      // [P]
    const int* __restrict__ resultTokens,   // [P], flat token of the results
    unsigned char* const* __restrict__ results,  // [1]
    int rowCountMax, int tokenCountMax) {
    __shared__ SampleShared shared;
    awaitPredecessor();
    Results result(*results, rowCountMax, tokenCountMax);
    const float* own = logits + (long long)blockIdx.x * stride;
    long long to = resultTokens[blockIdx.x];
    int target = targets[blockIdx.x];
    float normalizer = logSumExp(own, n, shared);
    writeTop(own, n, topCounts[blockIdx.x], normalizer, result.scoreTopIds + to * TOP_COUNT_MAX,
             result.scoreTopLogprobs + to * TOP_COUNT_MAX, shared);
    if (threadIdx.x == 0) result.scores[to] = target < 0 ? 0.0f : own[target] - normalizer;
}
