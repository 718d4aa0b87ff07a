// The next token of each row, and log-probabilities. The definition is that of backend.cpu.Sampler, bit for bit from the
// same logits: Philox4x32-10 words, and exp, log and Gumbel variates as fixed sequences of IEEE operations.
#include "prefix.cuh"

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

// log Σ e^logit, and the largest logit.
struct Normalizer {
    float largest, logSum;

    __device__ Normalizer(const float* logits, int n, SampleShared& shared) {
        largest = candidateValue(bestOfAll(logits, n, shared.scratch));
        float sum = 0;
        forFours<4>(logits, n, [&](int first, const float(&v)[4], int count) {
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (i < count) sum += expf(v[i] - largest);
        });
        logSum = largest + logf(blockSum(sum, shared.floats));
    }
};

// The likeliest ids in order.
__device__ void writeTop(const float* logits, int n, int count, const Normalizer& normalizer, int* ids, float* logprobs,
                         SampleShared& shared) {
    if (count == 0) return;
    u64 last = 0;
    if (count < n) last = shortestPrefix({logits, n, normalizer.largest, 1}, 0, {count, 0}, shared);
    int listed = listWhere(logits, n, shared, [&](float, u64 c) { return c >= last; });
    if ((int)threadIdx.x < listed) {
        u64 own = shared.listed[threadIdx.x];
        int ahead = 0;
        for (int i = 0; i < listed; i++) ahead += shared.listed[i] > own;
        ids[ahead] = candidateId(own);
        logprobs[ahead] = candidateValue(own) - normalizer.logSum;
    }
    __syncthreads();
}

// argmax of value / T + Gumbel over the ids that filters leave.
__device__ int draw(const float* values, int n, const SlotControl& control, long long position, SampleShared& shared) {
    Distribution d = {values, n, 0, __fdiv_rn(1.0f, control.temperature)};
    u64 last = 0;
    bool isCut = (control.topK > 0 && control.topK < n) || control.topP < 1;
    if (isCut || control.minP > 0) d.largest = candidateValue(bestOfAll(values, n, shared.scratch));
#pragma unroll 1
    for (int filter = 0; filter < 2; filter++) {
        bool isOn = filter == 0 ? control.topK > 0 && control.topK < n : control.topP < 1;
        if (isOn) last = shortestPrefix(d, last, {filter == 0 ? control.topK : 0, control.topP}, shared);
    }
    u64 best = 0;
    forFours<2>(values, n, [&](int first, const float(&v)[4], int count) {
        bool isLeft[4], isAnyLeft = false;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            isLeft[i] = i < count && (!isCut || candidate(v[i], first + i) >= last);
            if (control.minP > 0) isLeft[i] = isLeft[i] && d.weight(v[i]) >= control.minP;
            isAnyLeft |= isLeft[i];
        }
        if (!isAnyLeft) return;
        uint4 words = philox(control.seedLow, control.seedHigh, control.choice, position, (unsigned)first / 4);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            unsigned word = i == 0 ? words.x : i == 1 ? words.y : i == 2 ? words.z : words.w;
            if (isLeft[i]) best = max(best, candidate(__fmaf_rn(v[i], d.inverse, exactGumbel(word)), first + i));
        }
    });
    return candidateId(blockBest(best, shared.scratch));
}

// count: of the sampled tokens, and bit 15: in the prompt.
__device__ __forceinline__ float penalized(float v, int count, const SlotControl& control) {
    if (count == 0) return v;
    v = v > 0 ? __fdiv_rn(v, control.repetitionPenalty) : __fmul_rn(v, control.repetitionPenalty);
    count &= 0x7fff;
    if (count == 0) return v;
    return __fsub_rn(__fsub_rn(v, __fmul_rn((float)count, control.frequencyPenalty)), control.presencePenalty);
}

// Penalties, bias and forbidden stops; the result goes to a buffer of its own.
__device__ void adjust(const float* logits, float* adjusted, int n, const SlotControl& control, const int* stops,
                       const int* biasIds, const float* biasValues, const unsigned short* counts) {
    forFours<2>(logits, n, [&](int first, const float(&v)[4], int group) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i < group) adjusted[first + i] = penalized(v[i], control.isPenalized ? counts[first + i] : 0, control);
        }
    });
    __syncthreads();
    for (int i = (int)threadIdx.x; i < control.biasCount; i += (int)blockDim.x) adjusted[biasIds[i]] += biasValues[i];
    __syncthreads();
    if (control.sampledCount < control.minTokens)
        for (int i = (int)threadIdx.x; i < control.stopCount; i += (int)blockDim.x) adjusted[stops[i]] = -INFINITY;
    __syncthreads();
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
// grid (B), block 1024; smem 33 KB
// bytes  N·4 a row that draws from all ids; filters read them once more, top-k and top-p twice more each, and two times more
//   for every round where over 512 ids share a bin; log-probabilities twice, with likely ids five times; all from the cache
// bound  latency, by itself: 10 us for one row and 11 for 128, greedy; 29 at a temperature, 37 and 39 with top-k, 69 and 72
//   with top-p, 71 and 93 with all filters, penalties and biases, 66 with 20 likely ids (H200, 2026-11-30, 1.3B)
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
    const int* __restrict__ stops,           // [S, 33]
    const int* __restrict__ biasIds,         // [S, 1024]
    const float* __restrict__ biasValues,    // [S, 1024]
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
        token = candidateId(bestOfAll(values, n, shared.scratch));
    } else {
        token = draw(values, n, control, position, shared);
    }
    token = min(max(token, 0), n - 1);
    if (control.logprobCount >= 0) {
        Normalizer normalizer(raw, n, shared);
        writeTop(raw, n, control.logprobCount, normalizer, result.topIds + resultRow * TOP_COUNT_MAX,
                 result.topLogprobs + resultRow * TOP_COUNT_MAX, shared);
        if (threadIdx.x == 0) result.logprobs[resultRow] = raw[token] - normalizer.logSum;
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
// grid (P), block 1024; smem 33 KB
// bytes  N·4 a token, twice, and three times more where likely ids are asked for
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
    Normalizer normalizer(own, n, shared);
    writeTop(own, n, topCounts[blockIdx.x], normalizer, result.scoreTopIds + to * TOP_COUNT_MAX,
             result.scoreTopLogprobs + to * TOP_COUNT_MAX, shared);
    if (threadIdx.x == 0) result.scores[to] = target < 0 ? 0.0f : own[target] - normalizer.logSum;
}
