// Projections of a batch of tokens, y = x·Wᵀ, on the warpgroup products of sm_90a: as many tokens as a step decodes, so
// that reading W is most of it, and what follows in the same kernel. A block has 64 rows of W and a part of the depth,
// the blocks of a cluster the other parts. One warp copies tiles of W and x into a queue of stages by the tensor copy
// engine, the first of W before the kernel waits for its predecessor, since weights depend on nothing; the others
// multiply. At the end each block of a cluster adds the parts of all for its share of the tokens, in the order of the
// blocks, and does what follows.
//
// The norm before a projection is late, as in projection.cu. The order of every sum depends on the shapes and the number
// of tokens alone.
#include "matrix.cuh"

#ifndef BASALT_F32

constexpr int BATCH_SPLITS_MAX = 8;  // blocks of a cluster
constexpr int BATCH_DEPTH = 64;      // k of a stage: 128 bytes of a row, what a swizzle takes
constexpr int BATCH_ROWS = 64;       // rows of W of a block
constexpr int BATCH_WARPS = 4;       // a warpgroup, and one more that copies
constexpr int BATCH_THREADS = (BATCH_WARPS + 1) * WARP;
constexpr int PART_STRIDE = BATCH_ROWS + 4;  // of f32 [TOKENS, rows]: no bank twice

// A block of so many tokens, with room for one of the next kernel beside it.
template <int TOKENS>
struct BatchShape {
    static constexpr int WEIGHT_BYTES = BATCH_ROWS * BATCH_DEPTH * 2;
    static constexpr int STAGE_BYTES = WEIGHT_BYTES + TOKENS * BATCH_DEPTH * 2;
    static constexpr int STAGES = 96 * 1024 / STAGE_BYTES;
    static constexpr int AHEAD_BYTES = TOKENS * 128;  // see BatchEnd; a residual projection is of two splits at least
    static constexpr int SHARED_BYTES = STAGES * STAGE_BYTES + AHEAD_BYTES + 1024;
    static_assert(TOKENS * PART_STRIDE * 4 <= STAGES * STAGE_BYTES, "sums take the place of the stages");
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// d [64, TOKENS] += a · bᵀ, 16 of the depth: descriptors of a [64, 16] and b [TOKENS, 16] in shared memory.
template <int TOKENS>
__device__ __forceinline__ void multiplyGroup(float (&d)[TOKENS / 2], unsigned long long a, unsigned long long b);

#define R4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define R16(i) R4(i), R4(i + 4), R4(i + 8), R4(i + 12)
template <>
__device__ __forceinline__ void multiplyGroup<32>(float (&d)[16], unsigned long long a, unsigned long long b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, %16, %17, 1, 1, 1, 0, 0;"
        : R16(0)
        : "l"(a), "l"(b));
}
template <>
__device__ __forceinline__ void multiplyGroup<64>(float (&d)[32], unsigned long long a, unsigned long long b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
        "%24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, 1, 1, 1, 0, 0;"
        : R16(0), R16(16)
        : "l"(a), "l"(b));
}
#undef R4
#undef R16

// Of a tile whose rows are 128 bytes, swizzled, at a multiple of 1,024.
__device__ __forceinline__ unsigned long long tileDescriptor(unsigned address) {
    return (unsigned long long)((address & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

__device__ __forceinline__ unsigned sharedAddress(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void createBarrier(unsigned barrier, int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
__device__ __forceinline__ void expectBytes(unsigned barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ unsigned inBlock(unsigned address, int rank) {
    unsigned there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}
__device__ __forceinline__ void arrive(unsigned barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
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
// Weights are read once: they leave the cache before the rest.
__device__ __forceinline__ void copyWeights(unsigned to, const void* map, unsigned barrier, int k, int group) {
    asm volatile(
        "{ .reg .b64 policy; createpolicy.fractional.L2::evict_first.b64 policy, 1.0;"
        " cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint"
        " [%0], [%1, {%2, %3, %3, %4}], [%5], policy; }" ::"r"(to),
        "l"(map), "r"(k), "r"(0), "r"(group), "r"(barrier)
        : "memory");
}
__device__ __forceinline__ void copyTokens(unsigned to, const void* map, unsigned barrier, int k, int token) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
            to),
        "l"(map), "r"(k), "r"(token), "r"(barrier)
        : "memory");
}

__device__ __forceinline__ void syncCluster() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

__device__ __forceinline__ float loadPart(unsigned address) {
    float v;
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(v) : "r"(address));
    return v;
}

// 16 bytes, or zeros.
__device__ __forceinline__ void copyAhead(void* to, const void* from, bool isThere) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sharedAddress(to)), "l"(from), "r"(isThere ? 16 : 0)
                 : "memory");
}

// Without branches, so that several run abreast; as exact as bf16 shows.
__device__ __forceinline__ float quickSilu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }

// What a block knows of its share of the tokens before their sums are there.
template <int TOKENS, int STAGES>
struct BatchShared {
    float scales[TOKENS];
    int slots[TOKENS];
    int ringRows[TOKENS];  // of the token itself
    int befores[TOKENS];   // inputs of the convolution before it
    unsigned long long full[STAGES], empty[STAGES];
};

// The end of a block: the sums of its share of the tokens, and what follows them. A warp takes a token at a time, a lane
// two rows. What else it reads is copied into shared memory during the products. One short loop serves all: instructions
// that run once take longer to fetch than to run.
template <int TOKENS>
struct BatchEnd {
    static constexpr int TAPS = 3;

    const Projection& p;
    BatchShared<TOKENS, BatchShape<TOKENS>::STAGES>& shared;
    unsigned char* ahead;  // f32 [share, rows] of the residual stream, or bf16 [share, 2, rows / 2] of the ring
    int m0, first, last, tile;

    // The convolution's input so many tokens back.
    __device__ __forceinline__ bf16* ringRow(int token, int back) const {
        int row = shared.ringRows[token] - back;
        if (row < 0) row += p.ringRows;
        return tensorOf<bf16>(p.state, p.slotBytes, shared.slots[token], p.ringOffset) + (long long)row * p.pairRows;
    }

    // Eight lanes a token for the norm, one for the ring, and then all for the copies.
    __device__ __forceinline__ void readAhead() const {
        constexpr int LANES = 8, AT = 4, THREADS = BATCH_WARPS * WARP, ABREAST = THREADS / LANES;
        int thread = (int)threadIdx.x, lane = thread % LANES;
#pragma unroll 1
        for (int m = first + thread / LANES; p.squares && m - thread / LANES < last; m += ABREAST) {
            const float* squares = p.squares + (long long)(m0 + min(m, last - 1)) * p.squareCount;
            float sum = 0;
#pragma unroll 1
            for (int i = lane; i < p.squareCount; i += AT * LANES) {
                float part[AT];
#pragma unroll
                for (int a = 0; a < AT; a++) part[a] = i + a * LANES < p.squareCount ? squares[i + a * LANES] : 0.0f;
#pragma unroll
                for (int a = 0; a < AT; a++) sum += part[a];
            }
#pragma unroll
            for (int mask = LANES / 2; mask > 0; mask >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, mask);
            if (lane == 0 && m < last) shared.scales[m] = 1.0f / sqrtf(sum / p.normWidth + p.epsilon);
        }
        if (p.epilogue == EPILOGUE_CONVOLUTION) {
            int m = first + thread;
            if (m < last) {
                long long position = p.rowPositions[m0 + m];
                shared.slots[m] = p.activeSlots[m0 + m];
                shared.ringRows[m] = (int)(position % p.ringRows);
                shared.befores[m] = (int)min(position, (long long)p.ringRows);
            }
            asm volatile("bar.sync 1, %0;" ::"n"(BATCH_WARPS * WARP) : "memory");
            constexpr int CHUNKS = BATCH_ROWS / 16;
#pragma unroll 1
            for (int i = thread; i < (last - first) * 2 * CHUNKS; i += THREADS) {
                int token = first + i / (2 * CHUNKS), back = 1 + i / CHUNKS % 2, n = tile * BATCH_ROWS / 2 + i % CHUNKS * 8;
                bool isThere = shared.slots[token] >= 0 && shared.befores[token] >= back && n < p.rows;
                copyAhead(ahead + i * 16, isThere ? (const void*)(ringRow(token, back) + n) : p.out, isThere);
            }
        } else if (p.epilogue == EPILOGUE_RESIDUAL) {
            constexpr int CHUNKS = BATCH_ROWS / 4;
#pragma unroll 1
            for (int i = thread; i < (last - first) * CHUNKS; i += THREADS) {
                int n = tile * BATCH_ROWS + i % CHUNKS * 4;
                copyAhead(ahead + i * 16, p.residual + (long long)(m0 + first + i / CHUNKS) * p.outStride + n, n < p.rows);
            }
        }
    }

    // What a lane needs of weights.
    struct Weights {
        float bias[2], norm[2], taps[TAPS], tapsBias;
    };

    // A lane's first row, or its pair.
    __device__ __forceinline__ int rowOf(int lane) const {
        return p.pairRows ? tile * BATCH_ROWS / 2 + lane : tile * BATCH_ROWS + lane * 2;
    }

    __device__ __forceinline__ void readWeights(Weights& w, int lane) const {
        int n = rowOf(lane);
        bool isRow = n < p.rows, isConvolution = isRow && p.epilogue == EPILOGUE_CONVOLUTION;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = n + half * (p.pairRows ? p.pairRows : 1);
            w.bias[half] = p.bias && isRow ? widen(p.bias[row]) : 0.0f;
            w.norm[half] = p.epilogue == EPILOGUE_RESIDUAL && isRow ? widen(p.normWeight[row]) : 0.0f;
        }
#pragma unroll
        for (int j = 0; j < TAPS; j++) w.taps[j] = isConvolution ? widen(p.taps[n * TAPS + j]) : 0.0f;
        w.tapsBias = isConvolution && p.tapsBias ? widen(p.tapsBias[n]) : 0.0f;
    }

    // parts: f32 [TOKENS, PART_STRIDE] in each of the cluster's blocks.
    __device__ __forceinline__ void finish(unsigned parts, int splits, int tileCount, const Weights& w, int warp,
                                           int lane) const {
        int column = p.pairRows ? lane / 8 * 16 + lane % 8 : 2 * lane, n = rowOf(lane);
        unsigned there[BATCH_SPLITS_MAX], step = p.pairRows ? 32 : 4;
#pragma unroll
        for (int s = 0; s < BATCH_SPLITS_MAX; s++) there[s] = inBlock(parts + column * 4, min(s, splits - 1));
        bool isRow = n < p.rows;
#pragma unroll 1
        for (int m = first + warp; m < last; m += BATCH_WARPS) {
            float part[BATCH_SPLITS_MAX][2], v[2];
#pragma unroll
            for (int s = 0; s < BATCH_SPLITS_MAX; s++) {
                if (s >= splits) break;
                part[s][0] = loadPart(there[s] + m * PART_STRIDE * 4);
                part[s][1] = loadPart(there[s] + m * PART_STRIDE * 4 + step);
            }
#pragma unroll
            for (int s = 0; s < BATCH_SPLITS_MAX; s++) {
                if (s >= splits) break;
                v[0] = s > 0 ? v[0] + part[s][0] : part[s][0];
                v[1] = s > 0 ? v[1] + part[s][1] : part[s][1];
            }
            float scale = p.squares ? shared.scales[m] : 1.0f;
            v[0] = v[0] * scale + w.bias[0];
            v[1] = v[1] * scale + w.bias[1];
            long long at = (long long)(m0 + m) * p.outStride + n;
            if (p.epilogue == EPILOGUE_RESIDUAL) {
                residual(v, w, at, m, lane, tileCount);
            } else if (!isRow) {
                continue;
            } else if (p.epilogue == EPILOGUE_CONVOLUTION) {
                if (shared.slots[m] >= 0) convolve(v, w, at, m, lane);
            } else if (p.epilogue == EPILOGUE_GATE) {
                float gate = p.activation == ACTIVATION_SILU ? quickSilu(v[1]) : activate(p.activation, v[1]);
                store((bf16*)p.out + at, v[0] * gate);
            } else if (p.epilogue == EPILOGUE_LOGITS) {
                *(float2*)((float*)p.out + at) = float2{v[0], v[1]};
            } else {
                *(unsigned*)((bf16*)p.out + at) = bf16Bits(v[0]) | (unsigned)bf16Bits(v[1]) << 16;
            }
        }
    }

    __device__ __forceinline__ void residual(const float* v, const Weights& w, long long at, int m, int lane,
                                             int tileCount) const {
        bool isRow = rowOf(lane) < p.rows;
        float2 r = *(const float2*)((const float*)ahead + (m - first) * BATCH_ROWS + lane * 2);
        r.x += v[0];
        r.y += v[1];
        float square = warpSum(isRow ? __fmaf_rn(r.x, r.x, r.y * r.y) : 0.0f);
        if (lane == 0) p.squaresOut[(long long)(m0 + m) * tileCount + tile] = square;
        if (!isRow) return;
        *(float2*)(p.residual + at) = r;
        *(unsigned*)(p.xOut + at) = bf16Bits(r.x * w.norm[0]) | (unsigned)bf16Bits(r.y * w.norm[1]) << 16;
    }

    __device__ __forceinline__ void convolve(const float* v, const Weights& w, long long at, int m, int lane) const {
        const bf16* before = (const bf16*)ahead + (m - first) * BATCH_ROWS + lane;
        float sum = __fmaf_rn(widen(before[BATCH_ROWS / 2]), w.taps[0], w.tapsBias);
        sum = __fmaf_rn(widen(before[0]), w.taps[1], sum);
        sum = __fmaf_rn(rounded(v[0]), w.taps[2], sum);
        store(ringRow(m, 0) + rowOf(lane), v[0]);
        store((bf16*)p.out + at, quickSilu(sum) * rounded(v[1]));
    }
};

template <int TOKENS>
__device__ __forceinline__ void projectBatch(const Projection& p, const void* xMap, int splits) {
    typedef BatchShape<TOKENS> Shape;
    constexpr int STAGES = Shape::STAGES;
    __shared__ BatchShared<TOKENS, STAGES> shared;
    DYNAMIC_SHARED(batchShared);
    unsigned char* aligned = batchShared + (1024 - sharedAddress(batchShared) % 1024) % 1024;
    unsigned stages = sharedAddress(aligned), full = sharedAddress(shared.full), empty = sharedAddress(shared.empty);
    int thread = (int)threadIdx.x, warp = thread / WARP, lane = thread % WARP;
    int split = (int)blockIdx.x % splits, tile = (int)blockIdx.x / splits, m0 = (int)blockIdx.y * TOKENS;
    int blocks = p.depth / BATCH_DEPTH, from = split * blocks / splits, count = (split + 1) * blocks / splits - from;
    int first = split * TOKENS / splits, last = min((split + 1) * TOKENS / splits, p.count - m0);
    BatchEnd<TOKENS> end = {p, shared, aligned + STAGES * Shape::STAGE_BYTES, m0, first, last, tile};
    bool copies = warp == BATCH_WARPS;
    auto copyTile = [&](int i, int stage) {
        expectBytes(full + stage * 8, Shape::STAGE_BYTES);
        copyWeights(stages + stage * Shape::STAGE_BYTES, p.weight, full + stage * 8, (from + i) * BATCH_DEPTH,
                    tile * (p.pairRows ? 4 : 8));
    };
    typename BatchEnd<TOKENS>::Weights weights;
    if (!copies) {
        end.readWeights(weights, lane);
    } else if (lane == 0) {
        asm volatile("prefetch.tensormap [%0];" ::"l"(xMap) : "memory");
#pragma unroll 1
        for (int s = 0; s < STAGES; s++) {
            createBarrier(full + s * 8, 1);
            createBarrier(empty + s * 8, BATCH_WARPS);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#pragma unroll 1
        for (int i = 0; i < min(STAGES, count); i++) copyTile(i, i);
    }
    __syncthreads();
    // After a plain projection comes a mixer, which reads more than weights before it waits.
    if (p.epilogue != EPILOGUE_PLAIN) letSuccessorStart();
    awaitPredecessor();

    if (copies) {
        int stage = 0, phase = 1;
#pragma unroll 1
        for (int i = 0; lane == 0 && i < count; i++) {
            if (i >= STAGES) {
                awaitPhase(empty + stage * 8, phase);
                copyTile(i, stage);
            }
            copyTokens(stages + stage * Shape::STAGE_BYTES + Shape::WEIGHT_BYTES, xMap, full + stage * 8,
                       (from + i) * BATCH_DEPTH, m0);
            if (++stage == STAGES) stage = 0, phase ^= 1;
        }
        __syncwarp();
    } else {
        end.readAhead();
        float sums[TOKENS / 2];
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++) sums[i] = 0;
        int stage = 0, phase = 0;
#pragma unroll 1
        for (int i = 0; i < count; i++) {
            unsigned tiles = stages + stage * Shape::STAGE_BYTES;
            awaitPhase(full + stage * 8, phase);
            unsigned long long a = tileDescriptor(tiles), b = tileDescriptor(tiles + Shape::WEIGHT_BYTES);
            asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
            for (int k = 0; k < BATCH_DEPTH / 16; k++) multiplyGroup<TOKENS>(sums, a + 2 * k, b + 2 * k);
            asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
            if (i > 0) {
                asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
                if (lane == 0) arrive(empty + (stage == 0 ? STAGES - 1 : stage - 1) * 8);
            }
            if (++stage == STAGES) stage = 0, phase ^= 1;
        }
        asm volatile("wgmma.wait_group.sync.aligned 0;\ncp.async.wait_all;" ::: "memory");
        asm volatile("bar.sync 1, %0;" ::"n"(BATCH_WARPS * WARP) : "memory");  // nobody reads the stages any more
        unsigned own = stages + (lane % 4 * 2 * PART_STRIDE + warp * 16 + lane / 4) * 4;
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++) {
            int token = i / 4 * 8 + i % 2, row = i % 4 / 2 * 8;
            asm volatile("st.shared.f32 [%0], %1;" ::"r"(own + (token * PART_STRIDE + row) * 4), "f"(sums[i]) : "memory");
        }
    }
    syncCluster();
    if (!copies) end.finish(stages, splits, (int)gridDim.x / splits, weights, warp, lane);
    syncCluster();  // until others have read this block's sums
}

#else

template <int TOKENS>
__device__ __forceinline__ void projectBatch(const Projection&, const void*, int) {
#ifdef __CUDACC__
    __trap();  // it is asked for only where Device.hasWarpgroupProducts
#endif
}

#endif

// project_batch_N: one projection of M tokens, N a block, with what follows it; sm_90a only. K is a multiple of 64.
// grid (row tiles · splits, M / N rounded up), block 160, cluster splits; smem BatchShape::SHARED_BYTES
// bytes  rows·K·2 and, from the cache, row tiles·M·K·2
// bound  memory: not measured
// ref    backend.cpu.Reference (linear, convolution, mlp, norm)
#define PROJECT_BATCH(N)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(BATCH_THREADS, 2) project_batch_##N(                                     \
        const void* weightMap,             /* tensor map of [rows, K] or [2·pairRows, K], pairs side by side */         \
        const void* xMap,                  /* tensor map of [M, K] */                                                    \
        int splits,                        /* of the depth, 1 to 8 blocks, residual from 2 on */                           \
        const float* squares,              /* [M, squareCount], or null: x is not scaled */                              \
        int squareCount, int normWidth, float epsilon,                                                                   \
        int rows, int depth, int count,    /* rows, or pairs of them; K; M */                                            \
        int pairRows,                      /* distance of the second row of each pair, 0 for none */                     \
        int epilogue,                                                                                                    \
        const bf16* __restrict__ bias,     /* [rows, or 2·pairRows] or null */                                           \
        void* out,                         /* [M, outStride] */                                                          \
        int outStride, int activation,                                                                                   \
        float* residual,                   /* [M, outStride] in/out */                                                   \
        const bf16* __restrict__ normWeight, /* [rows] of the next norm */                                               \
        bf16* xOut,                        /* [M, outStride] out */                                                      \
        float* squaresOut,                 /* [M, row tiles] out */                                                      \
        const int* activeSlots,            /* [M] */                                                                     \
        const long long* rowPositions,     /* [M] */                                                                     \
        unsigned char* state, long long slotBytes,                                                                       \
        long long ringOffset,              /* bf16 [ringRows, pairRows] */                                               \
        const bf16* __restrict__ taps,     /* [pairRows, 3] */                                                           \
        const bf16* __restrict__ tapsBias, /* [pairRows] or null */                                                      \
        int kernelSize, int ringRows) {                                                                                  \
        Projection p = {(const bf16*)weightMap, nullptr, squares, squareCount, normWidth, epsilon, rows, depth, count, 0, \
                        pairRows, epilogue, bias, out, outStride, activation, residual, normWeight, xOut, squaresOut,    \
                        activeSlots, rowPositions, state, slotBytes, ringOffset, taps, tapsBias, kernelSize, ringRows};  \
        projectBatch<N>(p, xMap, splits);                                                                                       \
    }
PROJECT_BATCH(32)
PROJECT_BATCH(64)

#endif
