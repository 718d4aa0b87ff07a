// Taylor linear attention: y_t = φ(q_t)·S / (φ(q_t)·z), S = Σ φ(k_u)·v_uᵀ, arXiv 2402.18668, symmetric features.
//
// Tokens since the last aligned block of 32 are kept raw and scored exactly, weight 1 + s + s²/2; the block is folded
// into S and z when its successor's first token is consumed. S is f32, split into two planes of 16 bits: high, the
// value rounded to bf16, and low, what is missing: f32 = (high << 16) + (signed) low. Reads of S use the high plane
// alone in bf16, about 0.1 % of what is read whatever the length of the sequence; folds use both, exactly.
#include "common.cuh"

struct FeaturePair {
    int i, j;  // features 1 + f + n are x_i·x_j
};

// Feature d ≥ 1 + f of the symmetric form: i outer, j from i on.
__device__ __forceinline__ FeaturePair pairOf(int d, int featureDim) {
    int n = d - 1 - featureDim, i = 0, length = featureDim;
    while (n >= length && length > 0) {
        n -= length--;
        i++;
    }
    return {i, i + n};
}

__device__ __forceinline__ float keyFeature(const float* k, int d, FeaturePair pair, int featureDim) {
    return d == 0 ? 1.0f : d <= featureDim ? k[d - 1] : k[pair.i] * k[pair.j];
}

// All weights and scales are on the query: 1, q_i/√scaleDim, q_i·q_j/scaleDim, halved where i = j.
__device__ __forceinline__ float queryFeature(const float* q, int d, FeaturePair pair, int featureDim, float scale) {
    if (d == 0) return 1.0f;
    if (d <= featureDim) return q[d - 1] * scale;
    float product = q[pair.i] * scale * (q[pair.j] * scale);
    return pair.i == pair.j ? 0.5f * product : product;
}

__device__ __forceinline__ float taylorWeight(float s) { return __fmaf_rn(s, __fmaf_rn(0.5f, s, 1.0f), 1.0f); }

__device__ __forceinline__ float joined(unsigned high, unsigned low) {
    return __uint_as_float((high << 16) + (unsigned)(int)(short)low);
}

// Half words i of eight.
__device__ __forceinline__ unsigned half(const uint4& v, int i) {
    unsigned word = (i >> 1) == 0 ? v.x : (i >> 1) == 1 ? v.y : (i >> 1) == 2 ? v.z : v.w;
    return i & 1 ? word >> 16 : word & 0xffffu;
}

__device__ __forceinline__ void splitEight(const float* v, uint4* high, uint4* low) {
    unsigned h[4], l[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        unsigned a = __float_as_uint(v[2 * i]), b = __float_as_uint(v[2 * i + 1]);
        h[i] = ((a + 0x8000u) >> 16) | ((b + 0x8000u) & 0xffff0000u);
        l[i] = (a & 0xffffu) | (b << 16);
    }
    *high = make_uint4(h[0], h[1], h[2], h[3]);
    *low = make_uint4(l[0], l[1], l[2], l[3]);
}

constexpr int TAYLOR_THREADS = 128;
constexpr int FOLD_ROWS = 6;  // features a thread folds at a time: as many accumulators as registers allow

// The shared memory of one head's block.
template <int E>
struct TaylorShared {
    static constexpr int LANES = E / 8, GROUPS = TAYLOR_THREADS / LANES;
    float query[FEATURE_DIM_MAX];
    float keys[FOLD_INTERVAL][FEATURE_DIM_MAX + 1];
    float weights[FEATURES_MAX + 7];
    float ringWeights[FOLD_INTERVAL];
    float scratch[32];
    float parts[GROUPS][E];
    union {
        struct {
            float features[FOLD_INTERVAL][FEATURES_MAX];
            float values[FOLD_INTERVAL][E];
        } fold;
#ifndef BASALT_F32
        struct {
            uint4 high[FEATURES_MAX][LANES];
            uint4 values[FOLD_INTERVAL][LANES];
        } state;  // what a token reads of S and of the ring
#endif
    };
};

// S += Σ_j φ(k_j)·v_jᵀ and z += Σ_j φ(k_j) over the ring, j ascending.
template <int E>
__device__ void foldBlock(TaylorShared<E>& shared, unsigned short* high, unsigned short* low, float* norms,
                          const element* ringKeys, const element* ringValues) {
    constexpr int LANES = TaylorShared<E>::LANES, GROUPS = TaylorShared<E>::GROUPS, F = FEATURE_DIM_MAX;
    int thread = (int)threadIdx.x;
    for (int i = thread; i < FOLD_INTERVAL * F; i += TAYLOR_THREADS) shared.keys[i / F][i % F] = widen(ringKeys[i]);
    for (int i = thread; i < FOLD_INTERVAL * LANES; i += TAYLOR_THREADS) {
        Eight v = loadEight(ringValues + i * 8);
#pragma unroll
        for (int c = 0; c < 8; c++) shared.fold.values[i / LANES][i % LANES * 8 + c] = v.at(c);
    }
    __syncthreads();
    for (int d = thread; d < FEATURES_MAX; d += TAYLOR_THREADS) {
        FeaturePair pair = pairOf(d, F);
        float z = norms[d];
        for (int j = 0; j < FOLD_INTERVAL; j++) {
            float feature = keyFeature(shared.keys[j], d, pair, F);
            shared.fold.features[j][d] = feature;
            z += feature;
        }
        norms[d] = z;
    }
    __syncthreads();
    int lane = thread % LANES, group = thread / LANES;
    for (int d0 = group; group < GROUPS && d0 < FEATURES_MAX; d0 += GROUPS * FOLD_ROWS) {
        float sum[FOLD_ROWS][8];
#pragma unroll
        for (int r = 0; r < FOLD_ROWS; r++) {
            int d = min(d0 + r * GROUPS, FEATURES_MAX - 1);
            uint4 h = *(const uint4*)(high + d * E + lane * 8), l = *(const uint4*)(low + d * E + lane * 8);
#pragma unroll
            for (int c = 0; c < 8; c++) sum[r][c] = joined(half(h, c), half(l, c));
        }
        for (int j = 0; j < FOLD_INTERVAL; j++) {
            float v[8];
#pragma unroll
            for (int c = 0; c < 8; c++) v[c] = shared.fold.values[j][lane * 8 + c];
#pragma unroll
            for (int r = 0; r < FOLD_ROWS; r++) {
                float feature = shared.fold.features[j][min(d0 + r * GROUPS, FEATURES_MAX - 1)];
#pragma unroll
                for (int c = 0; c < 8; c++) sum[r][c] = __fmaf_rn(feature, v[c], sum[r][c]);
            }
        }
#pragma unroll
        for (int r = 0; r < FOLD_ROWS; r++) {
            int d = d0 + r * GROUPS;
            if (d >= FEATURES_MAX) break;
            uint4 h, l;
            splitEight(sum[r], &h, &l);
            *(uint4*)(high + d * E + lane * 8) = h;
            *(uint4*)(low + d * E + lane * 8) = l;
        }
    }
    __syncthreads();
}

// What a token reads of S and of the values in the ring, rows group, group + GROUPS, ... of eight columns a thread. In bf16
// it waits in shared memory, so that registers do not limit how much of it is under way on a multiprocessor.
template <int E>
struct StateRows {
    static constexpr int LANES = TaylorShared<E>::LANES, GROUPS = TaylorShared<E>::GROUPS;
    static constexpr int ROWS = (FEATURES_MAX + GROUPS - 1) / GROUPS, RING_ROWS = (FOLD_INTERVAL + GROUPS - 1) / GROUPS;

#ifdef BASALT_F32
    uint4 high[ROWS], low[ROWS];
    Eight ring[RING_ROWS];

    __device__ __forceinline__ void start(TaylorShared<E>&, const unsigned short* highPlane, const unsigned short* lowPlane,
                                          const element* ringValues, int inBlock) {
        int lane = (int)threadIdx.x % LANES, group = (int)threadIdx.x / LANES;
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            int d = group + r * GROUPS;
            bool isRow = group < GROUPS && d < FEATURES_MAX;
            high[r] = isRow ? *(const uint4*)(highPlane + d * E + lane * 8) : make_uint4(0, 0, 0, 0);
            low[r] = isRow ? *(const uint4*)(lowPlane + d * E + lane * 8) : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int r = 0; r < RING_ROWS; r++) {
            int j = group + r * GROUPS;
            ring[r] = group < GROUPS && j < inBlock ? loadEight(ringValues + j * E + lane * 8) : zeroEight();
        }
    }
    __device__ __forceinline__ void await() {}
    __device__ __forceinline__ void addRow(float* sum, const TaylorShared<E>&, int r, int, int, float weight) const {
#pragma unroll
        for (int c = 0; c < 8; c++) sum[c] = __fmaf_rn(weight, joined(half(high[r], c), half(low[r], c)), sum[c]);
    }
    __device__ __forceinline__ void addValue(float* sum, const TaylorShared<E>&, int r, int, int, float weight) const {
#pragma unroll
        for (int c = 0; c < 8; c++) sum[c] = __fmaf_rn(weight, ring[r].at(c), sum[c]);
    }
#else
    __device__ __forceinline__ void start(TaylorShared<E>& shared, const unsigned short* highPlane, const unsigned short*,
                                          const element* ringValues, int inBlock) {
        for (int i = (int)threadIdx.x; i < FEATURES_MAX * LANES; i += TAYLOR_THREADS)
            startCopy(&shared.state.high[0][0] + i, highPlane + i * 8);
        for (int i = (int)threadIdx.x; i < inBlock * LANES; i += TAYLOR_THREADS)
            startCopy(&shared.state.values[0][0] + i, ringValues + i * 8);
        commitCopies();
    }
    // Before a barrier.
    __device__ __forceinline__ void await() { awaitCopies<0>(); }
    __device__ __forceinline__ void addRow(float* sum, const TaylorShared<E>& shared, int, int d, int lane,
                                           float weight) const {
        uint4 row = shared.state.high[d][lane];
#pragma unroll
        for (int c = 0; c < 8; c++) sum[c] = __fmaf_rn(weight, __uint_as_float(half(row, c) << 16), sum[c]);
    }
    __device__ __forceinline__ void addValue(float* sum, const TaylorShared<E>& shared, int, int j, int lane,
                                             float weight) const {
        uint4 row = shared.state.values[j][lane];
#pragma unroll
        for (int c = 0; c < 8; c++) sum[c] = __fmaf_rn(weight, __uint_as_float(half(row, c) << 16), sum[c]);
    }
#endif
};

// The tokens of one row in one head, one after another.
template <int E>
__device__ __forceinline__ void taylorStep(
    const int* activeSlots, const long long* rowPositions, const int* rowStarts, const int* rowCounts,
    const element* qkv, element* y, unsigned char* state, long long slotBytes, long long sumsOffset,
    long long normsOffset, long long keysOffset, long long valuesOffset, int heads, float scale, float epsilon) {
    constexpr int LANES = TaylorShared<E>::LANES, GROUPS = TaylorShared<E>::GROUPS, F = FEATURE_DIM_MAX;
    constexpr int D = FEATURES_MAX;
    __shared__ TaylorShared<E> shared;
    int h = (int)blockIdx.x, row = (int)blockIdx.y, thread = (int)threadIdx.x;
    int slot = loadNow(activeSlots + row), count = loadNow(rowCounts + row), start = loadNow(rowStarts + row);
    long long position = loadNow(rowPositions + row);
    FeaturePair pairs[2] = {pairOf(thread, F), pairOf(thread + TAYLOR_THREADS, F)};
    if (slot < 0) {
        awaitPredecessor();
        return;
    }
    auto high = tensorOf<unsigned short>(state, slotBytes, slot, sumsOffset) + (long long)h * 2 * D * E;
    auto low = high + D * E;
    auto norms = tensorOf<float>(state, slotBytes, slot, normsOffset) + h * D;
    auto ringKeys = tensorOf<element>(state, slotBytes, slot, keysOffset) + h * FOLD_INTERVAL * F;
    auto ringValues = tensorOf<element>(state, slotBytes, slot, valuesOffset) + h * FOLD_INTERVAL * E;
    int lane = thread % LANES, group = thread / LANES;
    int stride = heads * (2 * F + E);

    for (int t = start; t < start + count; t++, position++) {
        int inBlock = (int)(position % FOLD_INTERVAL);
        if (inBlock == 0 && position > 0) foldBlock<E>(shared, high, low, norms, ringKeys, ringValues);
        // Loads that wait for nothing but each other's turn, and only then what is made of them.
        StateRows<E> sums;
        sums.start(shared, high, low, ringValues, inBlock);
        static_assert(F == 16 && FOLD_INTERVAL * 2 <= TAYLOR_THREADS, "eight of a key a thread");
        bool hasKeys = thread < inBlock * 2;
        Eight keys = hasKeys ? loadEight(ringKeys + thread * 8) : zeroEight();
        float z[2] = {norms[thread], thread + TAYLOR_THREADS < D ? norms[thread + TAYLOR_THREADS] : 0.0f};
        if (t == start) awaitPredecessor();

        const element* token = qkv + (long long)t * stride;
        element ownPart = token[(thread < F ? 0 : heads * F) + h * F + thread % F];  // of the query, or the key
        element ownValue = token[2 * heads * F + h * E + min(thread, E - 1)];
        if (hasKeys) {
#pragma unroll
            for (int c = 0; c < 8; c++) shared.keys[thread / 2][thread % 2 * 8 + c] = keys.at(c);
        }
        if (thread < F) {
            shared.query[thread] = widen(ownPart);
        } else if (thread < 2 * F) {
            shared.keys[inBlock][thread - F] = widen(ownPart);
            ringKeys[inBlock * F + thread - F] = ownPart;
        }
        if (thread < E) ringValues[inBlock * E + thread] = ownValue;
        __syncthreads();

        float denominator = 0;
#pragma unroll
        for (int n = 0; n < 2; n++) {
            int d = thread + n * TAYLOR_THREADS;
            if (d >= D) break;
            float weight = queryFeature(shared.query, d, pairs[n], F, scale);
            shared.weights[d] = weight;
            denominator = __fmaf_rn(weight, z[n], denominator);
        }
        if (thread <= inBlock) {
            float s = 0;
#pragma unroll
            for (int c = 0; c < F; c++) s = __fmaf_rn(shared.query[c] * scale, shared.keys[thread][c], s);
            float weight = taylorWeight(s);
            shared.ringWeights[thread] = weight;
            denominator += weight;
        }
        sums.await();
        denominator = blockSum(denominator, shared.scratch) + epsilon;

        if (group < GROUPS) {
            float sum[8] = {0, 0, 0, 0, 0, 0, 0, 0};
#pragma unroll
            for (int r = 0; r < StateRows<E>::ROWS; r++) {
                int d = group + r * GROUPS;
                if (d >= D) break;
                sums.addRow(sum, shared, r, d, lane, shared.weights[d]);
            }
#pragma unroll
            for (int r = 0; r < StateRows<E>::RING_ROWS; r++) {
                int j = group + r * GROUPS;
                if (j >= inBlock) break;
                sums.addValue(sum, shared, r, j, lane, shared.ringWeights[j]);
            }
#pragma unroll
            for (int c = 0; c < 8; c++) shared.parts[group][lane * 8 + c] = sum[c];
        }
        __syncthreads();
        static_assert(E <= TAYLOR_THREADS, "a column a thread");
        if (thread < E) {
            float sum = shared.ringWeights[inBlock] * widen(ownValue);
            for (int g = 0; g < GROUPS; g++) sum += shared.parts[g][thread];
            store(&y[((long long)t * heads + h) * E + thread], sum / denominator);
        }
        __syncthreads();
    }
}

// taylor_step_E: tokens of a row in turn (one in decode): append (k, v) to the ring, fold where a block begins, read.
// grid (H, B), block 128; smem 48 KB at e = 112
// bytes  B·H·(153·e·2 + 153·4 + 17·(16 + e)·2 + 5·e) a token and, once in 32, B·H·153·e·8 for the fold
// bound  memory: 22.4 us at B=128 and 40.4 at 256 of 1.3B, 3.6 and 4.0 of 4.4 TB/s, H200, 2026-11-29, gpu-check
//   bench:1.3b:p128,p256
// ref    backend.cpu.Reference (Taylor attention); TAYLOR_TOLERANCE (high plane and bf16 output)
#define TAYLOR_STEP(E)                                                                                               \
    extern "C" __global__ void __launch_bounds__(TAYLOR_THREADS) taylor_step_##E(                                    \
        const int* __restrict__ activeSlots,         /* [B] */                                                       \
        const long long* __restrict__ rowPositions,  /* [B] */                                                       \
        const int* __restrict__ rowStarts,           /* [B] */                                                       \
        const int* __restrict__ rowCounts,           /* [B] */                                                       \
        const element* __restrict__ qkv,             /* [T, H·(2f + e)]: queries, keys, values */                    \
        element* __restrict__ y,                     /* [T, H·e] out */                                              \
        unsigned char* state, long long slotBytes,                                                                   \
        long long sumsOffset,                        /* u16 [H, 2, D, e]: high plane, low plane */                   \
        long long normsOffset,                       /* f32 [H, D] */                                                \
        long long keysOffset,                        /* element [H, 32, f] */                                        \
        long long valuesOffset,                      /* element [H, 32, e] */                                        \
        int heads, float scale, float epsilon) {                                                                     \
        taylorStep<E>(activeSlots, rowPositions, rowStarts, rowCounts, qkv, y, state, slotBytes, sumsOffset,         \
                      normsOffset, keysOffset, valuesOffset, heads, scale, epsilon);                                 \
    }
TAYLOR_STEP(32)
TAYLOR_STEP(64)
TAYLOR_STEP(112)

// taylor_step_any: the same for any f ≤ 16 and e, a column a thread.
// grid (H, B), block 128; smem 23 KB
// bytes  as above
// bound  latency: not measured
// ref    backend.cpu.Reference (Taylor attention)
extern "C" __global__ void __launch_bounds__(TAYLOR_THREADS) taylor_step_any(
    const int* __restrict__ activeSlots,         // [B]
    const long long* __restrict__ rowPositions,  // [B]
    const int* __restrict__ rowStarts,           // [B]
    const int* __restrict__ rowCounts,           // [B]
    const element* __restrict__ qkv,             // [T, H·(2f + e)]
    element* __restrict__ y,                     // [T, H·e] out
    unsigned char* state, long long slotBytes,
    long long sumsOffset,                        // u16 [H, 2, D, e]
    long long normsOffset,                       // f32 [H, D]
    long long keysOffset,                        // element [H, 32, f]
    long long valuesOffset,                      // element [H, 32, e]
    int heads, float scale, float epsilon,
    int featureDim, int headWidth) {
    __shared__ float query[FEATURE_DIM_MAX];
    __shared__ float keys[FOLD_INTERVAL][FEATURE_DIM_MAX];
    __shared__ float features[FOLD_INTERVAL][FEATURES_MAX];
    __shared__ float weights[FEATURES_MAX];
    __shared__ float ringWeights[FOLD_INTERVAL];
    __shared__ float scratch[32];
    awaitPredecessor();
    int h = (int)blockIdx.x, row = (int)blockIdx.y, thread = (int)threadIdx.x;
    int f = featureDim, e = headWidth, D = 1 + f + f * (f + 1) / 2;
    int slot = activeSlots[row];
    if (slot < 0) return;
    auto high = tensorOf<unsigned short>(state, slotBytes, slot, sumsOffset) + (long long)h * 2 * D * e;
    auto low = high + D * e;
    auto norms = tensorOf<float>(state, slotBytes, slot, normsOffset) + h * D;
    auto ringKeys = tensorOf<element>(state, slotBytes, slot, keysOffset) + h * FOLD_INTERVAL * f;
    auto ringValues = tensorOf<element>(state, slotBytes, slot, valuesOffset) + h * FOLD_INTERVAL * e;
    int stride = heads * (2 * f + e);
    for (int i = 0; i < rowCounts[row]; i++) {
        long long position = rowPositions[row] + i;
        int inBlock = (int)(position % FOLD_INTERVAL);
        const element* token = qkv + (long long)(rowStarts[row] + i) * stride;
        const element* value = token + 2 * heads * f + h * e;
        bool folds = inBlock == 0 && position > 0;
        int ringCount = folds ? FOLD_INTERVAL : inBlock;
        for (int n = thread; n < ringCount * f; n += TAYLOR_THREADS) keys[n / f][n % f] = widen(ringKeys[n]);
        __syncthreads();
        if (folds) {
            for (int d = thread; d < D; d += TAYLOR_THREADS) {
                FeaturePair pair = pairOf(d, f);
                float z = norms[d];
                for (int j = 0; j < FOLD_INTERVAL; j++) z += features[j][d] = keyFeature(keys[j], d, pair, f);
                norms[d] = z;
            }
            __syncthreads();
            for (int n = thread; n < D * e; n += TAYLOR_THREADS) {
                float sum = joined(high[n], low[n]);
                for (int j = 0; j < FOLD_INTERVAL; j++)
                    sum = __fmaf_rn(features[j][n / e], widen(ringValues[j * e + n % e]), sum);
                unsigned bits = __float_as_uint(sum);
                high[n] = (unsigned short)((bits + 0x8000u) >> 16);
                low[n] = (unsigned short)bits;
            }
            __syncthreads();
        }
        for (int n = thread; n < f; n += TAYLOR_THREADS) {
            query[n] = widen(token[h * f + n]);
            element k = token[heads * f + h * f + n];
            keys[inBlock][n] = widen(k);
            ringKeys[inBlock * f + n] = k;
        }
        for (int c = thread; c < e; c += TAYLOR_THREADS) ringValues[inBlock * e + c] = value[c];
        __syncthreads();
        float denominator = 0;
        for (int d = thread; d < D; d += TAYLOR_THREADS) {
            weights[d] = queryFeature(query, d, pairOf(d, f), f, scale);
            denominator = __fmaf_rn(weights[d], norms[d], denominator);
        }
        if (thread <= inBlock) {
            float s = 0;
            for (int c = 0; c < f; c++) s = __fmaf_rn(query[c] * scale, keys[thread][c], s);
            ringWeights[thread] = taylorWeight(s);
            denominator += ringWeights[thread];
        }
        denominator = blockSum(denominator, scratch) + epsilon;
        for (int c = thread; c < e; c += TAYLOR_THREADS) {
            float sum = 0;
            for (int d = 0; d < D; d++) {
#ifdef BASALT_F32
                sum = __fmaf_rn(weights[d], joined(high[d * e + c], low[d * e + c]), sum);
#else
                sum = __fmaf_rn(weights[d], __uint_as_float((unsigned)high[d * e + c] << 16), sum);
#endif
            }
            for (int j = 0; j <= inBlock; j++) sum = __fmaf_rn(ringWeights[j], widen(ringValues[j * e + c]), sum);
            store(&y[(long long)(rowStarts[row] + i) * heads * e + h * e + c], sum / denominator);
        }
        __syncthreads();
    }
}
