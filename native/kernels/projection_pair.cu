// A projection of the residual stream, what follows it, and the projection back, of a few tokens in one kernel: the MLP, or
// a convolution with its projections. So a layer has half of the launches, each of which idles the memory while one kernel
// ends and the next one finds its tokens. What stands beside other mixers is one projection by the same kernel.
//
// A block has a share of the units between the projections (hidden ones, or channels): 16 rows of W1, a value and a gate
// each, for every eight units. The two blocks of a cluster send their units to each other, and each makes half of the outputs
// from the units of both. Sums over clusters are made in memory, in fixed point, so that they do not depend on who comes
// first; nobody waits for other clusters. The next kernel adds them to the residual stream. Larger clusters would need
// fewer sums, but not all of two kernels' find a place at once then.
//
// One warp copies weights by the tensor copy engine, in stages of a tile of 16 rows of 128 bytes for each of the eight that
// multiply: of W1, then of W2, the first of them before the kernel waits for its predecessor. It never has more than a few
// stages under way: the residual stream would wait behind all that memory has been asked for.
//
// The norm is late, as in projection.cu. The order of every sum depends on the shapes alone.
#include "cluster.cuh"
#include "matrix.cuh"

#ifndef BASALT_F32

constexpr int PAIR_BLOCKS = 2;                   // of a cluster
constexpr int PAIR_WARPS = 8;                    // that multiply
constexpr int PAIR_THREADS = (PAIR_WARPS + 1) * WARP;  // and the warp that copies
constexpr int PAIR_QUADS = 4;                    // of the residual stream that a thread reads at most
constexpr int PAIR_TILE_ROWS = 16, PAIR_TILE_DEPTH = 64, PAIR_STEPS = PAIR_TILE_DEPTH / 16;
constexpr int PAIR_TILE_BYTES = PAIR_TILE_ROWS * PAIR_TILE_DEPTH * 2;
constexpr int PAIR_STAGE_BYTES = PAIR_WARPS * PAIR_TILE_BYTES;
constexpr int PAIR_PLACES_MAX = 7;               // of stages
constexpr int PAIR_AHEAD = 3;                    // stages under way
constexpr int PAIR_PADDING = 8;                  // elements after a row in shared memory: no bank twice
constexpr float PAIR_ONE = 4294967296.0f;        // of fixed point: steps of 2^-32
constexpr float PAIR_MOST = 16777216.0f;         // that a cluster adds, so that 127 of them stay below 2^31

struct PairShared {
    unsigned long long full[PAIR_PLACES_MAX], empty[PAIR_PLACES_MAX], units, padding;
    float squares[PAIR_QUADS * PAIR_WARPS];  // Σ r² of a warp's quadruples, in the order of tokens and columns
};
static_assert(sizeof(PairShared) == 256, "mirrored by PairProjections");

// Everything a block is told; see project_pair for shapes.
struct Pair {
    const bf16* tokens;
    float* residual;
    const long long* sums;
    float* residualOut;
    const bf16* normWeight;
    float epsilon;
    int width, count;
    float tokensOfQuad;
    int places;
    const void* inMap;
    int tilesLog, rows, pairRows, epilogue;
    const bf16* inBias;
    int activation;
    bf16* out;
    const int* activeSlots;
    const long long* rowPositions;
    unsigned char* state;
    long long slotBytes, ringOffset;
    const bf16 *taps, *tapsBias;
    int ringRows;
    const void* outMap;
    const bf16* outBias;
    unsigned long long *sumsOut, *sumsAfter;
};

// What a kernel adds to the residual stream, as it lies in memory.
__device__ __forceinline__ float fromFixed(long long sum) { return (float)sum * (1.0f / PAIR_ONE); }

#ifdef BASALT_BULK_COPIES

__device__ __forceinline__ void loadMatrices(unsigned (&a)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(address));
}
__device__ __forceinline__ float4 loadNow(const float* p) {
    float4 v;
    asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(p));
    return v;
}
__device__ __forceinline__ void loadNow(long long (&v)[2], const long long* p) {
    asm volatile("ld.global.v2.s64 {%0, %1}, [%2];" : "=l"(v[0]), "=l"(v[1]) : "l"(p));
}
__device__ __forceinline__ float loadNow(const bf16* p) {
    unsigned short bits;
    asm volatile("ld.global.u16 %0, [%1];" : "=h"(bits) : "l"(p));
    return __uint_as_float((unsigned)bits << 16);
}

// The stages in the order of their use.
struct PairStages {
    const Pair& p;
    unsigned stages, full, empty;
    int inCount, count;      // of W1; of both
    int depthTiles, groups;  // of W1; those of a stage
    int stage, place, phase; // to be used; its place, and how often that was used before, mod 2

    __device__ __forceinline__ void advance() {
        stage++;
        if (++place == p.places) place = 0, phase ^= 1;
    }

    // Copies all stages; one thread.
    __device__ __forceinline__ void copy(int cluster, int rank) {
        int aheadPlace = 0, aheadPhase = 0, k = 0, tiles = 1 << p.tilesLog, units = PAIR_BLOCKS * 8 << p.tilesLog;
        int row = rank * (p.width / PAIR_BLOCKS / 8);
#pragma unroll 1
        for (; stage < count; advance()) {
            if (stage >= PAIR_AHEAD) {
                awaitPhase(full + aheadPlace * 8, aheadPhase);
                if (++aheadPlace == p.places) aheadPlace = 0, aheadPhase ^= 1;
            }
            if (stage >= p.places) awaitPhase(empty + place * 8, phase ^ 1);
            unsigned to = stages + place * PAIR_STAGE_BYTES, barrier = full + place * 8;
            if (stage < inCount) {
                int last = min(k + groups, depthTiles);
                expectBytes(barrier, (last - k) * tiles * PAIR_TILE_BYTES);
#pragma unroll 1
                for (; k < last; k++, to += tiles * PAIR_TILE_BYTES)
                    copyWeights(to, p.inMap, barrier, k * PAIR_TILE_DEPTH, (int)blockIdx.x * tiles * (p.pairRows ? 1 : 2));
            } else {
                expectBytes(barrier, PAIR_STAGE_BYTES);
                copyWeights(to, p.outMap, barrier, cluster * units, row);
                row += PAIR_STAGE_BYTES / 2 / 8 / units;
            }
        }
    }

    // d [16, 8] += the warp's tiles of the next stages · tokensᵀ, even and odd steps apart. tokens: the lane's address of what
    // the first of them is multiplied with, bytes before that of the next. The warp has a tile in the first `own` of count.
    __device__ __forceinline__ void multiply(float (&d)[2][4], int own, int stageCount, unsigned tokens, int bytes, int warp,
                                             int lane) {
        unsigned tile = warp * PAIR_TILE_BYTES + lane % PAIR_TILE_ROWS * 128;
        bool isReused = count > p.places;
#pragma unroll 2
        for (int i = 0; i < own; i++, tokens += bytes) {
            unsigned a[PAIR_STEPS][4], b[PAIR_STEPS / 2][4], address = stages + place * PAIR_STAGE_BYTES + tile;
#pragma unroll
            for (int s = 0; s < PAIR_STEPS / 2; s++) loadMatrices(b[s], tokens + s * 64);
            awaitPhase(full + place * 8, phase);
#pragma unroll
            for (int s = 0; s < PAIR_STEPS; s++)
                loadMatrices(a[s], address + ((s * 2 + lane / PAIR_TILE_ROWS) ^ (lane % 8)) * 16);
#pragma unroll
            for (int s = 0; s < PAIR_STEPS; s++)
                ::multiply(d[s % 2], a[s][0], a[s][1], a[s][2], a[s][3], b[s / 2][s % 2 * 2], b[s / 2][s % 2 * 2 + 1]);
            if (isReused) release(lane);
            advance();
        }
        for (int i = own; i < stageCount; i++) {
            // Not before it is there, lest this count for what its place had before.
            if (isReused) {
                awaitPhase(full + place * 8, phase);
                release(lane);
            }
            advance();
        }
    }

    // d [rows, 8] = the warp's rows of W2 in the next stage · unitsᵀ: of 64 units 16 rows, even and odd steps apart, and of 32
    // units 32 rows. units: the lane's address.
    __device__ __forceinline__ void multiplyUnits(float (&d)[2][4], bool isHalf, unsigned units, int warp, int lane) {
        unsigned a[PAIR_STEPS][4], b[PAIR_STEPS / 2][4];
        int row = lane % PAIR_TILE_ROWS, column = lane / PAIR_TILE_ROWS;
        unsigned address = stages + place * PAIR_STAGE_BYTES + warp * PAIR_TILE_BYTES + row * (isHalf ? 64 : 128);
        loadMatrices(b[0], units);
        loadMatrices(b[1], units + (isHalf ? 0 : 64));
        awaitPhase(full + place * 8, phase);
#pragma unroll
        for (int s = 0; s < PAIR_STEPS; s++)
            loadMatrices(a[s], address + (isHalf ? s % 2 * (PAIR_TILE_BYTES / 2) + ((s / 2 * 2 + column) ^ (row / 2 % 4)) * 16
                                                 : ((s * 2 + column) ^ (row % 8)) * 16));
#pragma unroll
        for (int n = 0; n < 2; n++) d[n][0] = d[n][1] = d[n][2] = d[n][3] = 0;
#pragma unroll
        for (int s = 0; s < PAIR_STEPS; s++) {
            // Of 32 units step s is the first or second half of the depth of the even or odd rows' tile.
            int step = isHalf ? s / 2 : s;
            unsigned low = step == 0 ? b[0][0] : step == 1 ? b[0][2] : step == 2 ? b[1][0] : b[1][2];
            unsigned high = step == 0 ? b[0][1] : step == 1 ? b[0][3] : step == 2 ? b[1][1] : b[1][3];
            ::multiply(d[s % 2], a[s][0], a[s][1], a[s][2], a[s][3], low, high);
        }
        if (count > p.places) release(lane);
        advance();
    }

    // Gives the place of a stage, when what it had is in use no more, to a later one.
    __device__ __forceinline__ void release(int lane) const {
        __syncwarp();
        if (lane == 0) arriveHere(empty + place * 8);
    }
};

// What is multiplied, every block all of it, into shared memory: of the residual stream r · w, and Σ r². A thread has four
// columns of a token, and of others so many threads on.
struct TokenReader {
    const Pair& p;
    int thread;
    Four weights[PAIR_QUADS];

    __device__ __forceinline__ int quad(int i) const { return thread + i * PAIR_WARPS * WARP; }
    __device__ __forceinline__ bool isThere(int i) const { return quad(i) * 4 < p.count * p.width; }
    __device__ __forceinline__ int token(int i) const { return (int)((quad(i) + 0.5f) * p.tokensOfQuad); }
    __device__ __forceinline__ int column(int i) const { return quad(i) * 4 - token(i) * p.width; }

    __device__ __forceinline__ void readWeights() {
#pragma unroll
        for (int i = 0; i < PAIR_QUADS; i++)
            if (isThere(i) && !p.tokens) weights[i] = loadFour(p.normWeight + column(i));
    }

    // x: bf16 [count, stride].
    __device__ __forceinline__ void readTokens(bf16* x, int stride) const {
        uint2 four[PAIR_QUADS];
#pragma unroll
        for (int i = 0; i < PAIR_QUADS; i++)
            if (isThere(i)) four[i] = *(const uint2*)(p.tokens + quad(i) * 4);
#pragma unroll
        for (int i = 0; i < PAIR_QUADS; i++)
            if (isThere(i)) *(uint2*)(x + token(i) * stride + column(i)) = four[i];
    }

    __device__ __forceinline__ void readResidual(bf16* x, int stride, float* squares) const {
        float4 r[PAIR_QUADS];
        long long sum[PAIR_QUADS][2][2];
#pragma unroll
        for (int i = 0; i < PAIR_QUADS; i++) {
            if (!isThere(i)) continue;
            r[i] = loadNow(p.residual + quad(i) * 4);
            if (p.sums) loadNow(sum[i][0], p.sums + quad(i) * 4), loadNow(sum[i][1], p.sums + quad(i) * 4 + 2);
        }
#pragma unroll
        for (int i = 0; i < PAIR_QUADS; i++) {
            if (!isThere(i)) continue;
            float4& v = r[i];
            if (p.sums) {
                v.x += fromFixed(sum[i][0][0]), v.y += fromFixed(sum[i][0][1]);
                v.z += fromFixed(sum[i][1][0]), v.w += fromFixed(sum[i][1][1]);
                int part = quad(i) / WARP, block = (int)blockIdx.x;
                if (part == block || part == block + (int)gridDim.x) *(float4*)(p.residualOut + quad(i) * 4) = v;
            }
            float4 w = float4{weights[i].at(0), weights[i].at(1), weights[i].at(2), weights[i].at(3)};
            *(uint2*)(x + token(i) * stride + column(i)) =
                uint2{bf16Pair(v.x * w.x, v.y * w.y), bf16Pair(v.z * w.z, v.w * w.w)};
            float square = warpSum(__fmaf_rn(v.x, v.x, __fmaf_rn(v.y, v.y, __fmaf_rn(v.z, v.z, v.w * v.w))));
            if (thread % WARP == 0) squares[thread / WARP + i * PAIR_WARPS] = square;
        }
    }
};

// The convolution of one channel of one token: what it reads, and its end.
struct PairConvolution {
    const Pair& p;
    int channel;
    bool isThere;
    int slot, ringRow;
    long long position;
    float before, last;  // the inputs two tokens and one token ago
    float taps[3], tapsBias;

    __device__ __forceinline__ void readWeights() {
#pragma unroll
        for (int j = 0; j < 3; j++) taps[j] = isThere ? widen(p.taps[channel * 3 + j]) : 0.0f;
        tapsBias = isThere && p.tapsBias ? widen(p.tapsBias[channel]) : 0.0f;
    }

    __device__ __forceinline__ bf16* ring(int back) const {
        int row = ringRow >= back ? ringRow - back : ringRow - back + p.ringRows;
        return tensorOf<bf16>(p.state, p.slotBytes, slot, p.ringOffset) + row * p.pairRows + channel;
    }

    __device__ __forceinline__ void readPlace(int token) {
        slot = isThere ? loadNow(p.activeSlots + token) : -1;
        position = isThere ? loadNow(p.rowPositions + token) : 0;
    }
    __device__ __forceinline__ void readRing() {
        before = last = 0;
        if (slot < 0) return;
        ringRow = wrapped(position, p.ringRows);
        if (position >= 2) before = loadNow(ring(2));
        if (position >= 1) last = loadNow(ring(1));
    }

    __device__ __forceinline__ float finish(float value, float gate) const {
        float sum = __fmaf_rn(before, taps[0], tapsBias);
        sum = __fmaf_rn(last, taps[1], sum);
        sum = __fmaf_rn(rounded(value), taps[2], sum);
        if (slot >= 0) store(ring(0), value);
        return silu(sum) * rounded(gate);
    }
};

// What is not a number counts as the least one.
__device__ __forceinline__ void addFixed(unsigned long long* sum, float v) {
    v = fminf(fmaxf(v, -PAIR_MOST), PAIR_MOST);
    asm volatile("red.global.add.u64 [%0], %1;" ::"l"(sum), "l"(__float2ll_rn(v * PAIR_ONE)) : "memory");
}

// All threads but those of the warp that copies.
__device__ __forceinline__ void awaitReaders() {
    asm volatile("bar.sync 1, %0;" ::"n"(PAIR_WARPS * WARP) : "memory");
}

__device__ __forceinline__ void projectPair(const Pair& p) {
    extern __shared__ __align__(1024) unsigned char pairShared[];
    int thread = (int)threadIdx.x, warp = thread / WARP, lane = thread % WARP;
    int cluster = (int)blockIdx.x / PAIR_BLOCKS, rank = (int)blockIdx.x % PAIR_BLOCKS;
    bool isPair = p.pairRows > 0;
    int tiles = 1 << p.tilesLog, groups = PAIR_WARPS >> p.tilesLog;  // warps that share a tile of W1's rows
    int xStride = p.width + PAIR_PADDING, unitStride = (PAIR_BLOCKS * 8 << p.tilesLog) + PAIR_PADDING;
    auto& shared = *(PairShared*)(pairShared + p.places * PAIR_STAGE_BYTES);
    float* sumParts = (float*)(&shared + 1);                              // [tiles, 16, count, groups]
    bf16* x = (bf16*)(sumParts + PAIR_WARPS * PAIR_TILE_ROWS * p.count);  // [count, xStride]
    bf16* units = x + p.count * xStride;                                  // [count, unitStride]
    bf16* outBias = units + p.count * unitStride;                         // [d / 2]
    unsigned unitsBarrier = sharedAddress(&shared.units);

    int tile = warp & (tiles - 1), group = warp >> p.tilesLog;
    int depthTiles = p.width / PAIR_TILE_DEPTH, inCount = (depthTiles + groups - 1) >> 3 - p.tilesLog;
    bool isHalf = tiles == 2;  // a warp's rows of W2 are of 32 units instead of 64
    int warpRows = isHalf ? 2 * PAIR_TILE_ROWS : PAIR_TILE_ROWS, stageRows = PAIR_WARPS * warpRows;
    int outCount = !isPair ? 0 : p.width / PAIR_BLOCKS / stageRows;
    PairStages stages = {p, sharedAddress(pairShared), sharedAddress(shared.full), sharedAddress(shared.empty), inCount,
                         inCount + outCount, depthTiles, groups, 0, 0, 0};
    if (thread == PAIR_WARPS * WARP) {
#pragma unroll 1
        for (int i = 0; i < p.places; i++) {
            createBarrier(stages.full + i * 8, 1);
            createBarrier(stages.empty + i * 8, PAIR_WARPS);
        }
        createBarrier(unitsBarrier, 1);
        publishBarriers();
        expectBytes(unitsBarrier, p.count * (PAIR_BLOCKS * 8 << p.tilesLog) * 2);
    }
    __syncwarp();
    arriveAtCluster();
    // After a plain projection comes a mixer, which reads more than weights before it waits.
    if (p.epilogue != EPILOGUE_PLAIN) letSuccessorStart();
    if (warp == PAIR_WARPS) {
        if (lane == 0) stages.copy(cluster, rank);
        __syncwarp();
        awaitArrivals();
        return;
    }

    TokenReader reader = {p, thread, {}};
    reader.readWeights();
    int unitCount = PAIR_TILE_ROWS / 2 * tiles, unit = thread & (unitCount - 1), token = thread >> (p.tilesLog + 3);
    int firstUnit = (int)blockIdx.x * unitCount;
    bool isUnit = isPair && token < p.count;
    float valueBias = isUnit && p.inBias ? widen(p.inBias[firstUnit + unit]) : 0.0f;
    float gateBias = isUnit && p.inBias ? widen(p.inBias[p.pairRows + firstUnit + unit]) : 0.0f;
    PairConvolution convolution = {p, firstUnit + unit, isUnit && p.epilogue == EPILOGUE_CONVOLUTION};
    convolution.readWeights();
    int outRow = rank * (p.width / PAIR_BLOCKS) + warp * warpRows + lane / 4, inRow = lane % 4 * 2;
    bool hasOutBias = isPair && cluster == 0 && p.outBias != nullptr;
    if (hasOutBias && thread < p.width / PAIR_BLOCKS / 8)
        storeEight(outBias + thread * 8, loadEight(p.outBias + rank * (p.width / PAIR_BLOCKS) + thread * 8));
    // A lane's row of the matrices of 8 tokens and 8 of the depth, four of them beside each other.
    int ownToken = min(lane % 8, p.count - 1), ownDepth = lane / 8 * 8;
    unsigned ownX = sharedAddress(x + ownToken * xStride + group * PAIR_TILE_DEPTH + ownDepth);
    unsigned ownUnits = sharedAddress(units + ownToken * unitStride + ownDepth);
    float* ownParts = sumParts + ((tile * PAIR_TILE_ROWS + lane / 4) * p.count + inRow) * groups + group;
    // What a projection alone leaves: a thread's first row of a token.
    int rowCount = tiles * PAIR_TILE_ROWS, outputCount = isPair ? 0 : rowCount * p.count;
    int output = (int)blockIdx.x * rowCount + (thread & rowCount - 1), outputToken = thread >> (p.tilesLog + 4);
    bool isOutput = thread < outputCount && output < p.rows;
    float outputBias = isOutput && p.inBias ? widen(p.inBias[output]) : 0.0f;
    awaitArrivals();
    awaitPredecessor();
    float before = 0;
    if (isOutput && p.tokens) before = p.residual[outputToken * p.rows + output];
    convolution.readPlace(token);
    if (p.tokens) {
        reader.readTokens(x, xStride);
    } else {
        reader.readResidual(x, xStride, shared.squares);
    }
    convolution.readRing();
    if (isPair && (int)blockIdx.x * PAIR_WARPS * WARP + thread < p.count * p.width / 2)
        ((ulonglong2*)p.sumsAfter)[blockIdx.x * PAIR_WARPS * WARP + thread] = ulonglong2{0, 0};
    awaitReaders();

    float sums[2][4] = {};
    int ownCount = (depthTiles - group + groups - 1) >> 3 - p.tilesLog;
    stages.multiply(sums, ownCount, inCount, ownX, groups * PAIR_TILE_DEPTH * 2, warp, lane);
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (inRow + i % 2 < p.count) ownParts[(i / 2 * 8 * p.count + i % 2) * groups] = sums[0][i] + sums[1][i];
    auto scaleOf = [&](int m) {  // of all lanes the same token
        int parts = p.width / 4 / WARP;
        float square = warpSum(lane < parts ? shared.squares[m * parts + lane] : 0.0f);
        return rsqrtf(__fdividef(square, (float)p.width) + p.epsilon);
    };
    auto sumOf = [&](int row, int m) {
        const float* from = sumParts + (row * p.count + m) * groups;
        if (groups == 2) return from[0] + from[1];
        float4 first = *(const float4*)from;
        float sum = first.x + first.y + (first.z + first.w);
        if (groups == 4) return sum;
        float4 second = *(const float4*)(from + 4);
        return sum + (second.x + second.y + (second.z + second.w));
    };
    auto scaleOfLane = [&](int token) {
        float scale = 1;
#pragma unroll 1
        for (int m = 0; m < p.count && !p.tokens; m++) {
            float other = scaleOf(m);
            if (m == token) scale = other;
        }
        return scale;
    };
    float scale = scaleOfLane(isPair ? token : outputToken);
    awaitReaders();
#pragma unroll 1
    for (int i = thread, m = outputToken; i - lane < outputCount; i += PAIR_WARPS * WARP) {
        if (i != thread) {
            m = i >> (p.tilesLog + 4), isOutput = i < outputCount && output < p.rows, scale = scaleOfLane(m);
            if (isOutput && p.tokens) before = p.residual[m * p.rows + output];
        }
        if (!isOutput) continue;
        float v = before + sumOf(i & rowCount - 1, m) * scale + outputBias;
        if (p.tokens) {
            p.residual[m * p.rows + output] = v;
        } else {
            store(p.out + m * p.rows + output, v);
        }
    }
    if (!isPair) return;
    if (thread - lane < unitCount * p.count) {
        int m = min(token, p.count - 1), row = unit / 8 * PAIR_TILE_ROWS + unit % 8;
        float value = sumOf(row, m) * scale + valueBias, gate = sumOf(row + 8, m) * scale + gateBias;
        float y = 0;
        if (p.epilogue == EPILOGUE_GATE) {
            y = value * activate(p.activation, gate);
        } else if (isUnit) {
            y = convolution.finish(value, gate);
        }
        // Eight lanes have eight units of a token; one for each block sends all of them.
        float other = __shfl_xor_sync(0xffffffffu, y, 1);
        unsigned pair = lane % 2 ? bf16Pair(other, y) : bf16Pair(y, other), four[4];
#pragma unroll
        for (int i = 0; i < 4; i++) four[i] = __shfl_sync(0xffffffffu, pair, lane / 8 * 8 + i * 2);
        unsigned to = sharedAddress(units + m * unitStride + rank * unitCount + unit / 8 * 8);
        if (isUnit && lane % 8 < PAIR_BLOCKS)
            send(inBlock(to, lane % 8), inBlock(unitsBarrier, lane % 8), four[0], four[1], four[2], four[3]);
    }
    __syncwarp();
    awaitPhase(unitsBarrier, 0);

#pragma unroll 1
    for (int i = 0; i < outCount; i++, outRow += stageRows) {
        float sum[2][4];
        stages.multiplyUnits(sum, isHalf, ownUnits, warp, lane);
        unsigned long long* to = p.sumsOut + inRow * p.width + outRow;
        const bf16* bias = outBias + outRow - rank * (p.width / PAIR_BLOCKS);
#pragma unroll
        for (int n = 0; n < 4; n++) {
            if (inRow + n % 2 >= p.count) continue;
            int down = n / 2 * 8;
            float first = isHalf ? sum[0][n] : sum[0][n] + sum[1][n];
            addFixed(to + n % 2 * p.width + down, first + (hasOutBias ? widen(bias[down]) : 0.0f));
            if (!isHalf) continue;
            down += PAIR_TILE_ROWS;
            addFixed(to + n % 2 * p.width + down, sum[1][n] + (hasOutBias ? widen(bias[down]) : 0.0f));
        }
    }
}

#else
__device__ __forceinline__ void projectPair(const Pair&) {
#ifdef __CUDACC__
    __trap();  // it is asked for only where Device.hasWarpgroupProducts
#endif
}
#endif

// project_pair: a projection of the residual stream, what follows it and the projection back, of M tokens; or the first one
//   alone, or one of other tokens that is added to the residual stream. H units are value and gate each.
// grid (H / (8 · tiles)), block 288, cluster 2; smem places·16,384 + sizeof(PairShared)
//   + M·(512 + (d + 8 + 16·tiles + 8)·2) + d
// bytes  6·d·H, or rows·d·2; from the cache blocks·M·d·12, and additions of clusters·M·d·8
// bound  memory, by the chain of launches: the MLP of 360M's 12.6 MB 4.7 us, of 1.3B's 38.5 MB 12.1 us, of which the bytes are
//   2.9 and 8.8; a projection of 2 MB 2.1 us (H200, one token, 2026-11-30)
// ref    backend.cpu.Reference (linear, convolution, mlp, norm)
extern "C" __global__ void __launch_bounds__(PAIR_THREADS, 2) project_pair(
    const bf16* tokens,                // [M, d] to be multiplied in place of the residual stream, or null
    float* residual,                   // [M, d], or [M, rows] in/out where there are tokens
    const long long* sums,             // [M, d], added to it, or null
    float* residualOut,                // [M, d] out: the sum, unless sums is null; none of what is read
    const bf16* __restrict__ normWeight,  // [d]
    float epsilon,
    int width, int count,              // d, a multiple of 128, or of 64 where there are tokens; M, 8 at most, and M · d at
                                       // most 4,096 and 256 for each block
    float tokensOfQuad,                // 4 / d
    int places,                        // stages there is room for
    const void* inMap,                 // tensor map of [2·pairRows, d], pairs side by side, or of [rows, d]
    int tilesLog,                      // of the tiles of W1's rows of a block, 16 rows each: 1, 2 or 4, for a pair not 1
    int rows,                          // of a projection alone
    int pairRows,                      // H, or 0 for a projection alone
    int epilogue,                      // plain, gate, convolution or, with tokens, residual
    const bf16* __restrict__ inBias,   // [2·pairRows] or [rows], or null
    int activation,
    bf16* out,                         // [M, rows] out, of a plain projection
    const int* activeSlots,            // [M]
    const long long* rowPositions,     // [M]
    unsigned char* state, long long slotBytes,
    long long ringOffset,              // bf16 [ringRows, pairRows]
    const bf16* __restrict__ taps,     // [pairRows, 3]
    const bf16* __restrict__ tapsBias, // [pairRows] or null
    int ringRows,
    const void* outMap,                // tensor map of [d, pairRows]
    const bf16* __restrict__ outBias,  // [d] or null
    unsigned long long* sumsOut,       // [M, d] in/out: fixed point, zeros before the first cluster adds to them
    unsigned long long* sumsAfter) {   // [M, d] out: zeros
    Pair p = {tokens, residual, sums,        residualOut,  normWeight, epsilon,   width,      count, tokensOfQuad, places,
              inMap,  tilesLog, rows,        pairRows,     epilogue,   inBias,    activation, out,   activeSlots,  rowPositions,
              state,  slotBytes, ringOffset, taps,         tapsBias,   ringRows,  outMap,     outBias, sumsOut,    sumsAfter};
    projectPair(p);
}

// add_sums: the residual stream with what the last pair of projections adds to it, as the input of what follows.
// grid (M), block 256; smem 128 B
// bytes  M·d·22
// bound  latency: 2.8 us (H200, 2026-11-30)
// ref    backend.cpu.Reference (norm)
extern "C" __global__ void __launch_bounds__(256) add_sums(
    const float* residual,                // [M, d]
    const long long* sums,                // [M, d], or null
    const bf16* __restrict__ normWeight,  // [d]
    bf16* x,                              // [M, d] out: r · w, not yet divided by the root
    float* squares,                       // [M] out: Σ r²
    unsigned long long* sumsAfter,        // [M, d] out: zeros; may be sums
    int width) {                          // d
    __shared__ float scratch[32];
    awaitPredecessor();
    float square = 0;
    for (int column = (int)threadIdx.x * 4; column < width; column += (int)blockDim.x * 4) {
        long long at = (long long)blockIdx.x * width + column;
        float4 r = *(const float4*)(residual + at);
        float v[4] = {r.x, r.y, r.z, r.w};
        Four weights = loadFour(normWeight + column);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (sums) v[i] += fromFixed(sums[at + i]);
            sumsAfter[at + i] = 0;
            square = __fmaf_rn(v[i], v[i], square);
            v[i] *= weights.at(i);
        }
        storeFour(x + at, v);
    }
    square = blockSum(square, scratch);
    if (threadIdx.x == 0) squares[blockIdx.x] = square;
}
#endif
