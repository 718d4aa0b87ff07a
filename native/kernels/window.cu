// Sliding-window softmax attention over a ring of rotated keys and values: a token sees itself and the reach tokens
// before it. Rotary embedding is applied when a key is written, so the order of ring rows does not matter.
#include "common.cuh"

constexpr int WINDOW_THREADS = 128;

// Entry i of a head's vector after rotary embedding of its first r entries.
__device__ __forceinline__ float rotated(const element* x, const float* rotary, int i, int r, int isInterleaved) {
    float own = widen(x[i]);
    if (i >= r) return own;
    int half = r / 2;
    int pair = isInterleaved ? i / 2 : i % half;
    bool isFirst = isInterleaved ? i % 2 == 0 : i < half;
    int other = isInterleaved ? i ^ 1 : isFirst ? i + half : i - half;
    float cosine = rotary[pair], sine = rotary[half + pair], that = widen(x[other]);
    return isFirst ? own * cosine - that * sine : that * sine + own * cosine;
}

template <int E>
struct WindowShape {
    static constexpr int LANES = E / 8;                        // threads that share a key
    static constexpr int GROUPS = WINDOW_THREADS / LANES;      // keys at a time
    static constexpr int PER = (128 + GROUPS - 1) / GROUPS;    // keys of a thread in a chunk
    static constexpr int CHUNK = GROUPS * PER;
    static constexpr int PARTS = CHUNK * (LANES + 1) > GROUPS * E ? CHUNK * (LANES + 1) : GROUPS * E;
};

template <int E>
struct WindowChunk {
    typedef WindowShape<E> Shape;
    Eight rows[Shape::PER];

    // Keys base + group + r·GROUPS of n, from ring rows that begin at first.
    __device__ __forceinline__ void load(const element* ring, int base, int n, int first, int ringRows, int group, int lane) {
#pragma unroll
        for (int r = 0; r < Shape::PER; r++) {
            int key = base + group + r * Shape::GROUPS;
            int ringRow = first + key >= ringRows ? first + key - ringRows : first + key;
            rows[r] = group < Shape::GROUPS && key < n ? loadEight(ring + ringRow * E + lane * 8) : zeroEight();
        }
    }
};

template <int E>
__device__ __forceinline__ void windowStep(
    const int* activeSlots, const long long* rowPositions, const int* rowStarts, const int* rowCounts,
    const element* qkv, const float* rotary, element* y, unsigned char* state, long long slotBytes,
    long long keysOffset, long long valuesOffset, int heads, int keyHeads, int reach, int ringRows, float scale,
    int rotaryDim, int isInterleaved) {
    typedef WindowShape<E> Shape;
    __shared__ float query[E], key[E], value[E], parts[Shape::PARTS], scratch[64];
    DYNAMIC_SHARED(windowShared);
    float* scores = (float*)windowShared;  // [reach + 1]
    int g = (int)blockIdx.x, row = (int)blockIdx.y, thread = (int)threadIdx.x;
    int slot = activeSlots[row];
    if (slot < 0) {
        awaitPredecessor();
        return;
    }
    auto ringKeys = tensorOf<element>(state, slotBytes, slot, keysOffset) + (long long)g * ringRows * E;
    auto ringValues = tensorOf<element>(state, slotBytes, slot, valuesOffset) + (long long)g * ringRows * E;
    int lane = thread % Shape::LANES, group = thread / Shape::LANES;
    int stride = (heads + 2 * keyHeads) * E, headsPerKey = heads / keyHeads;
    for (int i = 0; i < rowCounts[row]; i++) {
        long long position = rowPositions[row] + i;
        int n = (int)min(position, (long long)reach);
        int first = (int)((position - n) % ringRows);
        WindowChunk<E> chunk;  // of keys, and once their scores are known of values
        chunk.load(ringKeys, 0, n, first, ringRows, group, lane);
        if (i == 0) awaitPredecessor();

        int t = rowStarts[row] + i, ringRow = (int)(position % ringRows);
        const element* token = qkv + (long long)t * stride;
        const float* angles = rotary + (long long)t * rotaryDim;
        for (int c = thread; c < E; c += WINDOW_THREADS) {
            float k = rounded(rotated(token + (heads + g) * E, angles, c, rotaryDim, isInterleaved));
            element v = token[(heads + keyHeads + g) * E + c];
            key[c] = k;
            value[c] = widen(v);
            store(&ringKeys[ringRow * E + c], k);
            ringValues[ringRow * E + c] = v;
        }
#pragma unroll 1
        for (int h = g * headsPerKey; h < (g + 1) * headsPerKey; h++) {
            for (int c = thread; c < E; c += WINDOW_THREADS)
                query[c] = rounded(rotated(token + h * E, angles, c, rotaryDim, isInterleaved)) * scale;
            __syncthreads();
#pragma unroll 1
            for (int base = 0; base < n; base += Shape::CHUNK) {
                if (base > 0) chunk.load(ringKeys, base, n, first, ringRows, group, lane);
                if (group < Shape::GROUPS) {
#pragma unroll
                    for (int r = 0; r < Shape::PER; r++) {
                        float dot = 0;
#pragma unroll
                        for (int c = 0; c < 8; c++) dot = __fmaf_rn(query[lane * 8 + c], chunk.rows[r].at(c), dot);
                        parts[(group + r * Shape::GROUPS) * (Shape::LANES + 1) + lane] = dot;
                    }
                }
                __syncthreads();
                for (int k = thread; k < Shape::CHUNK && base + k < n; k += WINDOW_THREADS) {
                    float dot = 0;
#pragma unroll
                    for (int l = 0; l < Shape::LANES; l++) dot += parts[k * (Shape::LANES + 1) + l];
                    scores[base + k] = dot;
                }
                __syncthreads();
            }
            chunk.load(ringValues, 0, n, first, ringRows, group, lane);
            if (thread < WARP) {
                float dot = 0;
                for (int c = thread; c < E; c += WARP) dot = __fmaf_rn(query[c], key[c], dot);
                dot = warpSum(dot);
                if (thread == 0) scores[n] = dot;
            }
            __syncthreads();
            float largest = scores[0];
            for (int k = thread; k <= n; k += WINDOW_THREADS) largest = max(largest, scores[k]);
            largest = blockMax(largest, scratch);
            float denominator = 0;
            for (int k = thread; k <= n; k += WINDOW_THREADS) {
                float p = expf(scores[k] - largest);
                scores[k] = p;
                denominator += p;
            }
            denominator = blockSum(denominator, scratch + 32);
            if (group < Shape::GROUPS) {
                float sum[8] = {0, 0, 0, 0, 0, 0, 0, 0};
#pragma unroll 1
                for (int base = 0; base < n; base += Shape::CHUNK) {
                    if (base > 0) chunk.load(ringValues, base, n, first, ringRows, group, lane);
#pragma unroll
                    for (int r = 0; r < Shape::PER; r++) {
                        int k = base + group + r * Shape::GROUPS;
                        float p = k < n ? scores[k] : 0.0f;
#pragma unroll
                        for (int c = 0; c < 8; c++) sum[c] = __fmaf_rn(p, chunk.rows[r].at(c), sum[c]);
                    }
                }
#pragma unroll
                for (int c = 0; c < 8; c++) parts[group * E + lane * 8 + c] = sum[c];
            }
            __syncthreads();
            for (int c = thread; c < E; c += WINDOW_THREADS) {
                float sum = scores[n] * value[c];
                for (int p = 0; p < Shape::GROUPS; p++) sum += parts[p * E + c];
                store(&y[(long long)t * heads * E + h * E + c], sum / denominator);
            }
            __syncthreads();
            if (h + 1 < (g + 1) * headsPerKey) chunk.load(ringKeys, 0, n, first, ringRows, group, lane);
        }
    }
}

// window_step_E: tokens of a row in turn (one in decode): rotate and append (k, v), read the window.
// grid (Hkv, B), block 128; smem 10 KB + (reach + 1)·4
// bytes  B·Hkv·2·reach·e·2 a token
// bound  memory: 2.5 TB/s at B=128 and 2.6 at 256 of 3.0, H100, 2026-11-28, gpu-check bench:1.3b:p128,p256
// ref    backend.cpu.Reference (window attention); WINDOW_TOLERANCE (bf16 keys, values and output)
#define WINDOW_STEP(E)                                                                                               \
    extern "C" __global__ void __launch_bounds__(WINDOW_THREADS, 4) window_step_##E(                                 \
        const int* __restrict__ activeSlots,         /* [B] */                                                       \
        const long long* __restrict__ rowPositions,  /* [B] */                                                       \
        const int* __restrict__ rowStarts,           /* [B] */                                                       \
        const int* __restrict__ rowCounts,           /* [B] */                                                       \
        const element* __restrict__ qkv,             /* [T, (H + 2·Hkv)·e]: queries, keys, values */                 \
        const float* __restrict__ rotary,            /* [T, r] */                                                    \
        element* __restrict__ y,                     /* [T, H·e] out */                                              \
        unsigned char* state, long long slotBytes,                                                                   \
        long long keysOffset,                        /* element [Hkv, ring, e] */                                    \
        long long valuesOffset,                      /* element [Hkv, ring, e] */                                    \
        int heads, int keyHeads, int reach, int ringRows, float scale, int rotaryDim, int isInterleaved) {           \
        windowStep<E>(activeSlots, rowPositions, rowStarts, rowCounts, qkv, rotary, y, state, slotBytes, keysOffset, \
                      valuesOffset, heads, keyHeads, reach, ringRows, scale, rotaryDim, isInterleaved);              \
    }
WINDOW_STEP(32)
WINDOW_STEP(64)
WINDOW_STEP(112)

// window_step_any: the same for any e: a key a thread, then a column a thread.
// grid (Hkv, B), block 128; smem (reach + 1 + e)·4
// bytes  as above
// bound  latency: not measured
// ref    backend.cpu.Reference (window attention)
extern "C" __global__ void __launch_bounds__(WINDOW_THREADS) window_step_any(
    const int* __restrict__ activeSlots,         // [B]
    const long long* __restrict__ rowPositions,  // [B]
    const int* __restrict__ rowStarts,           // [B]
    const int* __restrict__ rowCounts,           // [B]
    const element* __restrict__ qkv,             // [T, (H + 2·Hkv)·e]
    const float* __restrict__ rotary,            // [T, r]
    element* __restrict__ y,                     // [T, H·e] out
    unsigned char* state, long long slotBytes,
    long long keysOffset,                        // element [Hkv, ring, e]
    long long valuesOffset,                      // element [Hkv, ring, e]
    int heads, int keyHeads, int reach, int ringRows, float scale, int rotaryDim, int isInterleaved,
    int headWidth) {
    __shared__ float scratch[64];
    DYNAMIC_SHARED(windowAnyShared);
    float* scores = (float*)windowAnyShared;      // [reach + 1]
    float* query = scores + reach + 1;    // [e]
    awaitPredecessor();
    int g = (int)blockIdx.x, row = (int)blockIdx.y, thread = (int)threadIdx.x, e = headWidth;
    int slot = activeSlots[row];
    if (slot < 0) return;
    auto ringKeys = tensorOf<element>(state, slotBytes, slot, keysOffset) + (long long)g * ringRows * e;
    auto ringValues = tensorOf<element>(state, slotBytes, slot, valuesOffset) + (long long)g * ringRows * e;
    int stride = (heads + 2 * keyHeads) * e, headsPerKey = heads / keyHeads;
    for (int i = 0; i < rowCounts[row]; i++) {
        long long position = rowPositions[row] + i;
        int n = (int)min(position, (long long)reach);
        int first = (int)((position - n) % ringRows);
        int t = rowStarts[row] + i, ringRow = (int)(position % ringRows);
        const element* token = qkv + (long long)t * stride;
        const float* angles = rotary + (long long)t * rotaryDim;
        for (int c = thread; c < e; c += WINDOW_THREADS) {
            store(&ringKeys[ringRow * e + c], rotated(token + (heads + g) * e, angles, c, rotaryDim, isInterleaved));
            ringValues[ringRow * e + c] = token[(heads + keyHeads + g) * e + c];
        }
#pragma unroll 1
        for (int h = g * headsPerKey; h < (g + 1) * headsPerKey; h++) {
            for (int c = thread; c < e; c += WINDOW_THREADS)
                query[c] = rounded(rotated(token + h * e, angles, c, rotaryDim, isInterleaved)) * scale;
            __syncthreads();
            float largest = -INFINITY;
            for (int k = thread; k <= n; k += WINDOW_THREADS) {
                const element* keyRow = ringKeys + (first + k) % ringRows * e;
                float dot = 0;
                for (int c = 0; c < e; c++) dot = __fmaf_rn(query[c], widen(keyRow[c]), dot);
                scores[k] = dot;
                largest = max(largest, dot);
            }
            largest = blockMax(largest, scratch);
            float denominator = 0;
            for (int k = thread; k <= n; k += WINDOW_THREADS) {
                scores[k] = expf(scores[k] - largest);
                denominator += scores[k];
            }
            denominator = blockSum(denominator, scratch + 32);
            for (int c = thread; c < e; c += WINDOW_THREADS) {
                float sum = 0;
                for (int k = 0; k <= n; k++)
                    sum = __fmaf_rn(scores[k], widen(ringValues[(first + k) % ringRows * e + c]), sum);
                store(&y[(long long)t * heads * e + h * e + c], sum / denominator);
            }
            __syncthreads();
        }
    }
}
