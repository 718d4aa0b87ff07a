// Sliding-window softmax attention over a ring of rotated keys and values: a token sees itself and the reach tokens
// before it. Rotary embedding is applied when a key is written, so the order of ring rows does not matter.
#include "common.cuh"

// Entry i of a head's vector, the one that rotary embedding pairs it with, and the angle: loads that do not wait for
// each other, and then the entry as rotated.
struct RotaryAngle {
    float cosine = 1, sine = 0;
    int other;
    bool isFirst = true;

    // Of r entries that are rotated.
    __device__ __forceinline__ RotaryAngle(const float* rotary, int i, int r, int isInterleaved) {
        other = i;
        if (i >= r) return;
        int half = r / 2;
        isFirst = isInterleaved ? i % 2 == 0 : i < half;
        other = isInterleaved ? i ^ 1 : isFirst ? i + half : i - half;
        int pair = isInterleaved ? i / 2 : isFirst ? i : other;
        cosine = rotary[pair], sine = rotary[half + pair];
    }

    __device__ __forceinline__ float rotated(element own, element that) const {
        float turned = widen(that) * sine;
        return isFirst ? widen(own) * cosine - turned : turned + widen(own) * cosine;
    }
};

// A key's vector is shared by LANES lanes of the STRIDE that have it, eight entries each.
template <int E>
struct WindowShape {
    static constexpr int THREADS = E > 64 ? 256 : 128, WARPS = THREADS / WARP;  // mirrored by MixerKernels
    static constexpr int LANES = E / 8, STRIDE = LANES <= 4 ? 4 : LANES <= 8 ? 8 : 16;
    static constexpr int KEYS = WARP / STRIDE;                     // of a warp at a time
    static constexpr int CHUNK = 256 / (int)sizeof(element);       // keys that a block holds
    static constexpr int PER = CHUNK / (WARPS * KEYS);             // of them a lane
    static constexpr int BYTES = 2 * CHUNK * E * (int)sizeof(element);

    // The key of a lane, from a chunk's first.
    static __device__ __forceinline__ int keyOf(int r, int thread) {
        return (r * WARPS + thread / WARP) * KEYS + thread % WARP / STRIDE;
    }
};

static_assert(WindowShape<32>::BYTES == 16384, "mirrored by Kernel");
static_assert(WindowShape<64>::BYTES == 32768, "mirrored by Kernel");
static_assert(WindowShape<112>::BYTES == 57344, "mirrored by Kernel");

// Keys and values of a chunk, all on their way at once, in shared memory so that registers do not limit how much is under
// way on a multiprocessor.
template <int E>
struct WindowRows {
    typedef WindowShape<E> Shape;
    element* keys;    // [CHUNK, E]
    element* values;  // [CHUNK, E]
    unsigned long long* barrier;
    int phase;

    // By all threads, before any copy.
    __device__ __forceinline__ void open(unsigned char* shared, unsigned long long* copyBarrier) {
        keys = (element*)shared;
        values = keys + Shape::CHUNK * E;
        barrier = copyBarrier;
        phase = 0;
#ifdef BASALT_BULK_COPIES
        if (threadIdx.x == 0) {
            createBarrier(sharedAddress(barrier), 1);
            publishBarriers();
        }
        __syncwarp();
#endif
    }

    // Starts copying the first of left rows, from a ring's row first on.
    __device__ __forceinline__ void start(const element* ringKeys, const element* ringValues, int first, int left,
                                          int ringRows) {
        int count = min(left, Shape::CHUNK);
#ifdef BASALT_BULK_COPIES
        if (threadIdx.x == 0) {
            constexpr int ROW_BYTES = E * (int)sizeof(element);
            int before = min(count, ringRows - first);
            unsigned address = sharedAddress(barrier);
            expectBytes(address, 2 * count * ROW_BYTES);
            if (before > 0) {
                startBulkCopy(keys, ringKeys + first * E, before * ROW_BYTES, address);
                startBulkCopy(values, ringValues + first * E, before * ROW_BYTES, address);
            }
            if (before < count) {
                startBulkCopy(keys + before * E, ringKeys, (count - before) * ROW_BYTES, address);
                startBulkCopy(values + before * E, ringValues, (count - before) * ROW_BYTES, address);
            }
        }
#else
        constexpr int PIECE = 16 / (int)sizeof(element), PIECES = E / PIECE;
        for (int i = (int)threadIdx.x; i < count * PIECES; i += Shape::THREADS) {
            int ringRow = first + i / PIECES;
            if (ringRow >= ringRows) ringRow -= ringRows;
            startCopy(keys + i * PIECE, ringKeys + ringRow * E + i % PIECES * PIECE);
            startCopy(values + i * PIECE, ringValues + ringRow * E + i % PIECES * PIECE);
        }
        commitCopies();
#endif
    }

    // A barrier of the block, after which they are there.
    __device__ __forceinline__ void await() {
#ifdef BASALT_BULK_COPIES
        __syncthreads();
        awaitPhase(sharedAddress(barrier), phase);
        phase ^= 1;
#else
        awaitCopies<0>();
        __syncthreads();
#endif
    }
};

// Before a barrier, after which what the thread wrote to a ring can be copied.
__device__ __forceinline__ void publishToCopies() {
#ifdef BASALT_BULK_COPIES
    asm volatile("fence.proxy.async.global;" ::: "memory");
#endif
}

// What a warp knows of its keys: the largest score, and sums relative to it.
struct WindowSums {
    float largest = -INFINITY, weights = 0, values[8] = {0, 0, 0, 0, 0, 0, 0, 0};

    // The first of left rows; whole warps.
    template <int E>
    __device__ __forceinline__ void add(const WindowRows<E>& rows, const float* query, int left, int thread) {
        typedef WindowShape<E> Shape;
        int lane = min(thread % Shape::STRIDE, Shape::LANES - 1);  // those beyond have no part of the query
        float scores[Shape::PER], highest = largest;
#pragma unroll
        for (int r = 0; r < Shape::PER; r++) {
            int key = Shape::keyOf(r, thread);
            Eight k = loadEight(rows.keys + min(key, left - 1) * E + lane * 8);
            float dot = 0;
#pragma unroll
            for (int c = 0; c < 8; c++) dot = __fmaf_rn(query[c], k.at(c), dot);
#pragma unroll
            for (int mask = Shape::STRIDE / 2; mask > 0; mask >>= 1) dot += __shfl_xor_sync(0xffffffffu, dot, mask);
            scores[r] = key < left ? dot : -INFINITY;
            highest = max(highest, scores[r]);
        }
#pragma unroll
        for (int mask = Shape::STRIDE; mask < WARP; mask <<= 1)
            highest = max(highest, __shfl_xor_sync(0xffffffffu, highest, mask));
        if (highest == -INFINITY) return;  // no key is the warp's
        float shrink = expf(largest - highest);
        largest = highest;
        weights *= shrink;
#pragma unroll
        for (int c = 0; c < 8; c++) values[c] *= shrink;
#pragma unroll
        for (int r = 0; r < Shape::PER; r++) {
            float p = expf(scores[r] - highest);
            Eight v = loadEight(rows.values + min(Shape::keyOf(r, thread), left - 1) * E + lane * 8);
            weights += p;
#pragma unroll
            for (int c = 0; c < 8; c++) values[c] = __fmaf_rn(p, v.at(c), values[c]);
        }
    }

    // Over the lanes that have different keys.
    template <int E>
    __device__ __forceinline__ void addUp() {
#pragma unroll
        for (int mask = WindowShape<E>::STRIDE; mask < WARP; mask <<= 1) {
            weights += __shfl_xor_sync(0xffffffffu, weights, mask);
#pragma unroll
            for (int c = 0; c < 8; c++) values[c] += __shfl_xor_sync(0xffffffffu, values[c], mask);
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
    __shared__ float query[Shape::STRIDE * 8], key[E], value[E], parts[Shape::WARPS][E];
    __shared__ float largest[Shape::WARPS], weights[Shape::WARPS], ownScore;
    __shared__ unsigned long long copyBarrier;
    DYNAMIC_SHARED(windowShared);
    int g = (int)blockIdx.x, row = (int)blockIdx.y, thread = (int)threadIdx.x;
    int slot = loadNow(activeSlots + row), count = loadNow(rowCounts + row), start = loadNow(rowStarts + row);
    long long position = loadNow(rowPositions + row);
    if (slot < 0) {
        awaitPredecessor();
        return;
    }
    auto ringKeys = tensorOf<element>(state, slotBytes, slot, keysOffset) + (long long)g * ringRows * E;
    auto ringValues = tensorOf<element>(state, slotBytes, slot, valuesOffset) + (long long)g * ringRows * E;
    int lane = thread % WARP, warp = thread / WARP, entry = min(thread, E - 1);
    int stride = (heads + 2 * keyHeads) * E, headsPerKey = heads / keyHeads;
    for (int c = E + thread; c < Shape::STRIDE * 8; c += Shape::THREADS) query[c] = 0;
    WindowRows<E> rows;
    rows.open(windowShared, &copyBarrier);
    for (int t = start; t < start + count; t++, position++) {
        int n = (int)min(position, (long long)reach), ringRow = wrapped(position, ringRows);
        int first = ringRow < n ? ringRow - n + ringRows : ringRow - n;
        bool isCopying = n > 0;
        if (isCopying) rows.start(ringKeys, ringValues, first, n, ringRows);
        if (t == start) awaitPredecessor();

        const element* token = qkv + (long long)t * stride;
        RotaryAngle angle(rotary + (long long)t * rotaryDim, entry, rotaryDim, isInterleaved);
        const element *tokenKey = token + (heads + g) * E, *tokenQuery = token + g * headsPerKey * E;
        element ownKey = tokenKey[entry], thatKey = tokenKey[angle.other];
        element ownValue = token[(heads + keyHeads + g) * E + entry];
        element ownQuery = tokenQuery[entry], thatQuery = tokenQuery[angle.other];
        if (thread < E) {
            float k = rounded(angle.rotated(ownKey, thatKey));
            key[thread] = k;
            value[thread] = widen(ownValue);
            store(&ringKeys[ringRow * E + thread], k);
            ringValues[ringRow * E + thread] = ownValue;
            publishToCopies();
        }
#pragma unroll 1
        for (int h = 0; h < headsPerKey; h++) {
            if (thread < E) query[thread] = rounded(angle.rotated(ownQuery, thatQuery)) * scale;
            if (h + 1 < headsPerKey) {
                tokenQuery += E;
                ownQuery = tokenQuery[entry], thatQuery = tokenQuery[angle.other];
            }
            if (isCopying) {
                rows.await();
            } else {
                __syncthreads();
            }
            float q[8];
#pragma unroll
            for (int c = 0; c < 8; c++) q[c] = query[lane % Shape::STRIDE * 8 + c];
            WindowSums sums;
#pragma unroll 1
            for (int base = 0; base < n; base += Shape::CHUNK) {
                if (base > 0) {
                    __syncthreads();
                    rows.start(ringKeys, ringValues, (first + base) % ringRows, n - base, ringRows);
                    rows.await();
                }
                sums.add(rows, q, n - base, thread);
            }
            sums.template addUp<E>();
            if (lane < Shape::LANES) {
#pragma unroll
                for (int c = 0; c < 8; c++) parts[warp][lane * 8 + c] = sums.values[c];
            }
            if (lane == 0) {
                largest[warp] = sums.largest;
                weights[warp] = sums.weights;
            }
            if (warp == Shape::WARPS - 1) {
                float dot = 0;
                for (int c = lane; c < E; c += WARP) dot = __fmaf_rn(query[c], key[c], dot);
                dot = warpSum(dot);
                if (lane == 0) ownScore = dot;
            }
            __syncthreads();
            if (thread < E) {
                float highest = ownScore;
#pragma unroll
                for (int w = 0; w < Shape::WARPS; w++) highest = max(highest, largest[w]);
                float denominator = expf(ownScore - highest), sum = denominator * value[thread];
#pragma unroll
                for (int w = 0; w < Shape::WARPS; w++) {
                    float shrink = expf(largest[w] - highest);
                    denominator = __fmaf_rn(shrink, weights[w], denominator);
                    sum = __fmaf_rn(shrink, parts[w][thread], sum);
                }
                store(&y[((long long)t * heads + g * headsPerKey + h) * E + thread], sum / denominator);
            }
            isCopying = n > Shape::CHUNK && h + 1 < headsPerKey;
            if (isCopying) rows.start(ringKeys, ringValues, first, n, ringRows);
        }
        __syncthreads();
    }
}

// window_step_E: tokens of a row in turn (one in decode): rotate and append (k, v), read the window.
// grid (Hkv, B), block 128, 256 for e = 112; smem 2·128·e·2
// bytes  B·Hkv·2·reach·e·2 a token
// bound  memory: 36.6 us at B=128 and 67.6 at 256 of 1.3B, 3.2 and 3.5 of 4.4 TB/s, H200, 2026-11-29, gpu-check
//   bench:1.3b:p128,p256
// ref    backend.cpu.Reference (window attention); WINDOW_TOLERANCE (bf16 keys, values and output)
#define WINDOW_STEP(E)                                                                                               \
    extern "C" __global__ void __launch_bounds__(WindowShape<E>::THREADS) window_step_##E(                       \
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

constexpr int WINDOW_THREADS = 128;  // of window_step_any

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
            const element* tokenKey = token + (heads + g) * e;
            RotaryAngle angle(angles, c, rotaryDim, isInterleaved);
            store(&ringKeys[ringRow * e + c], angle.rotated(tokenKey[c], tokenKey[angle.other]));
            ringValues[ringRow * e + c] = token[(heads + keyHeads + g) * e + c];
        }
#pragma unroll 1
        for (int h = g * headsPerKey; h < (g + 1) * headsPerKey; h++) {
            for (int c = thread; c < e; c += WINDOW_THREADS) {
                RotaryAngle angle(angles, c, rotaryDim, isInterleaved);
                query[c] = rounded(angle.rotated(token[h * e + c], token[h * e + angle.other])) * scale;
            }
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
