// What a kernel file needs of CUDA, on one CPU thread: blocks run one after another, the threads of a block are fibers
// that switch at barriers and warp exchanges. For tests without a GPU: it shows wrong indices, missing barriers between
// exchanges and wrong arithmetic, not races or memory-ordering faults.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static
#define __constant__ static const
#define __launch_bounds__(...)
#define __maxnreg__(...)

struct uint3_ {
    unsigned x, y, z;
};
struct uint4 {
    unsigned x, y, z, w;
};
struct uint2 {
    unsigned x, y;
};
struct float4 {
    float x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace emulation {
extern uint3_ blockIndex, gridSize, blockSize;
extern unsigned threadNumber;
extern unsigned char* dynamicShared;
void blockBarrier();
void warpBarrier();
// Posts count words and returns the words of all 32 lanes, [lane][8].
const uint32_t (*exchange(const uint32_t* words, int count))[8];
inline uint3_ threadIndex() { return {threadNumber, 0, 0}; }
}  // namespace emulation

#define threadIdx emulation::threadIndex()
#define blockIdx emulation::blockIndex
#define gridDim emulation::gridSize
#define blockDim emulation::blockSize
#define DYNAMIC_SHARED(name) unsigned char* name = emulation::dynamicShared

inline void __syncthreads() { emulation::blockBarrier(); }
inline void __syncwarp() { emulation::warpBarrier(); }
inline void __threadfence_system() {}

inline float __uint_as_float(unsigned v) { float f; std::memcpy(&f, &v, 4); return f; }
inline unsigned __float_as_uint(float f) { unsigned v; std::memcpy(&v, &f, 4); return v; }
inline float __int_as_float(int v) { return __uint_as_float((unsigned)v); }
inline int __float_as_int(float f) { return (int)__float_as_uint(f); }
inline float __fmaf_rn(float a, float b, float c) { return std::fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }

template <typename T>
inline T __shfl_xor_sync(unsigned, T value, int mask) {
    uint32_t words[2] = {0, 0};
    std::memcpy(words, &value, sizeof(T));
    int lane = (int)(emulation::threadNumber % 32) ^ mask;
    T result;
    std::memcpy(&result, emulation::exchange(words, 2)[lane], sizeof(T));
    return result;
}
template <typename T>
inline T __shfl_sync(unsigned, T value, int lane) {
    uint32_t words[2] = {0, 0};
    std::memcpy(words, &value, sizeof(T));
    T result;
    std::memcpy(&result, emulation::exchange(words, 2)[lane], sizeof(T));
    return result;
}
template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, int delta) {
    int lane = (int)(emulation::threadNumber % 32);
    return __shfl_sync(mask, value, lane >= delta ? lane - delta : lane);
}
template <typename T>
inline T atomicAdd(T* address, T value) {
    T old = *address;
    *address = old + value;
    return old;
}
using std::max;
using std::min;
