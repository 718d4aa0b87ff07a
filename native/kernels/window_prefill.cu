// Sliding-window attention over many tokens of a row, on the tensor cores, with the running maximum of FlashAttention.
#include "matrix.cuh"

// rotate: rotary embedding of queries and keys, in place.
// grid (T), block 256: eight pairs a thread, or one where r is no multiple of 16
// bytes  T·(H + Hkv)·r·4
// bound  memory: 6.3 us for 2,048 tokens, H=Hkv=16, r=112, H200, 2026-11-29; 29 MB that are in the cache
// ref    backend.cpu.Reference (window attention)
extern "C" __global__ void __launch_bounds__(256) rotate(
    element* __restrict__ qkv,           // [T, stride] in/out: queries, keys, values
    const float* __restrict__ rotary,    // [T, r]
    int heads,                           // H + Hkv
    int headWidth, int stride, int rotaryDim, int isInterleaved) {
    awaitPredecessor();
    int half = rotaryDim / 2;
    const float* angles = rotary + (long long)blockIdx.x * rotaryDim;
    element* token = qkv + (long long)blockIdx.x * stride;
    if (half % 8 == 0 && headWidth % 8 == 0) {
        for (int n = (int)threadIdx.x * 8; n < heads * half; n += (int)blockDim.x * 8) {
            int pair = n % half;
            element* head = token + n / half * headWidth;
            element* first = head + (isInterleaved ? 2 * pair : pair);
            element* second = first + (isInterleaved ? 8 : half);
            Eight a = loadEight(first), b = loadEight(second);
            float cosine[8], sine[8], v[16];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                *(float4*)&cosine[4 * i] = *(const float4*)(angles + pair + 4 * i);
                *(float4*)&sine[4 * i] = *(const float4*)(angles + half + pair + 4 * i);
            }
            auto at = [&](int i) { return i < 8 ? a.at(i) : b.at(i - 8); };
#pragma unroll
            for (int i = 0; i < 8; i++) {
                if (isInterleaved) {
                    v[2 * i] = at(2 * i) * cosine[i] - at(2 * i + 1) * sine[i];
                    v[2 * i + 1] = at(2 * i) * sine[i] + at(2 * i + 1) * cosine[i];
                } else {
                    v[i] = at(i) * cosine[i] - at(8 + i) * sine[i];
                    v[8 + i] = at(i) * sine[i] + at(8 + i) * cosine[i];
                }
            }
            storeEight(first, v);
            storeEight(second, v + 8);
        }
        return;
    }
    for (int n = (int)threadIdx.x; n < heads * half; n += (int)blockDim.x) {
        int pair = n % half;
        element* head = token + n / half * headWidth;
        element* first = head + (isInterleaved ? 2 * pair : pair);
        element* second = isInterleaved ? first + 1 : first + half;
        float a = widen(*first), b = widen(*second), cosine = angles[pair], sine = angles[half + pair];
        store(first, a * cosine - b * sine);
        store(second, a * sine + b * cosine);
    }
}

#ifndef BASALT_F32

constexpr int QUERY_TILE = 64;  // queries of a block, 16 a warp
constexpr int KEY_TILE = 64;
constexpr int ATTEND_THREADS = 128;

__device__ __forceinline__ unsigned pairAt(const bf16* p) { return *(const unsigned*)p; }

template <int E>
struct AttendShared {
    bf16 keys[KEY_TILE][E + 8];    // padded: a matrix instruction's loads meet no bank twice
    bf16 values[E][KEY_TILE + 8];  // transposed
};

template <int E>
__device__ __forceinline__ void attend(
    const int* activeSlots, const long long* rowPositions, const int* rowStarts, const int* rowCounts,
    const bf16* qkv, bf16* y, unsigned char* state, long long slotBytes, long long keysOffset,
    long long valuesOffset, int heads, int keyHeads, int reach, int ringRows, float scale) {
    constexpr int STEPS = E / 16, COLUMNS = E / 8, KEY_EIGHTS = KEY_TILE / 8;
    __shared__ AttendShared<E> shared;
    awaitPredecessor();
    int row = (int)blockIdx.y / heads, h = (int)blockIdx.y % heads, g = h / (heads / keyHeads);
    int thread = (int)threadIdx.x, warp = thread / WARP, lane = thread % WARP, inRow = lane / 4, inPair = lane % 4 * 2;
    int slot = activeSlots[row], count = rowCounts[row], q0 = (int)blockIdx.x * QUERY_TILE;
    if (slot < 0 || q0 >= count) return;
    long long start = rowPositions[row];
    int stride = (heads + 2 * keyHeads) * E;
    const bf16* tokens = qkv + (long long)rowStarts[row] * stride;
    auto ringKeys = tensorOf<bf16>(state, slotBytes, slot, keysOffset) + (long long)g * ringRows * E;
    auto ringValues = tensorOf<bf16>(state, slotBytes, slot, valuesOffset) + (long long)g * ringRows * E;

    // Queries of this thread: rows inRow and inRow + 8 of the warp's sixteen.
    int qa = q0 + warp * 16 + inRow, qb = qa + 8;
    unsigned query[STEPS][4];
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
        const bf16* a = tokens + (long long)min(qa, count - 1) * stride + h * E + s * 16 + inPair;
        const bf16* b = tokens + (long long)min(qb, count - 1) * stride + h * E + s * 16 + inPair;
        query[s][0] = pairAt(a), query[s][1] = pairAt(b), query[s][2] = pairAt(a + 8), query[s][3] = pairAt(b + 8);
    }
    float out[COLUMNS][4];
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) out[c][0] = out[c][1] = out[c][2] = out[c][3] = 0;
    float largestA = -INFINITY, largestB = -INFINITY, sumA = 0, sumB = 0;

    int lastKey = min(q0 + QUERY_TILE, count) - 1;
    for (int k0 = q0 - reach; k0 <= lastKey; k0 += KEY_TILE) {
        if (start + k0 + KEY_TILE <= 0) continue;
        __syncthreads();
        for (int n = thread; n < KEY_TILE * COLUMNS; n += ATTEND_THREADS) {
            int key = n / COLUMNS, c = n % COLUMNS * 8, token = k0 + key;
            long long position = start + token;
            uint4 k = make_uint4(0, 0, 0, 0), v = k;
            if (token >= 0 && token <= lastKey) {
                const bf16* from = tokens + (long long)token * stride + (heads + g) * E + c;
                k = *(const uint4*)from;
                v = *(const uint4*)(from + keyHeads * E);
            } else if (token < 0 && position >= 0) {
                long long at = position % ringRows * E + c;
                k = *(const uint4*)(ringKeys + at);
                v = *(const uint4*)(ringValues + at);
            }
            *(uint4*)&shared.keys[key][c] = k;
            unsigned words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int i = 0; i < 8; i++)
                shared.values[c + i][key].bits = (unsigned short)(i & 1 ? words[i / 2] >> 16 : words[i / 2]);
        }
        __syncthreads();

        float scores[KEY_EIGHTS][4];
#pragma unroll
        for (int n = 0; n < KEY_EIGHTS; n++) {
            scores[n][0] = scores[n][1] = scores[n][2] = scores[n][3] = 0;
#pragma unroll
            for (int s = 0; s < STEPS; s++) {
                const bf16* key = &shared.keys[n * 8 + inRow][s * 16 + inPair];
                multiply(scores[n], query[s][0], query[s][1], query[s][2], query[s][3], pairAt(key), pairAt(key + 8));
            }
        }
        float maxA = largestA, maxB = largestB;
#pragma unroll
        for (int n = 0; n < KEY_EIGHTS; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int token = k0 + n * 8 + inPair + i % 2, q = i < 2 ? qa : qb;
                bool isSeen = token <= q && token >= q - reach && start + token >= 0;
                scores[n][i] = isSeen ? scores[n][i] * scale : -INFINITY;
                if (i < 2) {
                    maxA = max(maxA, scores[n][i]);
                } else {
                    maxB = max(maxB, scores[n][i]);
                }
            }
        }
#pragma unroll
        for (int mask = 1; mask <= 2; mask <<= 1) {
            maxA = max(maxA, __shfl_xor_sync(0xffffffffu, maxA, mask));
            maxB = max(maxB, __shfl_xor_sync(0xffffffffu, maxB, mask));
        }
        // Nothing seen so far: any finite reference gives weights of zero.
        float referenceA = maxA == -INFINITY ? 0.0f : maxA, referenceB = maxB == -INFINITY ? 0.0f : maxB;
        float shrinkA = expf(largestA - referenceA), shrinkB = expf(largestB - referenceB);
        largestA = maxA, largestB = maxB;
        sumA *= shrinkA, sumB *= shrinkB;
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) out[c][0] *= shrinkA, out[c][1] *= shrinkA, out[c][2] *= shrinkB, out[c][3] *= shrinkB;
#pragma unroll
        for (int n = 0; n < KEY_EIGHTS; n++) {
            scores[n][0] = expf(scores[n][0] - referenceA), scores[n][1] = expf(scores[n][1] - referenceA);
            scores[n][2] = expf(scores[n][2] - referenceB), scores[n][3] = expf(scores[n][3] - referenceB);
            sumA += scores[n][0] + scores[n][1];
            sumB += scores[n][2] + scores[n][3];
        }
#pragma unroll
        for (int s = 0; s < KEY_TILE / 16; s++) {
            unsigned a0 = bf16Pair(scores[2 * s][0], scores[2 * s][1]), a1 = bf16Pair(scores[2 * s][2], scores[2 * s][3]);
            unsigned a2 = bf16Pair(scores[2 * s + 1][0], scores[2 * s + 1][1]);
            unsigned a3 = bf16Pair(scores[2 * s + 1][2], scores[2 * s + 1][3]);
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) {
                const bf16* value = &shared.values[c * 8 + inRow][s * 16 + inPair];
                multiply(out[c], a0, a1, a2, a3, pairAt(value), pairAt(value + 8));
            }
        }
    }
#pragma unroll
    for (int mask = 1; mask <= 2; mask <<= 1) {
        sumA += __shfl_xor_sync(0xffffffffu, sumA, mask);
        sumB += __shfl_xor_sync(0xffffffffu, sumB, mask);
    }
    bf16* rowY = y + (long long)rowStarts[row] * heads * E + h * E + inPair;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        if (qa < count)
            *(unsigned*)(rowY + (long long)qa * heads * E + c * 8) = bf16Pair(out[c][0] / sumA, out[c][1] / sumA);
        if (qb < count)
            *(unsigned*)(rowY + (long long)qb * heads * E + c * 8) = bf16Pair(out[c][2] / sumB, out[c][3] / sumB);
    }
}

// window_prefill_E: queries and keys are rotated already; the rings are left to write_ring.
// grid (tokens of the longest row / 64 rounded up, B·H), block 128; smem 32 KB at e = 112
// bytes  T·H·4·e·2 and the keys before each block of 64 again
// bound  arithmetic: not measured
// ref    backend.cpu.Reference (window attention); WINDOW_TOLERANCE
#define WINDOW_PREFILL(E)                                                                                            \
    extern "C" __global__ void __launch_bounds__(ATTEND_THREADS) window_prefill_##E(                                 \
        const int* __restrict__ activeSlots,         /* [B] */                                                       \
        const long long* __restrict__ rowPositions,  /* [B] */                                                       \
        const int* __restrict__ rowStarts,           /* [B] */                                                       \
        const int* __restrict__ rowCounts,           /* [B] */                                                       \
        const bf16* __restrict__ qkv,                /* [T, (H + 2·Hkv)·e] */                                        \
        bf16* __restrict__ y,                        /* [T, H·e] out */                                              \
        unsigned char* state, long long slotBytes,                                                                   \
        long long keysOffset,                        /* bf16 [Hkv, ring, e] */                                       \
        long long valuesOffset,                      /* bf16 [Hkv, ring, e] */                                       \
        int heads, int keyHeads, int reach, int ringRows, float scale) {                                             \
        attend<E>(activeSlots, rowPositions, rowStarts, rowCounts, qkv, y, state, slotBytes, keysOffset,             \
                  valuesOffset, heads, keyHeads, reach, ringRows, scale);                                            \
    }
WINDOW_PREFILL(32)
WINDOW_PREFILL(64)
WINDOW_PREFILL(112)

#endif
