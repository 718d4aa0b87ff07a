// What blocks of a cluster share, and copies of tiles by the tensor copy engine; compute capability 9.0 and later.
#pragma once
#include "common.cuh"

#ifdef BASALT_BULK_COPIES
// The place of another block's shared memory that is an address of one's own.
__device__ __forceinline__ unsigned inBlock(unsigned address, int rank) {
    unsigned there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}

// No block of the cluster goes on before all have come here.
__device__ __forceinline__ void arriveAtCluster() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
__device__ __forceinline__ void awaitArrivals() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
__device__ __forceinline__ void awaitCluster() {
    arriveAtCluster();
    awaitArrivals();
}

__device__ __forceinline__ void arriveHere(unsigned barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// A box of weights. They are read once: they leave the cache before the rest.
__device__ __forceinline__ void copyWeights(unsigned to, const void* map, unsigned barrier, int k, int group) {
    asm volatile(
        "{ .reg .b64 policy; createpolicy.fractional.L2::evict_first.b64 policy, 1.0;"
        " cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint"
        " [%0], [%1, {%2, %3, %3, %4}], [%5], policy; }" ::"r"(to),
        "l"(map), "r"(k), "r"(0), "r"(group), "r"(barrier)
        : "memory");
}

// 16 bytes into the shared memory of a block of the cluster, counted by a barrier of the same block.
__device__ __forceinline__ void send(unsigned to, unsigned barrier, unsigned a, unsigned b, unsigned c, unsigned d) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
                 "r"(a), "r"(b), "r"(c), "r"(d), "r"(barrier)
                 : "memory");
}
#endif
