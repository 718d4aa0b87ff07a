// The gated short convolution of BaseConv, between its two projections.
#include "common.cuh"

// convolution: c = Σ_j w_j · a_{t-(K-1)+j}, y = silu(c) · g, for every token; inputs before the row's first token come
//   from the slot's ring. The first tokens, which are rows of their own, also go into the ring; longer rows use
//   write_ring.
// grid (T, C / 1024 rounded up), block 128: eight channels a thread
// bytes  T·C·(K·2 + 2 + 2), ring reads among them
// bound  memory: not measured
// ref    backend.cpu.Reference (convolution)
extern "C" __global__ void __launch_bounds__(128) convolution(
    const int* __restrict__ activeSlots,         // [B]
    const long long* __restrict__ rowPositions,  // [B]
    const int* __restrict__ rowStarts,           // [B]
    const int* __restrict__ tokenRows,           // [T]
    const element* __restrict__ projected,       // [T, stride]: a in [0, C), g in [C, 2C)
    const element* __restrict__ inputBias,       // [2C] or null
    const element* __restrict__ taps,            // [C, K]
    const element* __restrict__ tapsBias,        // [C] or null
    unsigned char* __restrict__ state, long long slotBytes, long long offset,  // element [ring, C]
    element* __restrict__ y,                     // [T, C] out
    int channels, int stride, int kernelSize, int ringRows, int singleCount) {
    awaitPredecessor();
    int t = (int)blockIdx.x;
    int row = tokenRows[t];
    int slot = activeSlots[row];
    int c0 = ((int)blockIdx.y * 128 + (int)threadIdx.x) * 8;
    if (slot < 0 || c0 >= channels) return;
    int inRow = t - rowStarts[row];
    long long position = rowPositions[row] + inRow;
    element* ring = tensorOf<element>(state, slotBytes, slot, offset) + c0;
    int ringRow = (int)(position % ringRows);
    bool hasBias = inputBias != nullptr;
    Eight bias = hasBias ? loadEight(inputBias + c0) : zeroEight();
    Eight gateBias = hasBias ? loadEight(inputBias + channels + c0) : zeroEight();
    Eight g = loadEight(projected + (long long)t * stride + channels + c0);
    float sum[8];
    float current[8];
#pragma unroll
    for (int i = 0; i < 8; i++) sum[i] = tapsBias ? widen(tapsBias[c0 + i]) : 0.0f;
    auto load = [&](int back) {
        if (position < back) return zeroEight();
        if (inRow >= back) return loadEight(projected + (long long)(t - back) * stride + c0);
        int from = ringRow >= back ? ringRow - back : ringRow - back + ringRows;
        return loadEight(ring + (long long)from * channels);
    };
    auto input = [&](const Eight& a, int back, int i) {
        return hasBias && inRow >= back ? rounded(a.at(i) + bias.at(i)) : a.at(i);
    };
    if (kernelSize == 3) {
        Eight a[3] = {load(2), load(1), load(0)};
        Eight weights[3];  // [8, 3]
#pragma unroll
        for (int n = 0; n < 3; n++) weights[n] = loadEight(taps + c0 * 3 + n * 8);
#pragma unroll
        for (int j = 0; j < 3; j++) {
            if (position < 2 - j) continue;
#pragma unroll
            for (int i = 0; i < 8; i++) {
                current[i] = input(a[j], 2 - j, i);
                sum[i] = __fmaf_rn(current[i], weights[(i * 3 + j) / 8].at((i * 3 + j) % 8), sum[i]);
            }
        }
    } else {
        for (int j = 0; j < kernelSize; j++) {
            int back = kernelSize - 1 - j;
            if (position < back) continue;
            Eight a = load(back);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                current[i] = input(a, back, i);
                sum[i] = __fmaf_rn(current[i], widen(taps[(c0 + i) * kernelSize + j]), sum[i]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float gate = hasBias ? rounded(g.at(i) + gateBias.at(i)) : g.at(i);
        sum[i] = silu(sum[i]) * gate;
    }
    storeEight(y + (long long)t * channels + c0, sum);
    if (t < singleCount) storeEight(ring + (long long)ringRow * channels, current);
}
