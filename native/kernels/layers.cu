// All layers and the head of a decode step of few rows in one launch: one block a multiprocessor goes through a list of
// operations, projections and mixers, and the blocks wait for each other between them. What a launch of its own for each
// operation cannot do: the weights of the next operations stream into shared memory without a pause, whatever the blocks
// wait for, since one warp of each block does nothing else.
//
// A projection is that of projection.cu, with the same order of every sum: the bits are those of project_N.
#include "projection.cu"
#include "taylor.cu"
#include "window.cu"

#ifndef BASALT_F32

constexpr int OPERATION_WORDS = 48;  // kind, grid, and the arguments as the kernel of its own would take them
constexpr int OPERATION_ARGUMENTS = 3;
constexpr int LAYERS_THREADS = PROJECT_THREADS + 4 * WARP;  // of the last four warps, one fetches weights
constexpr int UNITS_MAX = 16;

enum Operation {
    OPERATION_PROJECT = 0,
    OPERATION_TAYLOR = 1,
    OPERATION_WINDOW = 2
};

#ifdef __CUDACC__
__device__ __forceinline__ void namedBarrier(int name, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(name), "r"(threads) : "memory");
}
__device__ __forceinline__ unsigned observed(const unsigned* p) { return *(const volatile unsigned*)p; }
__device__ __forceinline__ void pause() {}
#else
inline void namedBarrier(int name, int threads) { emulation::namedBarrier(name, threads); }
inline unsigned observed(const unsigned* p) { return *p; }
inline void pause() { emulation::pause(); }
inline void __threadfence() {}
#endif

// Registers go from the warps that fetch to those that compute.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
__device__ __forceinline__ void giveRegisters() { asm volatile("setmaxnreg.dec.sync.aligned.u32 24;"); }
__device__ __forceinline__ void takeRegisters() { asm volatile("setmaxnreg.inc.sync.aligned.u32 240;"); }
#else
__device__ __forceinline__ void giveRegisters() {}
__device__ __forceinline__ void takeRegisters() {}
#endif

// Where the blocks tell each other how many operations they have done. Counts go on from launch to launch.
struct Progress {
    unsigned* done;  // [blocks]
    unsigned before;

    __device__ __forceinline__ void report(int operations) const {
        __threadfence();
        *(volatile unsigned*)&done[blockIdx.x] = before + operations;
    }

    // Every thread of a team watches some of the blocks; its barrier must follow.
    __device__ __forceinline__ void await(int operations, int thread, int threads) const {
        for (int block = thread; block < (int)gridDim.x; block += threads) {
            while ((int)(observed(&done[block]) - before) < operations) pause();
        }
        __threadfence();
    }
};

// The threads that compute.
struct Consumers {
    __device__ __forceinline__ int thread() const { return (int)threadIdx.x; }
    __device__ __forceinline__ int threads() const { return PROJECT_THREADS; }
    __device__ __forceinline__ void sync() const { namedBarrier(1, PROJECT_THREADS); }
};

// Half of them, for a head.
struct MixerTeam {
    const Progress& progress;
    int half, operationsBefore;
    bool isAwaited;

    __device__ __forceinline__ int thread() const { return (int)threadIdx.x % TAYLOR_THREADS; }
    __device__ __forceinline__ int threads() const { return TAYLOR_THREADS; }
    __device__ __forceinline__ void sync() const { namedBarrier(2 + half, TAYLOR_THREADS); }
    __device__ __forceinline__ void awaitInputs() {
        if (!isAwaited) {
            progress.await(operationsBefore, thread(), TAYLOR_THREADS);
            sync();
            isAwaited = true;
        }
    }
};
static_assert(TAYLOR_THREADS == WINDOW_THREADS && 2 * TAYLOR_THREADS == PROJECT_THREADS, "two heads a block");

// Rows, or pairs of them, of a block.
__device__ __forceinline__ int rowsOfBlock(const Projection& p) {
    return max(min(p.perBlock, p.rows - (int)blockIdx.x * p.perBlock), 0);
}

// How a block's weights of a projection come: in units of one tile's rows over one part of the depth, groups of tiles
// first, then parts, then tiles.
struct Units {
    int perTile, tileCount, partCount, part, rowBytes;

    __device__ __forceinline__ Units(const Projection& p) {
        perTile = p.pairRows ? TILE_PAIRS : TILE_ROWS;
        tileCount = (rowsOfBlock(p) + perTile - 1) / perTile;
        partCount = (p.depth + STREAM_PART - 1) / STREAM_PART;
        part = (p.depth + partCount * ROUND - 1) / (partCount * ROUND) * ROUND;
        rowBytes = part * 2 % 128 == 64 ? part * 2 : part * 2 + 64;  // rows share no bank
    }
};

// The units that are there or under way.
struct UnitRing {
    unsigned char* places;  // [count, bytes]
    CopyBarrier* full;      // [count]
    CopyBarrier* empty;     // [count]
    int count, bytes;
    int place, phase;  // of the next unit

    __device__ __forceinline__ void advance() {
        if (++place == count) {
            place = 0;
            phase ^= 1;
        }
    }
};

#if !defined(__CUDACC__) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)

// The fetching warp: all units of all projections, as places become free.
__device__ __forceinline__ void fetchUnits(const long long* operations, int operationCount, UnitRing ring) {
    int lane = (int)threadIdx.x % WARP;
    bool isFirstRound = true;
    for (int operation = 0; operation < operationCount; operation++) {
        const long long* words = operations + (long long)operation * OPERATION_WORDS;
        if ((int)words[0] != OPERATION_PROJECT) continue;
        const Projection& p = *(const Projection*)(words + OPERATION_ARGUMENTS);
        Units units(p);
        const bf16* weight = p.weight;
        int perBlock = p.perBlock, rowCount = p.rows, depth = p.depth, pairRows = p.pairRows;
        for (int group = 0; group < units.tileCount; group += STREAM_GROUP) {
            for (int part = 0; part < units.partCount; part++) {
                for (int tile = group; tile < min(group + STREAM_GROUP, units.tileCount); tile++) {
                    int local0 = tile * units.perTile, row0 = (int)blockIdx.x * perBlock + local0;
                    int perHalf = min(units.perTile, min(perBlock - local0, rowCount - row0));
                    int rows = pairRows ? 2 * perHalf : perHalf;
                    int bytes = min(units.part, depth - part * units.part) * 2;
                    if (!isFirstRound) ring.empty[ring.place].await(ring.phase ^ 1);
                    if (lane == 0) ring.full[ring.place].expect(rows * bytes);
                    __syncwarp();
                    if (lane < rows) {
                        bool isSecond = lane >= perHalf;
                        long long row = isSecond ? pairRows + row0 + lane - perHalf : row0 + lane;
                        int inTile = isSecond ? TILE_PAIRS + lane - perHalf : lane;
                        ring.full[ring.place].copy(ring.places + ring.place * ring.bytes + inTile * units.rowBytes,
                                                   weight + row * depth + part * units.part, bytes);
                    }
                    ring.advance();
                    isFirstRound = isFirstRound && ring.place > 0;
                }
            }
        }
    }
}

// The rows of the step, in shared memory: one token each.
struct LayerRows {
    long long positions[32];
    int slots[32], starts[32], counts[32];
};

// What lies before the work of the teams and the ring of weights.
struct LayersHeader {
    CopyBarrier full[UNITS_MAX], empty[UNITS_MAX];
    float scales[32], tokenSquares[32];
    long long words[2][OPERATION_WORDS];  // of this operation and the next
    LayerRows rows;
    long long padding[16];
};
static_assert(sizeof(LayersHeader) == 2048, "mirrored by LayersKernel");

// Words of a projection that say where rows are.
constexpr int ACTIVE_SLOTS_WORD = OPERATION_ARGUMENTS + 20;
constexpr int ROW_POSITIONS_WORD = OPERATION_ARGUMENTS + 21;

// What a thread finishes of a projection's first group of tiles: item thread + i·256 is a row, or a pair of them, of a
// token.
template <int TOKENS>
struct Prepared {
    static constexpr int ITEMS = TOKENS / 8;
    Operands operands[ITEMS];

    __device__ __forceinline__ Prepared(const Projection& p) {
        int width = min(STREAM_GROUP * (p.pairRows ? TILE_PAIRS : TILE_ROWS), rowsOfBlock(p));
#pragma unroll
        for (int i = 0; i < ITEMS; i++) {
            int item = (int)threadIdx.x + i * PROJECT_THREADS;
            if (item < width * p.count)
                operands[i] = operandsOf(p, item / width, (int)blockIdx.x * p.perBlock + item % width);
        }
    }
};

// Adds the parts of a group of tiles whose first row, or pair, in the block is local0, and does what follows; as
// finishGroup does, but without idle items in between.
template <int TOKENS, int PART_STRIDE>
__device__ __forceinline__ void finishTiles(const Consumers& team, const Projection& p, const Prepared<TOKENS>& prepared,
                                            float* parts, const float* scales, float* tokenSquares, int local0) {
    int perTile = p.pairRows ? TILE_PAIRS : TILE_ROWS, width = min(STREAM_GROUP * perTile, rowsOfBlock(p) - local0);
    int items = width * p.count, thread = team.thread();
    auto finishItem = [&](int item, const Operands& operands) {
        int m = item / width, r = item % width;
        int column = r / perTile * TILE_ROWS + r % perTile;
        float v = 0, second = 0;
#pragma unroll
        for (int w = 0; w < PROJECT_WARPS; w++) {
            const float* part = parts + (w * TOKENS + m) * PART_STRIDE + column;
            v += part[0];
            if (p.pairRows) second += part[TILE_PAIRS];
        }
        float scale = p.squares ? scales[m] : 1.0f;
        float square = finish(p, m, (int)blockIdx.x * p.perBlock + local0 + r, v * scale, second * scale, operands);
        if (p.epilogue == EPILOGUE_RESIDUAL) parts[m * PART_STRIDE + column] = square;  // read by this thread only
    };
#pragma unroll
    for (int i = 0; i < Prepared<TOKENS>::ITEMS; i++) {
        int item = thread + i * PROJECT_THREADS;
        if (item >= items) break;
        if (local0 == 0) finishItem(item, prepared.operands[i]);
        if (local0 > 0) finishItem(item, operandsOf(p, item / width, (int)blockIdx.x * p.perBlock + local0 + item % width));
    }
#pragma unroll 1
    for (int item = thread + Prepared<TOKENS>::ITEMS * PROJECT_THREADS; item < items; item += PROJECT_THREADS)
        finishItem(item, operandsOf(p, item / width, (int)blockIdx.x * p.perBlock + local0 + item % width));
    if (p.epilogue == EPILOGUE_RESIDUAL) {
        team.sync();
        if (thread < p.count) {
            float sum = tokenSquares[thread];
            for (int i = 0; i < width; i++) sum += parts[thread * PART_STRIDE + i];
            tokenSquares[thread] = sum;
        }
    }
}

// One projection, by all consumers. work: parts f32 [warps, TOKENS, PART_STRIDE].
template <int TOKENS>
__device__ __forceinline__ void projectUnits(const Projection& p, const Prepared<TOKENS>& prepared, UnitRing& ring,
                                             float* work, float* scales, float* tokenSquares) {
    constexpr int HALVES = TOKENS / 8, MATRICES = (TOKENS + 15) / 16;
    constexpr int HELD = TOKENS == 8 ? 2 : 1;      // parts of x that a thread holds at once
    constexpr int ABREAST = TOKENS == 32 ? 1 : 2;  // tiles whose products follow each other by turns: they wait less
    constexpr int GROUP = STREAM_GROUP, PART_STRIDE = GROUP * TILE_ROWS, warps = PROJECT_WARPS;
    Consumers team;
    Units units(p);
    int thread = team.thread(), warp = thread / WARP, lane = thread % WARP;
    const bf16* x = p.x + (long long)(lane / 4) * p.depth + warp * DEPTH_STEP + lane % 4 * 8;
    int depth = p.depth, count = p.count;
    uint4 a[HELD][STREAM_STEPS][HALVES];
    auto stepsOf = [&](int part) {
        return (min(units.part, depth - part * units.part) / DEPTH_STEP - warp + warps - 1) / warps;
    };
    auto loadParts = [&](int part0) {
#pragma unroll
        for (int q = 0; q < HELD; q++) {
            int first = (part0 + q) * units.part, steps = part0 + q < units.partCount ? stepsOf(part0 + q) : 0;
#pragma unroll
            for (int s = 0; s < STREAM_STEPS; s++) {
#pragma unroll
                for (int h = 0; h < HALVES; h++) {
                    bool isToken = h * 8 + lane / 4 < count && s < steps;
                    a[q][s][h] = isToken ? *(const uint4*)(x + (long long)h * 8 * depth + first + s * ROUND)
                                         : make_uint4(0, 0, 0, 0);
                }
            }
        }
    };
    loadParts(0);
    int loaded = 0;
    if (p.squares) {
        float sums[HALVES];
#pragma unroll
        for (int h = 0; h < HALVES; h++) {
            int m = h * warps + warp;
            sums[h] = 0;
            if (m < count)
                for (int i = lane; i < p.squareCount; i += WARP) sums[h] += p.squares[(long long)m * p.squareCount + i];
        }
#pragma unroll
        for (int h = 0; h < HALVES; h++) {
            float sum = warpSum(sums[h]);
            if (lane == 0) scales[h * warps + warp] = 1.0f / sqrtf(sum / p.normWidth + p.epsilon);
        }
    }
    if (thread < TOKENS) tokenSquares[thread] = 0;

    for (int group = 0; group < units.tileCount; group += GROUP) {
        int tilesOfGroup = min(GROUP, units.tileCount - group);
        float sums[GROUP][MATRICES][4];
#pragma unroll
        for (int t = 0; t < GROUP; t++) {
#pragma unroll
            for (int m = 0; m < MATRICES; m++) sums[t][m][0] = sums[t][m][1] = sums[t][m][2] = sums[t][m][3] = 0;
        }
#pragma unroll 1
        for (int part0 = 0; part0 < units.partCount; part0 += HELD) {
            if (part0 != loaded) {
                loadParts(part0);
                loaded = part0;
            }
#pragma unroll
            for (int q = 0; q < HELD; q++) {
                if (part0 + q >= units.partCount) break;
                int steps = stepsOf(part0 + q);
#pragma unroll
                for (int t0 = 0; t0 < GROUP; t0 += ABREAST) {
                    if (t0 >= tilesOfGroup) break;
                    uint4 b[ABREAST][STREAM_STEPS];
#pragma unroll
                    for (int u = 0; u < ABREAST; u++) {
                        bool isTile = t0 + u < tilesOfGroup;
                        if (isTile) ring.full[ring.place].await(ring.phase);
                        const unsigned char* unit = ring.places + ring.place * ring.bytes +
                                                    lane / 4 * units.rowBytes + warp * DEPTH_STEP * 2 + lane % 4 * 16;
#pragma unroll
                        for (int s = 0; s < STREAM_STEPS; s++)
                            b[u][s] = isTile && s < steps ? *(const uint4*)(unit + s * ROUND * 2) : make_uint4(0, 0, 0, 0);
                        if (isTile) {
                            __syncwarp();
                            if (lane == 0) ring.empty[ring.place].arrive();
                            ring.advance();
                        }
                    }
#pragma unroll
                    for (int s = 0; s < STREAM_STEPS; s++) {
                        if (s >= steps) break;
#pragma unroll
                        for (int half = 0; half < 2; half++) {
#pragma unroll
                            for (int m = 0; m < MATRICES; m++) {
                                uint4 low = a[q][s][2 * m], high = make_uint4(0, 0, 0, 0);
                                if (HALVES > 1) high = a[q][s][HALVES > 1 ? 2 * m + 1 : 0];
#pragma unroll
                                for (int u = 0; u < ABREAST; u++) {
                                    if (t0 + u >= GROUP) break;
                                    float* sum = sums[t0 + u][m];
                                    if (half == 0) multiply(sum, low.x, high.x, low.y, high.y, b[u][s].x, b[u][s].y);
                                    if (half == 1) multiply(sum, low.z, high.z, low.w, high.w, b[u][s].z, b[u][s].w);
                                }
                            }
                        }
                    }
                }
            }
        }
        team.sync();  // the parts of the group before have been read
        float* own = work + (warp * TOKENS + lane / 4) * PART_STRIDE + lane % 4 * 2;
#pragma unroll
        for (int t = 0; t < GROUP; t++) {
#pragma unroll
            for (int h = 0; h < HALVES; h++) {
                own[h * 8 * PART_STRIDE + t * TILE_ROWS] = sums[t][h / 2][h % 2 * 2];
                own[h * 8 * PART_STRIDE + t * TILE_ROWS + 1] = sums[t][h / 2][h % 2 * 2 + 1];
            }
        }
        team.sync();
        finishTiles<TOKENS, PART_STRIDE>(team, p, prepared, work, scales, tokenSquares, group * units.perTile);
    }
    if (p.epilogue == EPILOGUE_RESIDUAL && thread < TOKENS && thread < count && units.tileCount > 0) {
        int blocks = (p.rows + p.perBlock - 1) / p.perBlock;
        p.squaresOut[(long long)thread * blocks + blockIdx.x] = tokenSquares[thread];
    }
}

__device__ __forceinline__ float floatOf(long long word) { return __uint_as_float((unsigned)word); }

template <int E>
__device__ __forceinline__ void taylorOf(MixerTeam& team, unsigned char* work, int h, int row, const LayerRows& rows,
                                         const long long* w) {
    taylorStep<E>(team, *(TaylorShared<E>*)work, h, row, rows.slots, rows.positions, rows.starts, rows.counts,
                  (const element*)w[4], (element*)w[5], (unsigned char*)w[6], w[7], w[8], w[9], w[10],
                  w[11], (int)w[12], floatOf(w[13]), floatOf(w[14]));
}

template <int E>
__device__ __forceinline__ void windowOf(MixerTeam& team, unsigned char* work, int g, int row, const LayerRows& rows,
                                         const long long* w) {
    float* scores = (float*)(work + sizeof(WindowShared<E>));
    windowStep<E>(team, *(WindowShared<E>*)work, scores, g, row, rows.slots, rows.positions,
                  rows.starts, rows.counts, (const element*)w[4], (const float*)w[5], (element*)w[6],
                  (unsigned char*)w[7], w[8], w[9], w[10], (int)w[11], (int)w[12], (int)w[13], (int)w[14],
                  floatOf(w[15]), (int)w[16], (int)w[17]);
}

// Heads of rows, one at a time to each team.
template <int TEAMS>
__device__ __forceinline__ void mix(const Progress& progress, int operation, unsigned char* work, int workBytes,
                                    const LayerRows& layerRows, const long long* words) {
    int half = (int)threadIdx.x / TAYLOR_THREADS;
    if (half >= TEAMS) return;
    MixerTeam team = {progress, half, operation, false};
    work += half * workBytes;
    int kind = (int)words[0] % 16, width = (int)words[0] / 16, heads = (int)words[1], rows = (int)words[2];
    const long long* arguments = words + OPERATION_ARGUMENTS;
#pragma unroll 1
    for (int item = (int)blockIdx.x * TEAMS + half; item < heads * rows; item += (int)gridDim.x * TEAMS) {
        int h = item % heads, row = item / heads;
        if (kind == OPERATION_TAYLOR) {
            if (width == 32) taylorOf<32>(team, work, h, row, layerRows, arguments);
            if (width == 64) taylorOf<64>(team, work, h, row, layerRows, arguments);
            if (width == 112) taylorOf<112>(team, work, h, row, layerRows, arguments);
        } else {
            if (width == 32) windowOf<32>(team, work, h, row, layerRows, arguments);
            if (width == 64) windowOf<64>(team, work, h, row, layerRows, arguments);
            if (width == 112) windowOf<112>(team, work, h, row, layerRows, arguments);
        }
    }
}

// The consumers: one operation after another.
template <int TOKENS>
__device__ __forceinline__ void compute(const long long* operations, int operationCount, const int* activeSlots,
                                        const long long* rowPositions, unsigned* done, UnitRing& ring,
                                        LayersHeader& header, unsigned char* work, int workBytes) {
    constexpr int TEAMS = TOKENS == 8 ? 1 : 2;
    int thread = (int)threadIdx.x;
    Consumers team;
    if (thread < OPERATION_WORDS) header.words[0][thread] = operations[thread];
    Progress progress = {done, observed(&done[blockIdx.x])};
    awaitPredecessor();
    team.sync();
    if (thread < 32) {
        const Projection& p = *(const Projection*)(header.words[0] + OPERATION_ARGUMENTS);
        bool isRow = thread < p.count;
        header.rows.slots[thread] = isRow ? activeSlots[thread] : -1;
        header.rows.positions[thread] = isRow ? rowPositions[thread] : 0;
        header.rows.starts[thread] = thread;
        header.rows.counts[thread] = 1;
    }
    team.sync();
#pragma unroll 1
    for (int operation = 0; operation < operationCount; operation++) {
        const long long* words = header.words[operation % 2];
        long long next = 0;  // while this operation is done, the next one's words come
        if (thread < OPERATION_WORDS && operation + 1 < operationCount)
            next = operations[(long long)(operation + 1) * OPERATION_WORDS + thread];
        if ((int)words[0] == OPERATION_PROJECT) {
            const Projection& p = *(const Projection*)(words + OPERATION_ARGUMENTS);
            Prepared<TOKENS> prepared(p);
            if (operation > 0) {
                progress.await(operation, thread, PROJECT_THREADS);
                team.sync();
            }
            projectUnits<TOKENS>(p, prepared, ring, (float*)work, header.scales, header.tokenSquares);
        } else {
            mix<TEAMS>(progress, operation, work, workBytes, header.rows, words);
        }
        if (thread < OPERATION_WORDS) {
            // A convolution finds its rows in shared memory.
            if (thread == ACTIVE_SLOTS_WORD && next != 0) next = (long long)header.rows.slots;
            if (thread == ROW_POSITIONS_WORD && next != 0) next = (long long)header.rows.positions;
            header.words[(operation + 1) % 2][thread] = next;
        }
        team.sync();
        if (thread == 0) progress.report(operation + 1);
    }
}

template <int TOKENS>
__device__ __forceinline__ void goThroughLayers(const long long* operations, int operationCount, const int* activeSlots,
                                                const long long* rowPositions, unsigned* done, int unitCount,
                                                int unitBytes, int workBytes) {
    DYNAMIC_SHARED(layersShared);
    LayersHeader& header = *(LayersHeader*)layersShared;
    unsigned char* work = layersShared + sizeof(LayersHeader);
    constexpr int TEAMS = TOKENS == 8 ? 1 : 2;
    int thread = (int)threadIdx.x;
    UnitRing ring = {work + TEAMS * workBytes, header.full, header.empty, unitCount, unitBytes, 0, 0};
    if (thread == 0) {
        for (int i = 0; i < unitCount; i++) {
            header.full[i].create(1);
            header.empty[i].create(PROJECT_WARPS);
        }
#ifdef __CUDACC__
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
    }
    __syncthreads();
    if (thread >= PROJECT_THREADS) {
        giveRegisters();
        if (thread < PROJECT_THREADS + WARP) fetchUnits(operations, operationCount, ring);
    } else {
        takeRegisters();
        compute<TOKENS>(operations, operationCount, activeSlots, rowPositions, done, ring, header, work, workBytes);
    }
}
#else

template <int TOKENS>
__device__ void goThroughLayers(const long long*, int, const int*, const long long*, unsigned*, int, int, int) {}

#endif

// layers_N: every operation between the embedding and the sampling, for at most N tokens, one a row. From sm_90 on.
// grid one block a multiprocessor, all at once; block 384; smem 2,048 + teams·workBytes + unitCount·unitBytes, a team for
//   N = 8, else two
// bytes  all weights, and what the mixers read
// bound  memory: not measured
// ref    as project_N, taylor_step_E and window_step_E
#define LAYERS(N)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(LAYERS_THREADS, 1) layers_##N(                                        \
        const long long* __restrict__ operations, /* [operationCount, OPERATION_WORDS] */                              \
        int operationCount,                                                                                            \
        const int* activeSlots,                   /* [B] */                                                            \
        const long long* rowPositions,            /* [B] */                                                            \
        unsigned* done,                           /* [blocks] in/out: operations, equal between launches */            \
        int unitCount, int unitBytes,             /* of the ring of weights */                                         \
        int workBytes) {                          /* of a team: sizeof(TaylorShared<E>) and the like */                \
        goThroughLayers<N>(operations, operationCount, activeSlots, rowPositions, done, unitCount, unitBytes,          \
                           workBytes);                                                                                 \
    }
LAYERS(8)
LAYERS(16)
LAYERS(32)

#endif
