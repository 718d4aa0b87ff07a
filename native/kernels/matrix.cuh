// The tensor cores' product of bf16 matrices.
#pragma once
#include "common.cuh"

#ifdef __CUDACC__
// d [16, 8] += a [16, 16] · b [8, 16]ᵀ; registers as mma.m16n8k16 has them.
__device__ __forceinline__ void multiply(float* d, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0,
                                         unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
#else
inline void multiply(float* d, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    uint32_t words[6] = {a0, a1, a2, a3, b0, b1};
    auto lanes = emulation::exchange(words, 6);
    int lane = (int)(emulation::threadNumber % 32);
    auto part = [](uint32_t word, int i) { return __uint_as_float(i ? word & 0xffff0000u : word << 16); };
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++) {
            const uint32_t* from = lanes[row % 8 * 4 + k % 8 / 2];
            d[i] += part(from[row / 8 + k / 8 * 2], k % 2) * part(lanes[column * 4 + k % 8 / 2][4 + k / 8], k % 2);
        }
    }
}
#endif
