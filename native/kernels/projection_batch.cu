// Projections of a batch of tokens, y = x·Wᵀ, on the warpgroup products of sm_90a: as many tokens as a step decodes, so
// that reading W is most of it, and what follows in the same kernel. A block has 64 rows of W and a part of the depth,
// the blocks of a cluster the other parts. One warp copies tiles of W and x into two queues by the tensor copy engine, the
// first of W before the kernel waits for its predecessor, since weights depend on nothing; four multiply, and three read
// what the end needs besides the sums. At the end each block of a cluster adds the parts of all for its share of the
// tokens, in a fixed order, and does what follows.
//
// More than 64 tokens are two blocks of a cluster for each tile: each copies half of the tile, into both. Read by each,
// the weights would be more than the cache can give.
//
// The norm before a projection is late, as in projection.cu. The order of every sum depends on the shapes and the number
// of tokens alone.
#include "cluster.cuh"
#include "matrix.cuh"

#ifndef BASALT_F32

constexpr int BATCH_DEPTH = 64;      // k of a tile: 128 bytes of a row, what a swizzle takes
constexpr int BATCH_ROWS = 64;       // rows of W of a block
constexpr int BATCH_WARPS = 4;       // the warpgroup that multiplies
constexpr int AHEAD_WARPS = 3;       // read what the end needs while the others multiply
constexpr int BATCH_UNDER_WAY = 4;   // tiles of weights, until there is no more room: see projectBatch
constexpr int BATCH_THREADS = (BATCH_WARPS + 1 + AHEAD_WARPS) * WARP;
constexpr int PART_STRIDE = BATCH_ROWS + 4;  // of f32 [TOKENS, rows]: no bank twice

// The shared memory of a block of so many tokens, one of so many that share weights; a block of the next kernel fits
// beside it.
template <int TOKENS, int SHARERS>
struct BatchShape {
    static constexpr int WEIGHT_BYTES = BATCH_ROWS * BATCH_DEPTH * 2, TOKEN_BYTES = TOKENS * BATCH_DEPTH * 2;  // of a tile
    // Of both kinds. Weights come from farther and begin earlier.
    static constexpr int TOKEN_STAGES = SHARERS > 1 ? 6 : TOKENS > 32 ? 5 : TOKENS > 16 ? 6 : 8;
    static constexpr int WEIGHT_STAGES = (104 * 1024 - TOKEN_STAGES * TOKEN_BYTES) / WEIGHT_BYTES;
    static constexpr int STAGE_BYTES = WEIGHT_STAGES * WEIGHT_BYTES + TOKEN_STAGES * TOKEN_BYTES;
    static constexpr int AHEAD_BYTES = TOKENS * 128;  // see BatchEnd; a residual projection has two shares at least
    static_assert(TOKENS * PART_STRIDE * 4 <= STAGE_BYTES, "sums take the place of the stages");
    static_assert(WEIGHT_STAGES >= TOKEN_STAGES, "see projectBatch");
};

// What a block knows before its sums are there.
template <int TOKENS, int SHARERS>
struct BatchShared {
    typedef BatchShape<TOKENS, SHARERS> Shape;
    unsigned long long weights[Shape::WEIGHT_STAGES], tokens[Shape::TOKEN_STAGES], empty[Shape::TOKEN_STAGES],
        begun;
    float scales[TOKENS];             // of the block's share, from its first token on, as are the others
    int slots[TOKENS];
    unsigned short ringRows[TOKENS];  // of the token itself, times four, and how many of two inputs are before it

    static constexpr int BYTES = Shape::STAGE_BYTES + Shape::AHEAD_BYTES;  // what a launch needs, beside this
};
static_assert(BatchShared<8, 1>::BYTES + sizeof(BatchShared<8, 1>) == 107832, "mirrored by Kernel");
static_assert(BatchShared<16, 1>::BYTES + sizeof(BatchShared<16, 1>) == 108928, "mirrored by Kernel");
static_assert(BatchShared<32, 1>::BYTES + sizeof(BatchShared<32, 1>) == 111096, "mirrored by Kernel");
static_assert(BatchShared<64, 1>::BYTES + sizeof(BatchShared<64, 1>) == 115480, "mirrored by Kernel; two fit");
static_assert(BatchShared<64, 2>::BYTES + sizeof(BatchShared<64, 2>) == 115488, "mirrored by Kernel; two fit");

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// d [64, TOKENS] += a · bᵀ, 16 of the depth: descriptors of a [64, 16] and b [TOKENS, 16] in shared memory.
template <int TOKENS>
__device__ __forceinline__ void multiplyGroup(float (&d)[TOKENS / 2], unsigned long long a, unsigned long long b);

#define R4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define R16(i) R4(i), R4(i + 4), R4(i + 8), R4(i + 12)
template <>
__device__ __forceinline__ void multiplyGroup<8>(float (&d)[4], unsigned long long a, unsigned long long b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, 0, 0;"
        : R4(0)
        : "l"(a), "l"(b));
}
template <>
__device__ __forceinline__ void multiplyGroup<16>(float (&d)[8], unsigned long long a, unsigned long long b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7}, %8, %9, 1, 1, 1, 0, 0;"
        : R4(0), R4(4)
        : "l"(a), "l"(b));
}
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
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "
        "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, 1, 1, 1, 0, 0;"
        : R16(0), R16(16)
        : "l"(a), "l"(b));
}
#undef R4
#undef R16

// Of a tile whose rows are 128 bytes, swizzled, at a multiple of 1,024.
__device__ __forceinline__ unsigned long long tileDescriptor(unsigned address) {
    return (unsigned long long)((address & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

// At a barrier of any block of the cluster. No scope is named: with the cluster's it would wait for global memory.
__device__ __forceinline__ void arriveThere(unsigned barrier) {
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// A box of weights into all blocks of the cluster in a mask, at the same place, each told by its own barrier.
__device__ __forceinline__ void shareWeights(unsigned to, const void* map, unsigned barrier, int k, int group, int mask) {
    asm volatile(
        "{ .reg .b64 policy; createpolicy.fractional.L2::evict_first.b64 policy, 1.0;"
        " cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster"
        ".L2::cache_hint [%0], [%1, {%2, %3, %3, %4}], [%5], %6, policy; }" ::"r"(to),
        "l"(map), "r"(k), "r"(0), "r"(group), "r"(barrier), "h"((unsigned short)mask)
        : "memory");
}
__device__ __forceinline__ void copyTokens(unsigned to, const void* map, unsigned barrier, int k, int token) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
            to),
        "l"(map), "r"(k), "r"(token), "r"(barrier)
        : "memory");
}

// What blocks of the cluster wrote into their own shared memory before is there for all after. Only that: the release of a
// cluster's barrier would wait for global memory too, half a microsecond.
__device__ __forceinline__ void syncCluster() {
    asm volatile(
        "fence.release.sync_restrict::shared::cta.cluster;\n"
        "barrier.cluster.arrive.relaxed.aligned;\n"
        "barrier.cluster.wait.acquire.aligned;" ::
            : "memory");
}
__device__ __forceinline__ float4 loadPart(unsigned address) {
    float4 v;
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "r"(address));
    return v;
}

// 16 bytes, or zeros.
__device__ __forceinline__ void copyAhead(void* to, const void* from, bool isThere) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sharedAddress(to)), "l"(from), "r"(isThere ? 16 : 0)
                 : "memory");
}

// The end of a block: the sums of its share of the tokens, and what follows them. Eight lanes have 64 of the rows of a
// token, a lane four and the four 32 below them, which are pairs where rows are paired: so other blocks' sums are read by
// whole lines of 128 bytes. What else it reads, warps that do not multiply have copied into shared memory during the
// products. One short loop serves all: instructions that run once take longer to fetch than to run.
template <int TOKENS, int SHARERS>
struct BatchEnd {
    typedef BatchShape<TOKENS, SHARERS> Shape;
    static constexpr int TAPS = 3, FOUR = 4;
    static constexpr int LANES = 8, ABREAST = WARP / LANES;  // that share a token; tokens of a warp

    const Projection& p;
    BatchShared<TOKENS, SHARERS>& shared;
    unsigned char* ahead;  // f32 [share, rows] of the residual stream, or bf16 [share, 2, rows / 2] of the ring
    int m0, first, last, tile;

    // The convolution's input so many tokens back.
    __device__ __forceinline__ bf16* ringRow(int i, int back) const {
        int row = shared.ringRows[i] / 4 - back;
        if (row < 0) row += p.ringRows;
        return tensorOf<bf16>(p.state, p.slotBytes, shared.slots[i], p.ringOffset) + (long long)row * p.pairRows;
    }

    // Eight lanes a token for the norm, one for the ring, and then all for the copies.
    __device__ __forceinline__ void readAhead(int thread) const {
        constexpr int AT = 4, THREADS = AHEAD_WARPS * WARP, TOKENS_AT = THREADS / LANES;
        int lane = thread % LANES, share = last - first;
        if (p.epilogue == EPILOGUE_CONVOLUTION) {
#pragma unroll 1
            for (int i = thread; i < share; i += THREADS) {
                long long position = p.rowPositions[m0 + first + i];
                shared.slots[i] = p.activeSlots[m0 + first + i];
                shared.ringRows[i] = (unsigned short)((int)(position % p.ringRows) * 4 + (int)min(position, 2ll));
            }
        }
#pragma unroll 1
        for (int i0 = thread / LANES; p.squares && i0 - thread / LANES < share; i0 += AT * TOKENS_AT) {
            float sum[AT];
#pragma unroll
            for (int t = 0; t < AT; t++) sum[t] = 0;
#pragma unroll 1
            for (int n = lane; n < p.squareCount; n += AT * LANES) {
                float part[AT][AT];
#pragma unroll
                for (int t = 0; t < AT; t++) {
                    int i = min(i0 + t * TOKENS_AT, share - 1);
                    const float* squares = p.squares + (long long)(m0 + first + i) * p.squareCount + n;
#pragma unroll
                    for (int a = 0; a < AT; a++) part[t][a] = n + a * LANES < p.squareCount ? squares[a * LANES] : 0.0f;
                }
#pragma unroll
                for (int t = 0; t < AT; t++) {
#pragma unroll
                    for (int a = 0; a < AT; a++) sum[t] += part[t][a];
                }
            }
#pragma unroll
            for (int t = 0; t < AT; t++) {
#pragma unroll
                for (int mask = LANES / 2; mask > 0; mask >>= 1) sum[t] += __shfl_xor_sync(0xffffffffu, sum[t], mask);
                int i = i0 + t * TOKENS_AT;
                if (lane == 0 && i < share) shared.scales[i] = 1.0f / sqrtf(sum[t] / p.normWidth + p.epsilon);
            }
        }
        if (p.epilogue == EPILOGUE_CONVOLUTION) {
            asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory");
            constexpr int CHUNKS = BATCH_ROWS / 16;
#pragma unroll 1
            for (int i = thread; i < share * 2 * CHUNKS; i += THREADS) {
                int token = i / (2 * CHUNKS), back = 1 + i / CHUNKS % 2, n = tile * BATCH_ROWS / 2 + i % CHUNKS * 8;
                bool isThere = shared.slots[token] >= 0 && shared.ringRows[token] % 4 >= back && n < p.rows;
                copyAhead(ahead + i * 16, isThere ? (const void*)(ringRow(token, back) + n) : p.out, isThere);
            }
        } else if (p.epilogue == EPILOGUE_RESIDUAL) {
            constexpr int CHUNKS = BATCH_ROWS / 4;
#pragma unroll 1
            for (int i = thread; i < share * CHUNKS; i += THREADS) {
                int n = tile * BATCH_ROWS + i % CHUNKS * 4;
                copyAhead(ahead + i * 16, p.residual + (long long)(m0 + first + i / CHUNKS) * p.outStride + n, n < p.rows);
            }
        }
        asm volatile("cp.async.wait_all;" ::: "memory");
    }

    // What a lane needs of weights, four bf16 in each.
    struct Weights {
        uint2 bias[2];
        uint2 more[FOUR];  // two of the norm, or three of taps [4, TAPS] and the taps' bias
    };

    // A lane's first row, or pair, and the first of its second four rows.
    __device__ __forceinline__ int rowOf(int lane) const {
        return tile * (p.pairRows ? BATCH_ROWS / 2 : BATCH_ROWS) + lane % LANES * FOUR;
    }
    __device__ __forceinline__ int secondOf(int row) const { return row + (p.pairRows ? p.pairRows : BATCH_ROWS / 2); }

    __device__ __forceinline__ bool isRow(int row, int half) const {
        return (p.pairRows || half == 0 ? row : row + BATCH_ROWS / 2) < p.rows;
    }

    __device__ __forceinline__ void readWeights(Weights& w, int lane) const {
        int n = rowOf(lane);
        const uint2 none = uint2{0, 0};
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = half ? secondOf(n) : n;
            w.bias[half] = p.bias && isRow(n, half) ? *(const uint2*)(p.bias + row) : none;
            w.more[half] = p.epilogue == EPILOGUE_RESIDUAL && isRow(n, half) ? *(const uint2*)(p.normWeight + row) : none;
        }
        w.more[2] = w.more[3] = none;
        if (p.epilogue == EPILOGUE_CONVOLUTION && isRow(n, 0)) {
#pragma unroll
            for (int j = 0; j < TAPS; j++) w.more[j] = *((const uint2*)(p.taps + n * TAPS) + j);
            if (p.tapsBias) w.more[TAPS] = *(const uint2*)(p.tapsBias + n);
        }
    }

    static __device__ __forceinline__ float of(const uint2& four, int i) {
        unsigned word = i < 2 ? four.x : four.y;
        return __uint_as_float(i % 2 ? word & 0xffff0000u : word << 16);
    }
    static __device__ __forceinline__ uint2 packed(const float* v) {
        return uint2{bf16Pair(v[0], v[1]), bf16Pair(v[2], v[3])};
    }

    // parts: f32 [TOKENS, PART_STRIDE] in each of the cluster's blocks.
    __device__ __forceinline__ void finish(unsigned parts, int splits, int base, const Weights& w, int rank, int warp,
                                           int lane) const {
        constexpr int STEP = BATCH_THREADS / LANES, AT_ONCE = 4;
        int n = rowOf(lane), share = last - first;
        unsigned own = parts + (first * PART_STRIDE + lane % LANES * FOUR) * 4;
#pragma unroll 1
        for (int i0 = warp * ABREAST; i0 < share; i0 += STEP) {
            int i = min(i0 + lane / LANES, share - 1);
            bool isToken = i0 + lane / LANES < share;
            float v[2][FOUR];
#pragma unroll 1
            for (int step = 0; step < splits; step += AT_ONCE) {
                // Half of the blocks begin with the second four parts, so that not all read the same one: a + b = b + a.
                int s0 = splits > AT_ONCE && rank >= AT_ONCE ? AT_ONCE - step : step;
                float4 part[AT_ONCE][2];
                float sum[2][FOUR];
#pragma unroll
                for (int s = 0; s < AT_ONCE; s++) {
                    if (s0 + s >= splits) break;
                    unsigned from = inBlock(own + i * PART_STRIDE * 4, base + s0 + s);
                    part[s][0] = loadPart(from);
                    part[s][1] = loadPart(from + BATCH_ROWS / 2 * 4);
                }
#pragma unroll
                for (int s = 0; s < AT_ONCE; s++) {
                    if (s0 + s >= splits) break;
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        sum[half][0] = s == 0 ? part[s][half].x : sum[half][0] + part[s][half].x;
                        sum[half][1] = s == 0 ? part[s][half].y : sum[half][1] + part[s][half].y;
                        sum[half][2] = s == 0 ? part[s][half].z : sum[half][2] + part[s][half].z;
                        sum[half][3] = s == 0 ? part[s][half].w : sum[half][3] + part[s][half].w;
                    }
                }
#pragma unroll
                for (int c = 0; c < FOUR; c++) {
                    v[0][c] = step == 0 ? sum[0][c] : v[0][c] + sum[0][c];
                    v[1][c] = step == 0 ? sum[1][c] : v[1][c] + sum[1][c];
                }
            }
            float scale = p.squares ? shared.scales[i] : 1.0f;
#pragma unroll
            for (int c = 0; c < FOUR; c++) {
                v[0][c] = v[0][c] * scale + of(w.bias[0], c);
                v[1][c] = v[1][c] * scale + of(w.bias[1], c);
            }
            long long to = (long long)(m0 + first + i) * p.outStride + n;
            if (p.epilogue == EPILOGUE_RESIDUAL) {
                residual(v, w, i, to, isToken, lane);
            } else if (!isToken || !isRow(n, 0)) {
                continue;
            } else if (p.epilogue == EPILOGUE_CONVOLUTION) {
                if (shared.slots[i] >= 0) convolve(v, w, i, to, lane);
            } else if (p.epilogue == EPILOGUE_GATE) {
                float y[FOUR];
#pragma unroll
                for (int c = 0; c < FOUR; c++) {
                    bool isSilu = p.activation == ACTIVATION_SILU;
                    y[c] = v[0][c] * (isSilu ? silu(v[1][c]) : activate(p.activation, v[1][c]));
                }
                *(uint2*)((bf16*)p.out + to) = packed(y);
            } else {
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    if (!isRow(n, half)) break;
                    long long at = to + half * BATCH_ROWS / 2;
                    if (p.epilogue == EPILOGUE_LOGITS) {
                        *(float4*)((float*)p.out + at) = float4{v[half][0], v[half][1], v[half][2], v[half][3]};
                    } else {
                        *(uint2*)((bf16*)p.out + at) = packed(v[half]);
                    }
                }
            }
        }
    }

    __device__ __forceinline__ void residual(const float (&v)[2][FOUR], const Weights& w, int i, long long to, bool isToken,
                                             int lane) const {
        int n = rowOf(lane), partCount = (p.rows + BATCH_ROWS - 1) / BATCH_ROWS;
        float square = 0;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            bool isThere = isToken && isRow(n, half);
            int column = half * BATCH_ROWS / 2 + lane % LANES * FOUR;
            float4 r = *(const float4*)((const float*)ahead + i * BATCH_ROWS + column);
            r.x += v[half][0], r.y += v[half][1], r.z += v[half][2], r.w += v[half][3];
            if (!isThere) r = float4{0, 0, 0, 0};
            square = __fmaf_rn(r.x, r.x, square), square = __fmaf_rn(r.y, r.y, square);
            square = __fmaf_rn(r.z, r.z, square), square = __fmaf_rn(r.w, r.w, square);
            if (isThere) {
                float x[FOUR] = {r.x * of(w.more[half], 0), r.y * of(w.more[half], 1), r.z * of(w.more[half], 2),
                                 r.w * of(w.more[half], 3)};
                *(float4*)(p.residual + to + half * BATCH_ROWS / 2) = r;
                *(uint2*)(p.xOut + to + half * BATCH_ROWS / 2) = packed(x);
            }
        }
#pragma unroll
        for (int mask = LANES / 2; mask > 0; mask >>= 1) square += __shfl_xor_sync(0xffffffffu, square, mask);
        if (isToken && lane % LANES == 0)
            p.squaresOut[(long long)(m0 + first + i) * partCount + tile] = square;
    }

    __device__ __forceinline__ void convolve(const float (&v)[2][FOUR], const Weights& w, int i, long long to,
                                             int lane) const {
        const bf16* before = (const bf16*)ahead + i * BATCH_ROWS + lane % LANES * FOUR;
        uint2 last = *(const uint2*)before, first = *(const uint2*)(before + BATCH_ROWS / 2);
        float y[FOUR];
#pragma unroll
        for (int c = 0; c < FOUR; c++) {
            float sum = __fmaf_rn(of(first, c), of(w.more[c * TAPS / FOUR], c * TAPS % FOUR), of(w.more[TAPS], c));
            sum = __fmaf_rn(of(last, c), of(w.more[(c * TAPS + 1) / FOUR], (c * TAPS + 1) % FOUR), sum);
            sum = __fmaf_rn(rounded(v[0][c]), of(w.more[(c * TAPS + 2) / FOUR], (c * TAPS + 2) % FOUR), sum);
            y[c] = silu(sum) * rounded(v[1][c]);
        }
        *(uint2*)(ringRow(i, 0) + rowOf(lane)) = packed(v[0]);
        *(uint2*)((bf16*)p.out + to) = packed(y);
    }
};

template <int TOKENS, int SHARERS>
__device__ __forceinline__ void projectBatch(const Projection& p, const void* xMap, int splits) {
    typedef BatchShape<TOKENS, SHARERS> Shape;
    constexpr int WEIGHT_STAGES = Shape::WEIGHT_STAGES, TOKEN_STAGES = Shape::TOKEN_STAGES, COPIER = BATCH_WARPS;
    extern __shared__ __align__(1024) unsigned char batchShared[];
    unsigned stages = sharedAddress(batchShared);
    unsigned tokenStages = stages + WEIGHT_STAGES * Shape::WEIGHT_BYTES;
    auto& shared = *(BatchShared<TOKENS, SHARERS>*)(batchShared + Shape::STAGE_BYTES + Shape::AHEAD_BYTES);
    unsigned fullWeights = sharedAddress(shared.weights), fullTokens = sharedAddress(shared.tokens),
             empty = sharedAddress(shared.empty), begun = sharedAddress(&shared.begun);
    int thread = (int)threadIdx.x, warp = thread / WARP, lane = thread % WARP;
    int split = (int)blockIdx.x % splits, sharer = (int)blockIdx.x / splits % SHARERS;
    int tile = (int)blockIdx.x / (splits * SHARERS), m0 = ((int)blockIdx.y * SHARERS + sharer) * TOKENS;
    int blocks = p.depth / BATCH_DEPTH, from = split * blocks / splits, count = (split + 1) * blocks / splits - from;
    int first = split * TOKENS / splits, last = max(first, min((split + 1) * TOKENS / splits, p.count - m0));
    BatchEnd<TOKENS, SHARERS> end = {p, shared, batchShared + Shape::STAGE_BYTES, m0, first, last, tile};
    auto fetchWeights = [&](int i, int stage) {
        expectBytes(fullWeights + stage * 8, Shape::WEIGHT_BYTES);
        int k = (from + i) * BATCH_DEPTH, groups = (p.pairRows ? 4 : 8) / SHARERS;
        unsigned to = stages + stage * Shape::WEIGHT_BYTES;
        if (SHARERS > 1) {
            shareWeights(to + sharer * (Shape::WEIGHT_BYTES / SHARERS), p.weight, fullWeights + stage * 8, k,
                         (tile * SHARERS + sharer) * groups, 1 << split | 1 << (split + splits));
        } else {
            copyWeights(to, p.weight, fullWeights + stage * 8, k, tile * groups);
        }
    };
    typename BatchEnd<TOKENS, SHARERS>::Weights weights;
    if (warp == COPIER && lane == 0) {
        asm volatile("prefetch.tensormap [%0];" ::"l"(xMap) : "memory");
#pragma unroll 1
        for (int s = 0; s < WEIGHT_STAGES; s++) createBarrier(fullWeights + s * 8, 1);
#pragma unroll 1
        for (int s = 0; s < TOKEN_STAGES; s++) {
            createBarrier(fullTokens + s * 8, 1);
            createBarrier(empty + s * 8, SHARERS * BATCH_WARPS);
        }
        createBarrier(begun, 1);
        publishBarriers();
    }
    __syncwarp();
    if (SHARERS > 1) awaitCluster();
    if (warp == COPIER && lane == 0) {
#pragma unroll 1
        for (int i = 0; i < min(BATCH_UNDER_WAY, count); i++) fetchWeights(i, i);
    }
    __syncwarp();
    end.readWeights(weights, lane);
    __syncthreads();
    // After a plain projection comes a mixer and after the head sampling, which read more than weights before they wait.
    if (p.epilogue != EPILOGUE_PLAIN && p.epilogue != EPILOGUE_LOGITS) letSuccessorStart();
    // The rest of what there is room for, a few at a time: tokens would wait behind all that memory has been asked for. Only
    // then places are used anew, so that the first phase is not over twice before it was seen.
    if (thread == BATCH_THREADS - WARP) {
#pragma unroll 1
        for (int i = BATCH_UNDER_WAY; i < min(WEIGHT_STAGES, count); i++) {
            awaitPhase(fullWeights + (i - BATCH_UNDER_WAY) * 8, 0);
            fetchWeights(i, i);
        }
        arriveHere(begun);
    }
    __syncwarp();
    awaitPredecessor();

    if (warp == COPIER) {
        // What was multiplied TOKEN_STAGES tiles ago makes room for x of this one, and for weights of a later one.
        int stage = 0, phase = 1, weightStage = 0;
#pragma unroll 1
        for (int i = 0; lane == 0 && i < count; i++) {
            if (i >= TOKEN_STAGES) awaitPhase(empty + stage * 8, phase);
            expectBytes(fullTokens + stage * 8, Shape::TOKEN_BYTES);
            copyTokens(tokenStages + stage * Shape::TOKEN_BYTES, xMap, fullTokens + stage * 8, (from + i) * BATCH_DEPTH,
                       m0);
            int next = i - TOKEN_STAGES + WEIGHT_STAGES;
            if (i >= TOKEN_STAGES && next < count) {
                awaitPhase(begun, 0);
                fetchWeights(next, weightStage);
                if (++weightStage == WEIGHT_STAGES) weightStage = 0;
            }
            if (++stage == TOKEN_STAGES) stage = 0, phase ^= 1;
        }
        __syncwarp();
    } else if (warp > COPIER) {
        end.readAhead(thread - (COPIER + 1) * WARP);
    } else {
        float sums[TOKENS / 2];
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++) sums[i] = 0;
        int stage = 0, phase = 0, weightStage = 0, weightPhase = 0;
#pragma unroll 1
        for (int i = 0; i < count; i++) {
            awaitPhase(fullWeights + weightStage * 8, weightPhase);
            awaitPhase(fullTokens + stage * 8, phase);
            unsigned long long a = tileDescriptor(stages + weightStage * Shape::WEIGHT_BYTES),
                               b = tileDescriptor(tokenStages + stage * Shape::TOKEN_BYTES);
            asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
            for (int k = 0; k < BATCH_DEPTH / 16; k++) multiplyGroup<TOKENS>(sums, a + 2 * k, b + 2 * k);
            asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
            if (i > 0) {
                asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
                unsigned before = empty + (stage == 0 ? TOKEN_STAGES - 1 : stage - 1) * 8;
                if (SHARERS == 1 && lane == 0) arriveHere(before);
                if (SHARERS > 1 && lane < SHARERS) arriveThere(inBlock(before, split + lane * splits));
            }
            if (++stage == TOKEN_STAGES) stage = 0, phase ^= 1;
            if (++weightStage == WEIGHT_STAGES) weightStage = 0, weightPhase ^= 1;
        }
        asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
        asm volatile("bar.sync 2, %0;" ::"n"(BATCH_WARPS * WARP) : "memory");  // nobody reads the stages any more
        // Paired rows apart, see BatchEnd.
        int row = p.pairRows ? warp % BATCH_WARPS * 8 + lane / 4 : warp % BATCH_WARPS * 16 + lane / 4;
        unsigned own = stages + (lane % 4 * 2 * PART_STRIDE + row) * 4;
        unsigned below = own + (p.pairRows ? BATCH_ROWS / 2 : 8) * 4;
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++)
            asm volatile("st.shared.f32 [%0], %1;" ::"r"((i % 4 < 2 ? own : below) + (i / 4 * 8 + i % 2) * PART_STRIDE * 4),
                         "f"(sums[i])
                         : "memory");
    }
    if (splits * SHARERS > 1) {
        syncCluster();
    } else {
        __syncthreads();
    }
    end.finish(stages, splits, sharer * splits, weights, split, warp, lane);
    if (splits * SHARERS > 1) awaitCluster();  // when others have read this block's sums
}

#else

template <int TOKENS, int SHARERS>
__device__ __forceinline__ void projectBatch(const Projection&, const void*, int) {
#ifdef __CUDACC__
    __trap();  // it is asked for only where Device.hasWarpgroupProducts
#endif
}

#endif

// project_batch_N: one projection of M tokens, TOKENS a block, with what follows it; sm_90a only. K is a multiple of 64.
// grid (row tiles · SHARERS · splits, M / (TOKENS · SHARERS) rounded up), block 256, cluster SHARERS · splits;
//   smem by static_assert above; 115 registers
// bytes  rows·K·2 and, from the cache, row tiles·M·K·2
// bound  memory, by the chain of launches: 7,168 x 1,792 with its gate and 1,792 x 3,584 with the residual sum in turn take
//   18.6 us at M=32, 19.9 at 64 and 22.6 at 128, 2,070, 1,940 and 1,700 GB/s of 3,050, H100, 2026-11-28, before weights came a
//   few at a time, which takes 6 % off a step of 32 rows and 2 % of 128 (H200, 1.3B)
// ref    backend.cpu.Reference (linear, convolution, mlp, norm)
#define PROJECT_BATCH(N, TOKENS, SHARERS)                                                                              \
    extern "C" __global__ void __launch_bounds__(BATCH_THREADS, 2) project_batch_##N(                                  \
        const void* weightMap,             /* tensor map of [rows, K] or [2·pairRows, K], pairs side by side */        \
        const void* xMap,                  /* tensor map of [M, K] */                                                  \
        int splits,                        /* of the depth, 1 to 8 / SHARERS blocks, residual from 2 on */                       \
        const float* squares,              /* [M, squareCount], or null: x is not scaled */                            \
        int squareCount, int normWidth, float epsilon,                                                                 \
        int rows, int depth, int count,    /* rows, or pairs of them; K; M */                                          \
        int pairRows,                      /* distance of the second row of each pair, 0 for none */                   \
        int epilogue,                                                                                                  \
        const bf16* __restrict__ bias,     /* [rows, or 2·pairRows] or null */                                         \
        void* out,                         /* [M, outStride] */                                                        \
        int outStride, int activation,                                                                                 \
        float* residual,                   /* [M, outStride] in/out */                                                 \
        const bf16* __restrict__ normWeight, /* [rows] of the next norm */                                             \
        bf16* xOut,                        /* [M, outStride] out */                                                    \
        float* squaresOut,                 /* [M, row tiles] out */                                                    \
        const int* activeSlots,            /* [M] */                                                                   \
        const long long* rowPositions,     /* [M] */                                                                   \
        unsigned char* state, long long slotBytes,                                                                     \
        long long ringOffset,              /* bf16 [ringRows, pairRows] */                                             \
        const bf16* __restrict__ taps,     /* [pairRows, 3] */                                                         \
        const bf16* __restrict__ tapsBias, /* [pairRows] or null */                                                    \
        int kernelSize, int ringRows) {                                                                                \
        Projection p = {(const bf16*)weightMap, nullptr, squares, squareCount, normWidth, epsilon, rows, depth, count, 0,\
                        pairRows, epilogue, bias, out, outStride, activation, residual, normWeight, xOut, squaresOut,  \
                        activeSlots, rowPositions, state, slotBytes, ringOffset, taps, tapsBias, kernelSize, ringRows};\
        projectBatch<TOKENS, SHARERS>(p, xMap, splits);                                                                \
    }
PROJECT_BATCH(8, 8, 1)
PROJECT_BATCH(16, 16, 1)
PROJECT_BATCH(32, 32, 1)
PROJECT_BATCH(64, 64, 1)
PROJECT_BATCH(128, 64, 2)
#endif
