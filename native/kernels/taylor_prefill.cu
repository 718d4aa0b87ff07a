// Taylor linear attention over many tokens of a row. A block takes 16 columns of one head's values and goes through the
// row in the aligned blocks of 32 positions that decoding folds in, with S in shared memory: the same folds in the same
// order, so the state is the same as token by token. What it computes twice, the features, is cheap beside the rest.
#include "common.cuh"

constexpr int SLICE = 16;  // columns of a block
constexpr int PREFILL_THREADS = 512;
constexpr int PREFILL_WARPS = PREFILL_THREADS / WARP;
constexpr int FEATURE_STRIDE = 156;  // of f32 [32, D], 16-byte rows
constexpr int WARP_FEATURES = 10;    // features a warp reads: sixteen times it covers D

struct TaylorPrefillShared {
    float sums[FEATURES_MAX + 3][SLICE];
    float queryFeatures[FEATURES_MAX + 7][FOLD_INTERVAL];  // [D, t], zero beyond D
    float keyFeatures[FOLD_INTERVAL][FEATURE_STRIDE];      // [j, D]
    float pairWeights[FOLD_INTERVAL][FOLD_INTERVAL];       // [j, t], 0 for j > t
    float queries[FOLD_INTERVAL][FEATURE_DIM_MAX + 1];
    float keys[FOLD_INTERVAL][FEATURE_DIM_MAX + 1];
    float values[FOLD_INTERVAL][SLICE];
    float norms[FEATURES_MAX + 7];
    FeaturePair pairs[FEATURES_MAX + 7];
    float denominators[PREFILL_WARPS][FOLD_INTERVAL];
    float parts[PREFILL_WARPS][FOLD_INTERVAL][SLICE];
};

__device__ __forceinline__ float4 fourOf(const float* p) { return *(const float4*)p; }

static_assert(PREFILL_THREADS == FOLD_INTERVAL * FEATURE_DIM_MAX && PREFILL_THREADS == FOLD_INTERVAL * SLICE,
              "a thread loads one entry of a block's queries, keys and values");
static_assert(PREFILL_WARPS * WARP_FEATURES >= FEATURES_MAX, "every feature is some warp's");

// acc[i][c] += a_i · b_c for four tokens and four columns.
__device__ __forceinline__ void addProducts(float acc[4][4], float4 a, float4 b) {
    float left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int c = 0; c < 4; c++) acc[i][c] = __fmaf_rn(left[i], right[c], acc[i][c]);
    }
}

// Key features of the block in shared memory, all threads.
__device__ void fillKeyFeatures(TaylorPrefillShared& s) {
    for (int d = (int)threadIdx.x % 128; d < FEATURES_MAX; d += 128) {
        FeaturePair pair = s.pairs[d];
#pragma unroll 8
        for (int j = (int)threadIdx.x / 128; j < FOLD_INTERVAL; j += PREFILL_THREADS / 128)
            s.keyFeatures[j][d] = keyFeature(s.keys[j], d, pair, FEATURE_DIM_MAX);
    }
}

// S += Σ_j φ(k_j)·v_jᵀ, z += Σ_j φ(k_j) over the 32 tokens in shared memory, j ascending, as decoding does.
__device__ void foldShared(TaylorPrefillShared& s) {
    constexpr int FOLDERS = 320;  // four features by two columns each; the others have z
    int thread = (int)threadIdx.x;
    if (thread < FOLDERS) {
        int d0 = thread / 8 * 4, c0 = thread % 8 * 2;
        if (d0 < FEATURES_MAX) {
            float acc[4][2];
#pragma unroll
            for (int i = 0; i < 4; i++) acc[i][0] = s.sums[d0 + i][c0], acc[i][1] = s.sums[d0 + i][c0 + 1];
#pragma unroll 8
            for (int j = 0; j < FOLD_INTERVAL; j++) {
                float4 features = fourOf(&s.keyFeatures[j][d0]);
                float left[4] = {features.x, features.y, features.z, features.w};
                float right[2] = {s.values[j][c0], s.values[j][c0 + 1]};
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    acc[i][0] = __fmaf_rn(left[i], right[0], acc[i][0]);
                    acc[i][1] = __fmaf_rn(left[i], right[1], acc[i][1]);
                }
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (d0 + i < FEATURES_MAX) s.sums[d0 + i][c0] = acc[i][0], s.sums[d0 + i][c0 + 1] = acc[i][1];
        }
    } else if (thread - FOLDERS < FEATURES_MAX) {
        float z = s.norms[thread - FOLDERS];
#pragma unroll 8
        for (int j = 0; j < FOLD_INTERVAL; j++) z += s.keyFeatures[j][thread - FOLDERS];
        s.norms[thread - FOLDERS] = z;
    }
    __syncthreads();
}

// taylor_prefill: rows of many tokens; f = 16, e a multiple of 16. Rings are left to write_ring and z to store_norms,
//   since other blocks of the head still read them.
// grid (H·e / 16, B), block 512; smem 96 KB
// bytes  T·H·(2·f·e/16 + 2·e)·2; the state once
// bound  arithmetic in f32: not measured
// ref    backend.cpu.Reference (Taylor attention); TAYLOR_TOLERANCE
extern "C" __global__ void __launch_bounds__(PREFILL_THREADS) taylor_prefill(
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
    int headWidth,
    float* __restrict__ newNorms) {              // [B, H, D] out
    DYNAMIC_SHARED(taylorPrefillShared);
    TaylorPrefillShared& s = *(TaylorPrefillShared*)taylorPrefillShared;
    constexpr int F = FEATURE_DIM_MAX, D = FEATURES_MAX;
    awaitPredecessor();
    int slices = headWidth / SLICE, h = (int)blockIdx.x / slices, slice = (int)blockIdx.x % slices;
    int row = (int)blockIdx.y, thread = (int)threadIdx.x, warp = thread / WARP, lane = thread % WARP, e = headWidth;
    int slot = activeSlots[row];
    if (slot < 0) return;
    auto high = tensorOf<unsigned short>(state, slotBytes, slot, sumsOffset) + (long long)h * 2 * D * e + slice * SLICE;
    auto low = high + D * e;
    auto ringKeys = tensorOf<element>(state, slotBytes, slot, keysOffset) + h * FOLD_INTERVAL * F;
    auto ringValues = tensorOf<element>(state, slotBytes, slot, valuesOffset) + h * FOLD_INTERVAL * e + slice * SLICE;
    auto norms = tensorOf<float>(state, slotBytes, slot, normsOffset) + h * D;
    int stride = heads * (2 * F + e);
    long long start = rowPositions[row], end = start + rowCounts[row];
    const element* rowTokens = qkv + (long long)rowStarts[row] * stride;

    for (int n = thread; n < D * SLICE; n += PREFILL_THREADS)
        s.sums[n / SLICE][n % SLICE] = joined(high[n / SLICE * e + n % SLICE], low[n / SLICE * e + n % SLICE]);
    for (int d = thread; d < D; d += PREFILL_THREADS) {
        s.norms[d] = norms[d];
        s.pairs[d] = pairOf(d, F);
    }
    for (int n = thread; n < 7 * FOLD_INTERVAL; n += PREFILL_THREADS) s.queryFeatures[D + n / FOLD_INTERVAL][n % FOLD_INTERVAL] = 0;
    for (int n = thread; n < 3 * SLICE; n += PREFILL_THREADS) s.sums[D + n / SLICE][n % SLICE] = 0;
    for (int n = thread; n < 7; n += PREFILL_THREADS) s.norms[D + n] = 0;

    // A row that begins at a block's first position first folds the block before, which is whole in the ring.
    long long first = start % FOLD_INTERVAL == 0 && start > 0 ? start - FOLD_INTERVAL : start / FOLD_INTERVAL * FOLD_INTERVAL;
    int j = thread / F, c = thread % F;
    float query, key, value;
    // One entry of a block's tokens: those of the row, before them those of the rings.
    auto fetch = [&](long long base) {
        long long position = base + j;
        const element* token = rowTokens + (position - start) * stride + h * F + c;
        bool isHere = position >= start && position < end;
        query = isHere ? widen(token[0]) : 0.0f;
        key = isHere ? widen(token[heads * F]) : position < start ? widen(ringKeys[j * F + c]) : 0.0f;
        token += 2 * heads * F + h * (e - F) + slice * SLICE;
        value = isHere ? widen(*token) : position < start ? widen(ringValues[j * e + c]) : 0.0f;
    };
    fetch(first);
    for (long long base = first; base < end; base += FOLD_INTERVAL) {
        s.queries[j][c] = query;
        s.keys[j][c] = key;
        s.values[j][c] = value;
        if (base + FOLD_INTERVAL < end) fetch(base + FOLD_INTERVAL);  // is there when this block is done
        __syncthreads();
        fillKeyFeatures(s);
        if (base + FOLD_INTERVAL > start) {
#pragma unroll 4
            for (int d = warp; d < D; d += PREFILL_WARPS)
                s.queryFeatures[d][lane] = queryFeature(s.queries[lane], d, s.pairs[d], F, scale);
#pragma unroll
            for (int k = warp; k < FOLD_INTERVAL; k += PREFILL_WARPS) {
                float dot = 0;
#pragma unroll
                for (int i = 0; i < F; i++) dot = __fmaf_rn(s.queries[lane][i] * scale, s.keys[k][i], dot);
                s.pairWeights[k][lane] = k <= lane ? taylorWeight(dot) : 0.0f;
            }
            __syncthreads();

            float acc[4][4] = {};
            int t0 = lane / 4 * 4, c0 = lane % 4 * 4;
            float denominator = 0;
#pragma unroll 5
            for (int d = warp * WARP_FEATURES; d < min((warp + 1) * WARP_FEATURES, D); d++) {
                addProducts(acc, fourOf(&s.queryFeatures[d][t0]), fourOf(&s.sums[d][c0]));
                denominator = __fmaf_rn(s.queryFeatures[d][lane], s.norms[d], denominator);
            }
            for (int k = warp; k < FOLD_INTERVAL; k += PREFILL_WARPS) {
                addProducts(acc, fourOf(&s.pairWeights[k][t0]), fourOf(&s.values[k][c0]));
                denominator += s.pairWeights[k][lane];
            }
            s.denominators[warp][lane] = denominator;
#pragma unroll
            for (int i = 0; i < 4; i++)
                *(float4*)&s.parts[warp][t0 + i][c0] = float4{acc[i][0], acc[i][1], acc[i][2], acc[i][3]};
            __syncthreads();
            long long position = base + j;
            if (position >= start && position < end) {
                float sum = 0, below = epsilon;
#pragma unroll
                for (int w = 0; w < PREFILL_WARPS; w++) {
                    sum += s.parts[w][j][c];
                    below += s.denominators[w][j];
                }
                store(&y[(rowStarts[row] + position - start) * heads * e + h * e + slice * SLICE + c], sum / below);
            }
        }
        __syncthreads();
        if (base + FOLD_INTERVAL < end) foldShared(s);
    }
    for (int n = thread; n < D * SLICE; n += PREFILL_THREADS) {
        unsigned bits = __float_as_uint(s.sums[n / SLICE][n % SLICE]);
        high[n / SLICE * e + n % SLICE] = (unsigned short)((bits + 0x8000u) >> 16);
        low[n / SLICE * e + n % SLICE] = (unsigned short)bits;
    }
    if (slice == 0) {
        float* out = newNorms + ((long long)row * heads + h) * D;
        for (int d = thread; d < D; d += PREFILL_THREADS) out[d] = s.norms[d];
    }
}

// store_norms: z of taylor_prefill into the state.
// grid (B), block 256
// bytes  B·H·D·8
// bound  latency: not measured
// ref    a copy
extern "C" __global__ void __launch_bounds__(256) store_norms(
    const int* __restrict__ activeSlots,   // [B]
    const float* __restrict__ newNorms,    // [B, n]
    unsigned char* state, long long slotBytes,
    long long normsOffset,                 // f32 [n]
    int n) {                               // H·D
    awaitPredecessor();
    int slot = activeSlots[blockIdx.x];
    if (slot < 0) return;
    auto norms = tensorOf<float>(state, slotBytes, slot, normsOffset);
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) norms[i] = newNorms[(long long)blockIdx.x * n + i];
}
