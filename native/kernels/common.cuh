// What all kernels share: the element type, vectors of it, the order between kernels, reductions.
//
// element is bf16; with BASALT_F32, the test mode, it is f32. Both name their kernels alike.
#pragma once

#ifndef __CUDACC__
#include "../emulation/emulation.h"
#else
#include <cstdint>
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

struct bf16 {
    unsigned short bits;
};

#ifdef BASALT_F32
typedef float element;
#else
typedef bf16 element;
#endif

constexpr int FOLD_INTERVAL = 32;
constexpr int FEATURES_MAX = 153;  // D for f = 16
constexpr int FEATURE_DIM_MAX = 16;
constexpr int WARP = 32;

__device__ __forceinline__ float widen(bf16 v) { return __uint_as_float((unsigned)v.bits << 16); }
__device__ __forceinline__ float widen(float v) { return v; }

__device__ __forceinline__ unsigned short bf16Bits(float v) {
#ifdef __CUDACC__
    unsigned short bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    return bits;
#else
    unsigned bits = __float_as_uint(v);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;
    return (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
}

// Two of them in a word, the first one low.
__device__ __forceinline__ unsigned bf16Pair(float first, float second) {
#ifdef __CUDACC__
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
#else
    return bf16Bits(first) | (unsigned)bf16Bits(second) << 16;
#endif
}

__device__ __forceinline__ void store(bf16* p, float v) { p->bits = bf16Bits(v); }
__device__ __forceinline__ void store(float* p, float v) { *p = v; }

// The value as an element holds it.
__device__ __forceinline__ float rounded(float v) {
#ifdef BASALT_F32
    return v;
#else
    return __uint_as_float((unsigned)bf16Bits(v) << 16);
#endif
}

// Eight consecutive elements, 16-byte aligned: one register quadruple in bf16, two in f32.
struct Eight {
#ifdef BASALT_F32
    uint4 low, high;
#else
    uint4 low;
#endif

    __device__ __forceinline__ float at(int i) const {
#ifdef BASALT_F32
        const uint4& part = i < 4 ? low : high;
        unsigned word = (i & 3) == 0 ? part.x : (i & 3) == 1 ? part.y : (i & 3) == 2 ? part.z : part.w;
        return __uint_as_float(word);
#else
        unsigned word = (i >> 1) == 0 ? low.x : (i >> 1) == 1 ? low.y : (i >> 1) == 2 ? low.z : low.w;
        return __uint_as_float(i & 1 ? word & 0xffff0000u : word << 16);
#endif
    }
};

__device__ __forceinline__ Eight loadEight(const element* p) {
    Eight v;
    v.low = *(const uint4*)p;
#ifdef BASALT_F32
    v.high = *((const uint4*)p + 1);
#endif
    return v;
}

__device__ __forceinline__ void storeEight(element* p, const float* v) {
#ifdef BASALT_F32
    ((float4*)p)[0] = float4{v[0], v[1], v[2], v[3]};
    ((float4*)p)[1] = float4{v[4], v[5], v[6], v[7]};
#else
    *(uint4*)p = make_uint4(bf16Pair(v[0], v[1]), bf16Pair(v[2], v[3]), bf16Pair(v[4], v[5]), bf16Pair(v[6], v[7]));
#endif
}

__device__ __forceinline__ Eight zeroEight() {
    Eight v;
    v.low = make_uint4(0, 0, 0, 0);
#ifdef BASALT_F32
    v.high = make_uint4(0, 0, 0, 0);
#endif
    return v;
}

__device__ __forceinline__ void storeEight(element* p, const Eight& v) {
    *(uint4*)p = v.low;
#ifdef BASALT_F32
    *((uint4*)p + 1) = v.high;
#endif
}

// Each sum as an element holds it.
__device__ __forceinline__ Eight plus(const Eight& a, const Eight& b) {
    Eight sum;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900 && !defined(BASALT_F32)
    asm("add.rn.bf16x2 %0, %1, %2;" : "=r"(sum.low.x) : "r"(a.low.x), "r"(b.low.x));
    asm("add.rn.bf16x2 %0, %1, %2;" : "=r"(sum.low.y) : "r"(a.low.y), "r"(b.low.y));
    asm("add.rn.bf16x2 %0, %1, %2;" : "=r"(sum.low.z) : "r"(a.low.z), "r"(b.low.z));
    asm("add.rn.bf16x2 %0, %1, %2;" : "=r"(sum.low.w) : "r"(a.low.w), "r"(b.low.w));
#else
    alignas(16) element parts[8];
    float v[8];
    for (int i = 0; i < 8; i++) v[i] = a.at(i) + b.at(i);
    storeEight(parts, v);
    sum = loadEight(parts);
#endif
    return sum;
}

// Four consecutive elements, aligned to their size.
struct Four {
#ifdef BASALT_F32
    float4 all;
#else
    uint2 all;
#endif

    __device__ __forceinline__ float at(int i) const {
#ifdef BASALT_F32
        return i == 0 ? all.x : i == 1 ? all.y : i == 2 ? all.z : all.w;
#else
        unsigned word = i < 2 ? all.x : all.y;
        return __uint_as_float(i & 1 ? word & 0xffff0000u : word << 16);
#endif
    }
};

__device__ __forceinline__ Four loadFour(const element* p) {
    Four v;
    v.all = *(decltype(v.all)*)p;
    return v;
}

__device__ __forceinline__ void storeFour(element* p, const float* v) {
#ifdef BASALT_F32
    *(float4*)p = float4{v[0], v[1], v[2], v[3]};
#else
    *(uint2*)p = uint2{bf16Pair(v[0], v[1]), bf16Pair(v[2], v[3])};
#endif
}

// Copies of 16 bytes into shared memory that go on while the thread does.
#ifdef __CUDACC__
__device__ __forceinline__ void startCopy(void* to, const void* from) {
    unsigned address = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
}
__device__ __forceinline__ void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until no more than so many groups of copies are under way.
template <int LEFT>
__device__ __forceinline__ void awaitCopies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}
__device__ __forceinline__ unsigned sharedAddress(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }
#else
inline void startCopy(void* to, const void* from) { *(uint4*)to = *(const uint4*)from; }
inline void commitCopies() {}
template <int LEFT>
inline void awaitCopies() {}
#endif

// Barriers that count the bytes of bulk copies too, by their address in shared memory.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define BASALT_BULK_COPIES
__device__ __forceinline__ void createBarrier(unsigned barrier, int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
// What was created is there for copies, and for other blocks of a cluster after its next barrier.
__device__ __forceinline__ void publishBarriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ __forceinline__ void expectBytes(unsigned barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void awaitPhase(unsigned barrier, int phase) {
    unsigned isDone;
    do {
        asm volatile(
            "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
            : "=r"(isDone)
            : "r"(barrier), "r"(phase)
            : "memory");
    } while (!isDone);
}
// A multiple of 16 bytes, both addresses as well.
__device__ __forceinline__ void startBulkCopy(void* to, const void* from, int bytes, unsigned barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     sharedAddress(to)),
                 "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}
#endif

// A kernel that starts before its predecessor ends (programmatic dependent launch) may touch, before this, only what
// the kernel before its predecessor has left: the successor is let in only after the wait.
__device__ __forceinline__ void awaitPredecessor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Lets the successor start before this kernel has waited. Only where the successor touches, before its own wait, nothing
// but weights and what was uploaded before the step: it may run beside this kernel's predecessor.
__device__ __forceinline__ void letSuccessorStart() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Loads that start where they stand, so that what a kernel begins with waits for memory once, not once for each.
#ifdef __CUDACC__
__device__ __forceinline__ int loadNow(const int* p) {
    int v;
    asm volatile("ld.global.s32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}
__device__ __forceinline__ long long loadNow(const long long* p) {
    long long v;
    asm volatile("ld.global.s64 %0, [%1];" : "=l"(v) : "l"(p));
    return v;
}
#else
template <typename T>
inline T loadNow(const T* p) {
    return *p;
}
#endif

// position % n, quickly as long as 32 bits hold it.
__device__ __forceinline__ int wrapped(long long position, int n) {
    return position >> 32 == 0 ? (int)((unsigned)position % (unsigned)n) : (int)(position % n);
}

__device__ __forceinline__ float warpSum(float v) {
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask >>= 1) v += __shfl_xor_sync(0xffffffffu, v, mask);
    return v;
}

__device__ __forceinline__ float warpMax(float v) {
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask >>= 1) v = max(v, __shfl_xor_sync(0xffffffffu, v, mask));
    return v;
}

// Sum over the block, in one order, to every thread. scratch: f32 [32], free again after the next barrier.
__device__ __forceinline__ float blockSum(float v, float* scratch) {
    v = warpSum(v);
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = v;
    __syncthreads();
    float sum = 0;
    for (int w = 0; w < (int)blockDim.x / WARP; w++) sum += scratch[w];
    return sum;
}

__device__ __forceinline__ float blockMax(float v, float* scratch) {
    v = warpMax(v);
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = v;
    __syncthreads();
    float largest = scratch[0];
    for (int w = 1; w < (int)blockDim.x / WARP; w++) largest = max(largest, scratch[w]);
    return largest;
}

// The quick functions are as exact as bf16 shows; the exact ones were much of the time of kernels that do little else.
__device__ __forceinline__ float sigmoid(float x) {
#if defined(__CUDA_ARCH__) && !defined(BASALT_F32)
    float power, inverse;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(-1.4426950408889634f * x));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0f + power));
    return inverse;
#else
    return 1.0f / (1.0f + expf(-x));
#endif
}
__device__ __forceinline__ float silu(float x) { return x * sigmoid(x); }

enum Activation { ACTIVATION_SILU = 0, ACTIVATION_GELU = 1, ACTIVATION_SIGMOID = 2 };

__device__ __forceinline__ float activate(int activation, float x) {
    if (activation == ACTIVATION_SILU) return silu(x);
    if (activation == ACTIVATION_SIGMOID) return sigmoid(x);
    return 0.5f * x * (1.0f + erff(x * 0.70710678f));
}

// What the device knows of a slot, besides its state. The host writes configured slots from `temperature` on; a copy of
// a slot takes what is before.
struct SlotControl {
    long long position;  // tokens consumed
    int lastToken;       // sampled last, -1 for none
    int reserved;
    float temperature, topP, minP;
    float frequencyPenalty, presencePenalty, repetitionPenalty;
    int topK;
    int choice;
    unsigned seedLow, seedHigh;
    int minTokens, maxTokens;
    int logprobCount;  // -1 for none
    int stopCount, biasCount;
    int isPenalized;
    int sampledCount;
    int isFrozen;
    int padding[2];
};
static_assert(sizeof(SlotControl) == 96, "mirrored by SlotControls");

constexpr int STOPS_MAX = 33;
constexpr int BIASES_MAX = 1024;
constexpr int TOP_COUNT_MAX = 20;

// A slot's tensor: state is the first byte of slot 0, offset that of the tensor within a slot.
template <typename T>
__device__ __forceinline__ T* tensorOf(unsigned char* state, long long slotBytes, int slot, long long offset) {
    return (T*)(state + slot * slotBytes + offset);
}
