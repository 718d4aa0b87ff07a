// Projections of few tokens, y = x·Wᵀ, where reading W is everything. One block a multiprocessor takes a run of weight
// rows; each thread streams the weights that its own matrix instructions need through a queue of 16-byte copies in
// shared memory, deep enough to span the end of one kernel and the start of the next: the queue is filled before the
// kernel waits for its predecessor, since weights depend on nothing.
//
// Warps share the depth K: warp w takes every eighth step of k, from w on, for all rows of the block. So x is read once
// for several tiles of rows, and the warps together read 512 consecutive bytes of a row at a time, which the memory
// likes better than eight runs of 64. The partial sums of the warps are added in the order of the warps.
//
// The norm before a projection is late: x holds r · w (not divided), squares the parts of Σ r², and the sum is scaled by
// 1/√(Σ r² / d + ε) at the end, which has the same relative rounding as x normalized first.
//
// The order of every sum depends on K, the block size and the card's multiprocessors alone: not on the number of tokens,
// nor on their place.
#include "matrix.cuh"

#ifndef BASALT_F32

enum Epilogue {
    EPILOGUE_PLAIN = 0,        // out bf16 = v + bias
    EPILOGUE_LOGITS = 1,       // out f32 = v + bias
    EPILOGUE_GATE = 2,         // out = value · activation(gate), gate rows pairRows below the value rows
    EPILOGUE_CONVOLUTION = 3,  // out = silu(convolution of a with its ring) · g, g rows pairRows below the a rows
    EPILOGUE_RESIDUAL = 4      // r += v + bias; xOut = r · normWeight, squaresOut = this block's part of Σ r²
};

constexpr int TILE_ROWS = 8;    // weight rows of a matrix instruction
constexpr int TILE_PAIRS = 4;   // or pairs of rows
constexpr int DEPTH_STEP = 32;  // k of one copy: eight elements of each of four lanes
constexpr int PROJECT_WARPS = 8;
constexpr int PROJECT_THREADS = PROJECT_WARPS * WARP;
constexpr int ROUND = PROJECT_WARPS * DEPTH_STEP;  // k of one step of all warps

// Everything a block is told; see PROJECT for shapes.
struct Projection {
    const bf16* weight;
    const bf16* x;
    const float* squares;
    int squareCount, normWidth;
    float epsilon;
    int rows, depth, count;
    int perBlock;
    int pairRows, epilogue;
    const bf16* bias;
    void* out;
    int outStride, activation;
    float* residual;
    const bf16* normWeight;
    bf16* xOut;
    float* squaresOut;
    const int* activeSlots;
    const long long* rowPositions;
    unsigned char* state;
    long long slotBytes, ringOffset;
    const bf16* taps;
    const bf16* tapsBias;
    int kernelSize, ringRows;
};

// The weights of one thread, in the order it uses them: groups of tiles, then steps of k, then tiles.
template <int GROUP, int DEPTH>  // tiles of a group; copies a thread has in flight
struct WeightQueue {
    uint4* slots;  // of this thread, PROJECT_THREADS apart
    int slot;      // next to be used, and then filled anew
    const bf16* base;  // of tile 0 at the first step
    int tileStride, tilesOfThread, tileCount, stepCount;
    int tile, step, groupStart, groupEnd;  // next to be fetched

    __device__ __forceinline__ WeightQueue(const Projection& p, uint4* memory, int tiles, int steps) {
        int lane = (int)threadIdx.x % WARP, inTile = lane / 4, perTile = p.pairRows ? TILE_PAIRS : TILE_ROWS;
        int row = (int)blockIdx.x * p.perBlock + inTile % perTile;
        int rowCount = min(p.perBlock, p.rows - (int)blockIdx.x * p.perBlock) - inTile % perTile;
        tilesOfThread = steps > 0 ? (rowCount + perTile - 1) / perTile : 0;
        if (inTile >= perTile) row += p.pairRows;
        base = p.weight + (long long)row * p.depth + (int)threadIdx.x / WARP * DEPTH_STEP + lane % 4 * 8;
        tileStride = perTile * p.depth;
        slots = memory + threadIdx.x;
        slot = 0;
        tileCount = tiles;
        stepCount = steps;
        tile = step = groupStart = 0;
        groupEnd = min(GROUP, tiles);
    }

    // Starts the copy of the next weights into the slot in turn; after the last ones, nothing.
    __device__ __forceinline__ void fetch() {
        if (tile < tilesOfThread)
            startCopy(slots + slot * PROJECT_THREADS, base + (long long)tile * tileStride + step * ROUND);
        commitCopies();
        slot = slot == DEPTH - 1 ? 0 : slot + 1;
        if (++tile == groupEnd) {
            if (++step == stepCount) {
                step = 0;
                groupStart = groupEnd;
                groupEnd = min(groupEnd + GROUP, tileCount);
            }
            tile = groupStart;
        }
    }

    // The weights of one step for all tiles of a group; their places are filled anew.
    __device__ __forceinline__ void take(uint4* weights, int count) {
        if (count == GROUP) {
            awaitCopies<DEPTH - GROUP>();
        } else {
            awaitCopies<DEPTH - GROUP + 1>();  // the last group may be smaller; waiting for more than it has is harmless
        }
        int at = slot;
#pragma unroll
        for (int t = 0; t < GROUP; t++) {
            if (t < count) weights[t] = slots[at * PROJECT_THREADS];
            at = at == DEPTH - 1 ? 0 : at + 1;
        }
#pragma unroll
        for (int t = 0; t < GROUP; t++) {
            if (t < count) fetch();
        }
    }
};

// What follows the sum of row n and, in pairs, of the row pairRows below it, for token m.
__device__ __forceinline__ float finish(const Projection& p, int m, int n, float v, float second) {
    if (p.bias) {
        v += widen(p.bias[n]);
        if (p.pairRows) second += widen(p.bias[p.pairRows + n]);
    }
    long long at = (long long)m * p.outStride + n;
    if (p.epilogue == EPILOGUE_RESIDUAL) {
        float r = p.residual[at] + v;
        p.residual[at] = r;
        store(&p.xOut[at], r * widen(p.normWeight[n]));
        return r * r;
    }
    if (p.epilogue == EPILOGUE_PLAIN) {
        store((bf16*)p.out + at, v);
    } else if (p.epilogue == EPILOGUE_LOGITS) {
        ((float*)p.out)[at] = v;
    } else if (p.epilogue == EPILOGUE_GATE) {
        store((bf16*)p.out + at, v * activate(p.activation, second));
    } else {
        int slot = p.activeSlots[m];
        if (slot < 0) return 0;
        long long position = p.rowPositions[m];
        bf16* ring = tensorOf<bf16>(p.state, p.slotBytes, slot, p.ringOffset) + n;
        int ringRow = (int)(position % p.ringRows);
        float current = rounded(v), sum = p.tapsBias ? widen(p.tapsBias[n]) : 0.0f;
        for (int j = 0; j < p.kernelSize; j++) {
            int back = p.kernelSize - 1 - j;
            if (position < back) continue;
            int from = ringRow >= back ? ringRow - back : ringRow - back + p.ringRows;
            float input = back == 0 ? current : widen(ring[(long long)from * p.pairRows]);
            sum = __fmaf_rn(input, widen(p.taps[n * p.kernelSize + j]), sum);
        }
        store(&ring[(long long)ringRow * p.pairRows], current);
        store((bf16*)p.out + at, silu(sum) * rounded(second));
    }
    return 0;
}

// Adds the parts of a group of tiles whose first row, or pair, in the block is local0, and does what follows.
template <int TOKENS, int GROUP, int PART_STRIDE>
__device__ __forceinline__ void finishGroup(const Projection& p, float* parts, const float* scales, float* tokenSquares,
                                            int m0, int local0) {
    int thread = (int)threadIdx.x, perTile = p.pairRows ? TILE_PAIRS : TILE_ROWS;
    int perGroup = GROUP * perTile, tokens = min(TOKENS, p.count - m0);
    for (int index = thread; index < tokens * perGroup; index += (int)blockDim.x) {
        int m = index / perGroup, inGroup = index % perGroup;
        int local = local0 + inGroup, n = (int)blockIdx.x * p.perBlock + local;
        int column = inGroup / perTile * TILE_ROWS + inGroup % perTile;
        float v = 0, second = 0;
        for (int w = 0; w < PROJECT_WARPS; w++) {
            const float* part = parts + (w * TOKENS + m) * PART_STRIDE + column;
            v += part[0];
            if (p.pairRows) second += part[TILE_PAIRS];
        }
        float scale = p.squares ? scales[m] : 1.0f;
        float square = 0;
        if (local < p.perBlock && n < p.rows) square = finish(p, m0 + m, n, v * scale, second * scale);
        if (p.epilogue == EPILOGUE_RESIDUAL) parts[m * PART_STRIDE + column] = square;  // read by this thread only
    }
    if (p.epilogue == EPILOGUE_RESIDUAL) {
        __syncthreads();
        if (thread < tokens) {
            float sum = tokenSquares[thread];
            for (int i = 0; i < min(GROUP * TILE_ROWS, p.perBlock - local0); i++) sum += parts[thread * PART_STRIDE + i];
            tokenSquares[thread] = sum;
        }
    }
}

// TOKENS of a block, 8 or a multiple of 16; tiles of rows whose sums it holds at once; copies a thread has in flight.
template <int TOKENS, int GROUP, int DEPTH>
__device__ __forceinline__ void project(const Projection& p) {
    constexpr int HALVES = TOKENS / 8;                               // eights of tokens
    constexpr int MATRICES = (TOKENS + 15) / 16;                     // sixteens of tokens
    constexpr int CHUNK = HALVES >= 4 ? 1 : HALVES >= 2 ? 2 : 3;     // steps whose x a thread loads at a time
    constexpr int ROWS = GROUP * TILE_ROWS;
    constexpr int PART_STRIDE = GROUP % 2 ? ROWS : ROWS + 8;         // 8 or 24 of 32 banks: no bank twice
    constexpr int warps = PROJECT_WARPS;
    __shared__ float scales[TOKENS], tokenSquares[TOKENS];
    DYNAMIC_SHARED(projectionShared);
    int thread = (int)threadIdx.x, warp = thread / WARP, lane = thread % WARP;
    float* parts = (float*)(projectionShared + DEPTH * PROJECT_THREADS * 16);  // [warps, TOKENS, PART_STRIDE]
    int m0 = (int)blockIdx.y * TOKENS;
    int stepCount = (p.depth / DEPTH_STEP - warp + warps - 1) / warps;  // at most 0 for warps beyond the depth
    int perTile = p.pairRows ? TILE_PAIRS : TILE_ROWS;
    int tileCount = (min(p.perBlock, p.rows - (int)blockIdx.x * p.perBlock) + perTile - 1) / perTile;
    WeightQueue<GROUP, DEPTH> queue(p, (uint4*)projectionShared, tileCount, stepCount);
#pragma unroll 1
    for (int i = 0; i < DEPTH; i++) queue.fetch();
    awaitPredecessor();

    const bf16* x = p.x + (long long)(m0 + lane / 4) * p.depth + warp * DEPTH_STEP + lane % 4 * 8;
    uint4 ahead[CHUNK][HALVES];  // x of the next steps
    auto loadAhead = [&](int step0) {
#pragma unroll
        for (int s = 0; s < CHUNK; s++) {
#pragma unroll
            for (int h = 0; h < HALVES; h++) {
                bool isToken = step0 + s < stepCount && m0 + h * 8 + lane / 4 < p.count;
                ahead[s][h] = isToken ? *(const uint4*)(x + (long long)h * 8 * p.depth + (step0 + s) * ROUND)
                                      : make_uint4(0, 0, 0, 0);
            }
        }
    };
    loadAhead(0);
    if (p.squares) {
        for (int m = warp; m < TOKENS && m0 + m < p.count; m += warps) {
            float sum = 0;
            for (int i = lane; i < p.squareCount; i += WARP) sum += p.squares[(long long)(m0 + m) * p.squareCount + i];
            sum = warpSum(sum);
            if (lane == 0) scales[m] = 1.0f / sqrtf(sum / p.normWidth + p.epsilon);
        }
    }
    if (thread < TOKENS) tokenSquares[thread] = 0;

    for (int group = 0; group < tileCount; group += GROUP) {
        int tilesOfGroup = min(GROUP, tileCount - group);
        float sums[GROUP][MATRICES][4];
#pragma unroll
        for (int t = 0; t < GROUP; t++) {
#pragma unroll
            for (int m = 0; m < MATRICES; m++) sums[t][m][0] = sums[t][m][1] = sums[t][m][2] = sums[t][m][3] = 0;
        }
#pragma unroll 1
        for (int step0 = 0; step0 < stepCount; step0 += CHUNK) {
            uint4 a[CHUNK][HALVES];
#pragma unroll
            for (int s = 0; s < CHUNK; s++) {
#pragma unroll
                for (int h = 0; h < HALVES; h++) a[s][h] = ahead[s][h];
            }
            loadAhead(step0 + CHUNK < stepCount ? step0 + CHUNK : 0);  // after the last, the first of the next group
#pragma unroll
            for (int s = 0; s < CHUNK; s++) {
                if (step0 + s >= stepCount) break;
                uint4 b[GROUP];
                queue.take(b, tilesOfGroup);
#pragma unroll
                for (int t = 0; t < GROUP; t++) {
                    if (t >= tilesOfGroup) break;
#pragma unroll
                    for (int m = 0; m < MATRICES; m++) {
                        uint4 low = a[s][2 * m], high = make_uint4(0, 0, 0, 0);
                        if (HALVES > 1) high = a[s][HALVES > 1 ? 2 * m + 1 : 0];
                        multiply(sums[t][m], low.x, high.x, low.y, high.y, b[t].x, b[t].y);
                        multiply(sums[t][m], low.z, high.z, low.w, high.w, b[t].z, b[t].w);
                    }
                }
            }
        }
        __syncthreads();  // the parts of the group before have been read
        float* own = parts + (warp * TOKENS + lane / 4) * PART_STRIDE + lane % 4 * 2;
#pragma unroll
        for (int t = 0; t < GROUP; t++) {
#pragma unroll
            for (int h = 0; h < HALVES; h++) {
                own[h * 8 * PART_STRIDE + t * TILE_ROWS] = sums[t][h / 2][h % 2 * 2];
                own[h * 8 * PART_STRIDE + t * TILE_ROWS + 1] = sums[t][h / 2][h % 2 * 2 + 1];
            }
        }
        __syncthreads();

        finishGroup<TOKENS, GROUP, PART_STRIDE>(p, parts, scales, tokenSquares, m0, group * perTile);
    }
    if (p.epilogue == EPILOGUE_RESIDUAL && thread < TOKENS && m0 + thread < p.count)
        p.squaresOut[(long long)(m0 + thread) * gridDim.x + blockIdx.x] = tokenSquares[thread];
}

// ---- up to eight tokens

constexpr int STREAM_STAGES = 3;
constexpr int STREAM_STEPS = 7;                                    // steps of k a warp has in one part of the depth
constexpr int STREAM_PART = STREAM_STEPS * ROUND;                  // 1,792: k of a part at most
constexpr int STREAM_STAGE_BYTES = TILE_ROWS * (STREAM_PART * 2 + 64);
constexpr int STREAM_GROUP = 7;                                    // tiles whose sums a thread holds
constexpr int STREAM_TOKENS = 8;

// A barrier that counts bytes: copies of whole rows are waited for by it.
struct CopyBarrier {
    unsigned long long word;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    __device__ __forceinline__ unsigned address() { return (unsigned)__cvta_generic_to_shared(&word); }
    __device__ __forceinline__ void create() {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(address()) : "memory");
    }
    __device__ __forceinline__ void expect(int bytes) {
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address()), "r"(bytes) : "memory");
    }
    // What is copied is read once: it leaves the cache before the rest.
    __device__ __forceinline__ void copy(void* to, const void* from, int bytes) {
        asm volatile(
            "{ .reg .b64 policy; createpolicy.fractional.L2::evict_first.b64 policy, 1.0;"
            " cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3],"
            " policy; }" ::"r"((unsigned)__cvta_generic_to_shared(to)),
            "l"(from), "r"(bytes), "r"(address())
            : "memory");
    }
    __device__ __forceinline__ void await(int phase) {
        unsigned isDone;
        do {
            asm volatile(
                "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                : "=r"(isDone)
                : "r"(address()), "r"(phase)
                : "memory");
        } while (!isDone);
    }
#endif
};

// The weights of a block as units of one tile's rows over one part of the depth, in the order of their use: groups of
// tiles, then parts, then tiles. Three units are under way; the bulk copies of the next kernel's first three begin while
// this kernel ends.
struct WeightStream {
    const Projection& p;
    unsigned char* stages;  // [STREAM_STAGES, STREAM_STAGE_BYTES]
    CopyBarrier* barriers;  // [STREAM_STAGES]
    int tileCount, partCount, part;  // part: k of a part
    int rowBytes;                    // of a row in a stage; 64 more than a multiple of 128, so that rows share no bank
    int fetchGroup, fetchPart, fetchTile, fetchStage;
    int stage, phase;

    __device__ __forceinline__ WeightStream(const Projection& p, unsigned char* stages, CopyBarrier* barriers, int tiles)
        : p(p), stages(stages), barriers(barriers), tileCount(tiles) {
        partCount = (p.depth + STREAM_PART - 1) / STREAM_PART;
        part = (p.depth + partCount * ROUND - 1) / (partCount * ROUND) * ROUND;  // so that the order over k is that of project
        rowBytes = part * 2 % 128 == 64 ? part * 2 : part * 2 + 64;
        fetchGroup = fetchPart = fetchTile = fetchStage = stage = phase = 0;
    }

    // Starts the copies of the next unit; after the last, nothing.
    __device__ __forceinline__ void fetch() {
        if (fetchGroup >= tileCount) return;
        int perTile = p.pairRows ? TILE_PAIRS : TILE_ROWS, tile = fetchGroup + fetchTile;
        int local0 = tile * perTile, row0 = (int)blockIdx.x * p.perBlock + local0;
        int perHalf = min(perTile, min(p.perBlock - local0, p.rows - row0)), rows = p.pairRows ? 2 * perHalf : perHalf;
        int bytes = min(part, p.depth - fetchPart * part) * 2;
        unsigned char* to = stages + fetchStage * STREAM_STAGE_BYTES;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
        if (threadIdx.x < WARP) {
            int lane = (int)threadIdx.x;
            if (lane == 0) barriers[fetchStage].expect(rows * bytes);
            __syncwarp();
            if (lane < rows) {
                bool isSecond = lane >= perHalf;
                long long row = isSecond ? p.pairRows + row0 + lane - perHalf : row0 + lane;
                int inTile = isSecond ? TILE_PAIRS + lane - perHalf : lane;
                barriers[fetchStage].copy(to + inTile * rowBytes, p.weight + row * p.depth + fetchPart * part, bytes);
            }
        }
#else
        for (int n = (int)threadIdx.x; n < rows * (bytes / 16); n += PROJECT_THREADS) {
            int r = n / (bytes / 16), at = n % (bytes / 16);
            bool isSecond = r >= perHalf;
            long long row = isSecond ? p.pairRows + row0 + r - perHalf : row0 + r;
            int inTile = isSecond ? TILE_PAIRS + r - perHalf : r;
            *(uint4*)(to + inTile * rowBytes + at * 16) = *((const uint4*)(p.weight + row * p.depth + fetchPart * part) + at);
        }
#endif
        fetchStage = fetchStage == STREAM_STAGES - 1 ? 0 : fetchStage + 1;
        if (++fetchTile == min(STREAM_GROUP, tileCount - fetchGroup)) {
            fetchTile = 0;
            if (++fetchPart == partCount) {
                fetchPart = 0;
                fetchGroup += STREAM_GROUP;
            }
        }
    }

    // The oldest unit, once it is there.
    __device__ __forceinline__ const unsigned char* await() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
        barriers[stage].await(phase);
#endif
        return stages + stage * STREAM_STAGE_BYTES;
    }

    // Gives the oldest unit's place to the next one.
    __device__ __forceinline__ void release() {
        if (++stage == STREAM_STAGES) {
            stage = 0;
            phase ^= 1;
        }
        __syncthreads();
        fetch();
    }
};

__device__ __forceinline__ void projectEight(const Projection& p) {
    constexpr int TOKENS = STREAM_TOKENS, GROUP = STREAM_GROUP, PART_STRIDE = GROUP * TILE_ROWS, warps = PROJECT_WARPS;
    __shared__ float scales[TOKENS], tokenSquares[TOKENS];
    __shared__ CopyBarrier barriers[STREAM_STAGES];
    DYNAMIC_SHARED(projectionShared);
    int thread = (int)threadIdx.x, warp = thread / WARP, lane = thread % WARP;
    float* parts = (float*)(projectionShared + STREAM_STAGES * STREAM_STAGE_BYTES);  // [warps, TOKENS, PART_STRIDE]
    int m0 = (int)blockIdx.y * TOKENS;
    int perTile = p.pairRows ? TILE_PAIRS : TILE_ROWS;
    int tileCount = (min(p.perBlock, p.rows - (int)blockIdx.x * p.perBlock) + perTile - 1) / perTile;
    WeightStream stream(p, projectionShared, barriers, tileCount);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (thread == 0) {
        for (int i = 0; i < STREAM_STAGES; i++) barriers[i].create();
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncwarp();
#endif
    for (int i = 0; i < STREAM_STAGES; i++) stream.fetch();
    __syncthreads();
    // After a plain projection comes a mixer and after the head sampling, which read more than weights before they wait.
    if (p.epilogue != EPILOGUE_PLAIN && p.epilogue != EPILOGUE_LOGITS) letSuccessorStart();
    awaitPredecessor();

    const bf16* x = p.x + (long long)(m0 + lane / 4) * p.depth + warp * DEPTH_STEP + lane % 4 * 8;
    bool isToken = m0 + lane / 4 < p.count;
    uint4 a[STREAM_STEPS];
    auto loadPart = [&](int part) {
        int first = part * stream.part, steps = (min(stream.part, p.depth - first) / DEPTH_STEP - warp + warps - 1) / warps;
#pragma unroll
        for (int s = 0; s < STREAM_STEPS; s++)
            a[s] = isToken && s < steps ? *(const uint4*)(x + first + s * ROUND) : make_uint4(0, 0, 0, 0);
        return steps;
    };
    int steps = loadPart(0), loadedPart = 0;
    if (p.squares) {
        int m = warp;
        float sum = 0;
        if (m0 + m < p.count)
            for (int i = lane; i < p.squareCount; i += WARP) sum += p.squares[(long long)(m0 + m) * p.squareCount + i];
        sum = warpSum(sum);
        if (lane == 0) scales[m] = 1.0f / sqrtf(sum / p.normWidth + p.epsilon);
    }
    if (thread < TOKENS) tokenSquares[thread] = 0;

    for (int group = 0; group < tileCount; group += GROUP) {
        int tilesOfGroup = min(GROUP, tileCount - group);
        float sums[GROUP][4];
#pragma unroll
        for (int t = 0; t < GROUP; t++) sums[t][0] = sums[t][1] = sums[t][2] = sums[t][3] = 0;
#pragma unroll 1
        for (int part = 0; part < stream.partCount; part++) {
            if (part != loadedPart) {
                steps = loadPart(part);
                loadedPart = part;
            }
#pragma unroll
            for (int t = 0; t < GROUP; t++) {
                if (t >= tilesOfGroup) break;
                const unsigned char* unit = stream.await() + lane / 4 * stream.rowBytes + warp * DEPTH_STEP * 2 + lane % 4 * 16;
                uint4 b[STREAM_STEPS];
#pragma unroll
                for (int s = 0; s < STREAM_STEPS; s++)
                    b[s] = s < steps ? *(const uint4*)(unit + s * ROUND * 2) : make_uint4(0, 0, 0, 0);
#pragma unroll
                for (int s = 0; s < STREAM_STEPS; s++) {
                    multiply(sums[t], a[s].x, 0, a[s].y, 0, b[s].x, b[s].y);
                    multiply(sums[t], a[s].z, 0, a[s].w, 0, b[s].z, b[s].w);
                }
                stream.release();
            }
        }
        float* own = parts + (warp * TOKENS + lane / 4) * PART_STRIDE + lane % 4 * 2;
#pragma unroll
        for (int t = 0; t < GROUP; t++) {
            own[t * TILE_ROWS] = sums[t][0];
            own[t * TILE_ROWS + 1] = sums[t][1];
        }
        __syncthreads();
        finishGroup<TOKENS, GROUP, PART_STRIDE>(p, parts, scales, tokenSquares, m0, group * perTile);
        __syncthreads();
    }
    if (p.epilogue == EPILOGUE_RESIDUAL && thread < TOKENS && m0 + thread < p.count)
        p.squaresOut[(long long)(m0 + thread) * gridDim.x + blockIdx.x] = tokenSquares[thread];
}

// project_N: one projection of M tokens, N a block, with what follows it.
// grid (rows, or pairs of rows, over perBlock, rounded up; M / N rounded up), block 256;
//   smem 87,552 or DEPTH·4,096 + 8·N·PART_STRIDE·4
// bytes  rows·K·2 and, from the cache, blocks·M·K·2 a group
// bound  memory: not measured
// ref    backend.cpu.Reference (linear, convolution, mlp, norm)
#define PROJECT(N, ...)                                                                                                  \
    extern "C" __global__ void __maxnreg__(128)       project_##N(                                                   \
        const bf16* __restrict__ weight,   /* [rows, K], or [2·pairRows, K] */                                       \
        const bf16* x,                     /* [M, K] */                                                              \
        const float* squares,              /* [M, squareCount], or null: x is not scaled */                          \
        int squareCount, int normWidth, float epsilon,                                                               \
        int rows, int depth, int count,    /* rows, or pairs of them; K; M */                                        \
        int perBlock,                      /* rows, or pairs of them, of a block */                                  \
        int pairRows,                      /* distance of the second row of each pair, 0 for none */                 \
        int epilogue,                                                                                                \
        const bf16* __restrict__ bias,     /* [rows, or 2·pairRows] or null */                                       \
        void* out,                         /* [M, outStride] */                                                      \
        int outStride, int activation,                                                                               \
        float* residual,                   /* [M, outStride] in/out */                                               \
        const bf16* __restrict__ normWeight, /* [rows] of the next norm */                                           \
        bf16* xOut,                        /* [M, outStride] out */                                                  \
        float* squaresOut,                 /* [M, blocks] out */                                                     \
        const int* activeSlots,            /* [M] */                                                                 \
        const long long* rowPositions,     /* [M] */                                                                 \
        unsigned char* state, long long slotBytes,                                                                   \
        long long ringOffset,              /* bf16 [ringRows, pairRows] */                                           \
        const bf16* __restrict__ taps,     /* [pairRows, kernelSize] */                                              \
        const bf16* __restrict__ tapsBias, /* [pairRows] or null */                                                  \
        int kernelSize, int ringRows) {                                                                              \
        Projection p = {weight,      x,            squares,      squareCount, normWidth,  epsilon,    rows,          \
                        depth,       count,        perBlock,     pairRows,    epilogue,   bias,       out,           \
                        outStride,   activation,   residual,     normWeight,  xOut,       squaresOut, activeSlots,   \
                        rowPositions, state,       slotBytes,    ringOffset,  taps,       tapsBias,   kernelSize,    \
                        ringRows};                                                                                   \
        __VA_ARGS__(p);                                                                                              \
    }
// 128 registers and half of the shared memory: a block of one kernel and one of the next fit a multiprocessor together.
PROJECT(8, projectEight)
PROJECT(16, project<16, 7, 20>)
PROJECT(32, project<32, 4, 16>)

#endif
