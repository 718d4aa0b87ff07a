// The gated short convolution of BaseConv, between its two projections.
#include "common.cuh"

constexpr int CONVOLUTION_TOKENS = 2;  // of a block, but where they are rows of their own; mirrored by MixerKernels

// What convolution is told.
struct Convolution {
    const int *activeSlots, *rowStarts, *rowCounts, *tokenRows;
    const long long* rowPositions;
    const element *projected, *inputBias, *taps, *tapsBias;
    unsigned char* state;
    long long slotBytes, offset;
    element* y;
    int channels, stride, kernelSize, ringRows, singleCount;
};

// Three taps of eight channels: weights [8, 3].
__device__ __forceinline__ void addTaps(float (&sum)[8], const Eight* weights, int j, const float (&a)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++) sum[i] = __fmaf_rn(a[i], weights[(i * 3 + j) / 8].at((i * 3 + j) % 8), sum[i]);
}

// From a token's inputs, the two before it first, to what the output projection reads.
__device__ __forceinline__ void convolveInputs(const Convolution& p, const Eight* a, const Eight& g, const Eight* weights,
                                               const Eight& tapsBias, int t, int c0) {
    float sum[8];
#pragma unroll
    for (int i = 0; i < 8; i++) sum[i] = tapsBias.at(i);
#pragma unroll
    for (int j = 0; j < 3; j++) {
        float current[8];
#pragma unroll
        for (int i = 0; i < 8; i++) current[i] = a[j].at(i);
        addTaps(sum, weights, j, current);
    }
#pragma unroll
    for (int i = 0; i < 8; i++) sum[i] = silu(sum[i]) * g.at(i);
    storeEight(p.y + (long long)t * p.channels + c0, sum);
}

// A token by itself; its channels from c0 on.
__device__ void convolveToken(const Convolution& p, int t, int c0) {
    int row = p.tokenRows[t];
    int slot = p.activeSlots[row];
    if (slot < 0) return;
    int inRow = t - p.rowStarts[row];
    long long position = p.rowPositions[row] + inRow;
    element* ring = tensorOf<element>(p.state, p.slotBytes, slot, p.offset) + c0;
    int ringRow = (int)(position % p.ringRows);
    bool hasBias = p.inputBias != nullptr;
    Eight bias = hasBias ? loadEight(p.inputBias + c0) : zeroEight();
    Eight gateBias = hasBias ? loadEight(p.inputBias + p.channels + c0) : zeroEight();
    Eight g = loadEight(p.projected + (long long)t * p.stride + p.channels + c0);
    float sum[8];
    float current[8];
#pragma unroll
    for (int i = 0; i < 8; i++) sum[i] = p.tapsBias ? widen(p.tapsBias[c0 + i]) : 0.0f;
    auto load = [&](int back) {
        if (position < back) return zeroEight();
        if (inRow >= back) return loadEight(p.projected + (long long)(t - back) * p.stride + c0);
        int from = ringRow >= back ? ringRow - back : ringRow - back + p.ringRows;
        return loadEight(ring + (long long)from * p.channels);
    };
    auto input = [&](const Eight& a, int back) {
#pragma unroll
        for (int i = 0; i < 8; i++) current[i] = hasBias && inRow >= back ? rounded(a.at(i) + bias.at(i)) : a.at(i);
    };
    if (p.kernelSize == 3) {
        Eight a[3] = {load(2), load(1), load(0)};
        Eight weights[3];
#pragma unroll
        for (int n = 0; n < 3; n++) weights[n] = loadEight(p.taps + c0 * 3 + n * 8);
#pragma unroll
        for (int j = 0; j < 3; j++) {
            if (position < 2 - j) continue;
            input(a[j], 2 - j);
            addTaps(sum, weights, j, current);
        }
    } else {
        for (int j = 0; j < p.kernelSize; j++) {
            int back = p.kernelSize - 1 - j;
            if (position < back) continue;
            input(load(back), back);
#pragma unroll
            for (int i = 0; i < 8; i++)
                sum[i] = __fmaf_rn(current[i], widen(p.taps[(c0 + i) * p.kernelSize + j]), sum[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float gate = hasBias ? rounded(g.at(i) + gateBias.at(i)) : g.at(i);
        sum[i] = silu(sum[i]) * gate;
    }
    storeEight(p.y + (long long)t * p.channels + c0, sum);
    if (t < p.singleCount) storeEight(ring + (long long)ringRow * p.channels, current);
}

// The token of a row of one, three taps: only what the input projection made waits for it.
__device__ __forceinline__ void convolveSingle(const Convolution& p, int t, int c0) {
    int slot = loadNow(p.activeSlots + t);
    long long position = loadNow(p.rowPositions + t);
    Eight weights[3], a[3] = {zeroEight(), zeroEight(), zeroEight()};
    bool hasBias = p.inputBias != nullptr;
    Eight bias = hasBias ? loadEight(p.inputBias + c0) : zeroEight();
    Eight gateBias = hasBias ? loadEight(p.inputBias + p.channels + c0) : zeroEight();
#pragma unroll
    for (int n = 0; n < 3; n++) weights[n] = loadEight(p.taps + c0 * 3 + n * 8);
    Eight tapsBias = p.tapsBias ? loadEight(p.tapsBias + c0) : zeroEight();
    element* ring = tensorOf<element>(p.state, p.slotBytes, max(slot, 0), p.offset) + c0;
    int ringRow = wrapped(position, p.ringRows);
#pragma unroll
    for (int back = 1; back <= 2; back++) {
        int from = ringRow >= back ? ringRow - back : ringRow - back + p.ringRows;
        if (slot >= 0 && position >= back) a[2 - back] = loadEight(ring + (long long)from * p.channels);
    }
    awaitPredecessor();
    const element* own = p.projected + (long long)t * p.stride + c0;
    a[2] = loadEight(own);
    Eight g = loadEight(own + p.channels);
    if (slot < 0) return;
    if (hasBias) a[2] = plus(a[2], bias), g = plus(g, gateBias);
    storeEight(ring + (long long)ringRow * p.channels, a[2]);
    convolveInputs(p, a, g, weights, tapsBias, t, c0);
}

// The last inputs of a row into the ring. Only the row's first K - 1 tokens read it, so whoever has done them may.
__device__ __forceinline__ void writeRing(const Convolution& p, int row, int c0) {
    constexpr int BATCH = 3;  // loads under way
    int slot = p.activeSlots[row];
    if (slot < 0) return;
    int count = p.rowCounts[row], written = min(count, p.ringRows);
    int ringRow = (int)((p.rowPositions[row] + count - written) % p.ringRows);
    element* ring = tensorOf<element>(p.state, p.slotBytes, slot, p.offset) + c0;
    const element* from = p.projected + (long long)(p.rowStarts[row] + count - written) * p.stride + c0;
    Eight bias = p.inputBias ? loadEight(p.inputBias + c0) : zeroEight();
#pragma unroll 1
    for (int r = 0; r < written; r += BATCH) {
        Eight a[BATCH];
#pragma unroll
        for (int n = 0; n < BATCH; n++)
            if (r + n < written) a[n] = loadEight(from + (long long)(r + n) * p.stride);
#pragma unroll
        for (int n = 0; n < BATCH; n++) {
            if (r + n >= written) continue;
            float input[8];
#pragma unroll
            for (int i = 0; i < 8; i++) input[i] = p.inputBias ? a[n].at(i) + bias.at(i) : a[n].at(i);
            storeEight(ring + (long long)ringRow * p.channels, input);
            ringRow = ringRow + 1 < p.ringRows ? ringRow + 1 : 0;
        }
    }
}

// Neighbours of one row with two tokens of it before them, three taps: each input is read once for all.
__device__ __forceinline__ void convolveNeighbours(const Convolution& p, int t0, int c0) {
    constexpr int N = CONVOLUTION_TOKENS;
    const element* a0 = p.projected + (long long)t0 * p.stride + c0;
    Eight a[N + 2], g[N], weights[3];
#pragma unroll
    for (int n = 0; n < N + 2; n++) a[n] = loadEight(a0 + (long long)(n - 2) * p.stride);
#pragma unroll
    for (int n = 0; n < N; n++) g[n] = loadEight(a0 + (long long)n * p.stride + p.channels);
#pragma unroll
    for (int n = 0; n < 3; n++) weights[n] = loadEight(p.taps + c0 * 3 + n * 8);
    Eight tapsBias = p.tapsBias ? loadEight(p.tapsBias + c0) : zeroEight();
    if (p.inputBias) {
        Eight bias = loadEight(p.inputBias + c0), gateBias = loadEight(p.inputBias + p.channels + c0);
#pragma unroll
        for (int n = 0; n < N + 2; n++) a[n] = plus(a[n], bias);
#pragma unroll
        for (int n = 0; n < N; n++) g[n] = plus(g[n], gateBias);
    }
#pragma unroll
    for (int n = 0; n < N; n++) convolveInputs(p, a + n, g[n], weights, tapsBias, t0 + n, c0);
}

// convolution: c = Σ_j w_j · a_{t-(K-1)+j}, y = silu(c) · g, for every token; inputs before the row's first token come
//   from the slot's ring, into which the row's last ones go.
// grid (singles + the other tokens / 2 rounded up, C / 1024 rounded up), block 128: eight channels a thread
// bytes  T·C·(2 + 2 + 2), two thirds more for the inputs of neighbours, from the cache
// bound  memory and arithmetic: 18 us for 4,096 tokens, C=2,048, with biases, 2.8 of 4.4 TB/s; 5.4 for 256 rows of one
//   token, C=3,584 (H200, 2026-11-29, gpu-check bench:360m:pt4096 bench:1.3b:p256)
// ref    backend.cpu.Reference (convolution)
extern "C" __global__ void __launch_bounds__(128, 6) convolution(
    const int* __restrict__ activeSlots,         // [B]
    const long long* __restrict__ rowPositions,  // [B]
    const int* __restrict__ rowStarts,           // [B]
    const int* __restrict__ rowCounts,           // [B]
    const int* __restrict__ tokenRows,           // [T]
    const element* __restrict__ projected,       // [T, stride]: a in [0, C), g in [C, 2C)
    const element* __restrict__ inputBias,       // [2C] or null
    const element* __restrict__ taps,            // [C, K]
    const element* __restrict__ tapsBias,        // [C] or null
    unsigned char* __restrict__ state, long long slotBytes, long long offset,  // element [ring, C]
    element* __restrict__ y,                     // [T, C] out
    int channels, int stride, int kernelSize, int ringRows,
    int singleCount,                             // rows of one token, 0 unless the launch begins with the pass
    int first, int end) {                        // tokens of the launch
    int c0 = ((int)blockIdx.y * 128 + (int)threadIdx.x) * 8;
    if (c0 >= channels) {
        awaitPredecessor();
        return;
    }
    Convolution p = {activeSlots, rowStarts, rowCounts, tokenRows, rowPositions, projected, inputBias, taps, tapsBias,
                     state, slotBytes, offset, y, channels, stride, kernelSize, ringRows, singleCount};
    int block = (int)blockIdx.x;
    if (block < singleCount && kernelSize == 3) {
        convolveSingle(p, block, c0);
        return;
    }
    awaitPredecessor();
    if (block < singleCount) {
        convolveToken(p, block, c0);
        return;
    }
    int t0 = first + singleCount + (block - singleCount) * CONVOLUTION_TOKENS;
    int t1 = min(t0 + CONVOLUTION_TOKENS, end);
    int row = tokenRows[t0];
    bool areNeighbours = t0 + CONVOLUTION_TOKENS == t1 && tokenRows[t1 - 1] == row && t0 - rowStarts[row] >= 2;
    if (areNeighbours && kernelSize == 3) {
        if (activeSlots[row] >= 0) convolveNeighbours(p, t0, c0);
        return;
    }
#pragma unroll 1
    for (int t = t0; t < t1; t++) {
        row = tokenRows[t];
        int inRow = t - rowStarts[row];
        if (inRow >= 1 && inRow < kernelSize - 1) continue;  // read the ring: with the row's first
        int last = t + (inRow > 0 ? 0 : min(max(kernelSize - 1, 1), rowCounts[row]) - 1);
#pragma unroll 1
        for (int n = t; n <= last; n++) convolveToken(p, n, c0);
        if (inRow == 0) writeRing(p, row, c0);
    }
}
