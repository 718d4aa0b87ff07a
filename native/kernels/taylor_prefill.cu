// Taylor linear attention over many tokens of a row, on the tensor cores. A block takes 16 columns of one head's values
// and goes through the row in chunks of 128 tokens, four of the aligned blocks of 32 that decoding folds in: each token
// reads S as it was before its chunk, and the tokens of the chunk before it directly. What blocks of a head compute
// twice, the features, is cheap beside the rest.
//
// Products are of bf16 with sums in f32. What is not bf16 by itself, features and S, is split into two, value and
// remainder, so that a product is off by 2⁻¹⁶. The products of two entries of a bf16 key are exact in that form.
//
// Features have another order here than in the state: a thread that has columns 2c, 2c + 1, 2c + 8, 2c + 9 of a matrix
// product makes those features alone whose first entry is x_{4a+c}, so that all its indices are known to the compiler.
// Slots that hold no feature, as i > j there, are zero; one of them is the constant feature.
#include "matrix.cuh"

constexpr int SLICE = 16;  // columns of a block
constexpr int CHUNK_TOKENS = 4 * FOLD_INTERVAL;
constexpr int PREFILL_WARPS = CHUNK_TOKENS / 16;
constexpr int PREFILL_THREADS = PREFILL_WARPS * WARP;
constexpr int FEATURE_STEPS = 11;                            // of 16 features: 4 slots of each of 4 threads
constexpr int FEATURE_SLOTS = FEATURE_STEPS * 16;            // products, then x itself
constexpr int FEATURE_STRIDE = FEATURE_SLOTS + 8;            // no bank twice
constexpr int COLUMN_TILES = SLICE / 8 + 1;                  // the last has z for a column
constexpr int VECTOR_STRIDE = 24;                            // of queries and keys, 16-byte rows
constexpr int VALUE_STRIDE = CHUNK_TOKENS + 8;
constexpr int PREFILL_FEATURE_TILES = (FEATURE_STEPS + PREFILL_WARPS - 1) / PREFILL_WARPS;  // of S in a warp's registers
#ifdef BASALT_F32
constexpr bool ARE_SPLIT = true;  // queries, keys and values too
#else
constexpr bool ARE_SPLIT = false;
#endif

struct TaylorPrefillShared {
    element queries[CHUNK_TOKENS][VECTOR_STRIDE];
    element keys[CHUNK_TOKENS][VECTOR_STRIDE];
    bf16 values[1 + ARE_SPLIT][SLICE][VALUE_STRIDE];
    bf16 keyFeatures[2][CHUNK_TOKENS][FEATURE_STRIDE];  // value, remainder
    bf16 sums[2][COLUMN_TILES * 8][FEATURE_SLOTS];
};

static_assert(FEATURE_DIM_MAX == 16 && PREFILL_THREADS == CHUNK_TOKENS * 2, "a thread loads half a token's vectors");

// Two values as a word of bf16, and what that leaves of them.
__device__ __forceinline__ unsigned splitTwo(float& a, float& b) {
    unsigned high = bf16Bits(a) | (unsigned)bf16Bits(b) << 16;
    a -= __uint_as_float(high << 16);
    b -= __uint_as_float(high & 0xffff0000u);
    return high;
}
__device__ __forceinline__ unsigned pairOfBf16(float a, float b) { return bf16Bits(a) | (unsigned)bf16Bits(b) << 16; }

// An operand of 16 x 16 (four words) or 8 x 16 (two), in two parts.
template <int WORDS>
struct Split {
    unsigned high[WORDS], low[WORDS];
};

// d += a · bᵀ; where b has no remainder, HAS_LOW is false.
template <bool HAS_LOW>
__device__ __forceinline__ void multiplySplit(float* d, float* dLow, const Split<4>& a, const Split<2>& b) {
    multiply(d, a.high[0], a.high[1], a.high[2], a.high[3], b.high[0], b.high[1]);
    multiply(dLow, a.low[0], a.low[1], a.low[2], a.low[3], b.high[0], b.high[1]);
    if (HAS_LOW) multiply(dLow, a.high[0], a.high[1], a.high[2], a.high[3], b.low[0], b.low[1]);
}

// The transpose of 16 x 16 at p as operand a.
__device__ __forceinline__ void loadTransposed(unsigned* words, const bf16* p, int stride) {
    int lane = (int)threadIdx.x % WARP;
#ifdef __CUDACC__
    unsigned address = (unsigned)__cvta_generic_to_shared(p + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 8);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
#else
    for (int i = 0; i < 4; i++) {
        const bf16* at = p + (lane % 4 * 2 + i / 2 * 8) * stride + lane / 4 + i % 2 * 8;
        words[i] = at[0].bits | (unsigned)at[stride].bits << 16;
    }
#endif
}

// Feature of the state that is in a slot, -1 for none. Slots 16·s + 4·c + r are the products 4·s + r of x_{4a+c} with
// x_{4a}, x_{4a+1}, ... for a from 0 on, then x_{4a+c} itself.
__device__ __forceinline__ int featureOfSlot(int slot) {
    int n = slot / 16 * 4 + slot % 4, c = slot / 4 % 4, a = n < 16 ? 0 : n < 28 ? 1 : n < 36 ? 2 : 3;
    if (n >= 40) return 1 + 4 * (n - 40) + c;
    int first = a == 0 ? 0 : a == 1 ? 16 : a == 2 ? 28 : 36;
    int i = 4 * a + c, j = 4 * a + n - first;
    if (slot == 4) return 0;  // x_1·x_0
    return j < i ? -1 : 1 + FEATURE_DIM_MAX + i * FEATURE_DIM_MAX - i * (i - 1) / 2 + j - i;
}

// What a thread makes the features of a token from.
struct FeatureSource {
    float x[FEATURE_DIM_MAX], own[4];

    __device__ __forceinline__ void load(const element* p, float scale) {
        int c = (int)threadIdx.x % 4;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            Eight eight = loadEight(p + half * 8);
#pragma unroll
            for (int i = 0; i < 8; i++) x[half * 8 + i] = eight.at(i) * scale;
        }
#pragma unroll
        for (int a = 0; a < 4; a++) own[a] = c == 0 ? x[4 * a] : c == 1 ? x[4 * a + 1] : c == 2 ? x[4 * a + 2] : x[4 * a + 3];
    }

    // Slot n of the thread; diagonal: the weight of x_i².
    __device__ __forceinline__ float at(int n, float diagonal) const {
        int c = (int)threadIdx.x % 4;
        if (n >= 40) return own[n - 40];
        int a = n < 16 ? 0 : n < 28 ? 1 : n < 36 ? 2 : 3, t = n - (a == 0 ? 0 : a == 1 ? 16 : a == 2 ? 28 : 36);
        float product = own[a] * x[4 * a + t];
        if (t >= 4) return product;
        if (n == 0 && c == 1) return 1.0f;
        return t < c ? 0.0f : t == c ? diagonal * product : product;
    }
};

// Step s of the features of two tokens as operand a.
__device__ __forceinline__ Split<4> featuresOf(const FeatureSource* tokens, int s, float diagonal) {
    Split<4> words;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float first = tokens[i % 2].at(4 * s + i / 2 * 2, diagonal), second = tokens[i % 2].at(4 * s + i / 2 * 2 + 1, diagonal);
        words.high[i] = splitTwo(first, second);
        words.low[i] = pairOfBf16(first, second);
    }
    return words;
}

// Queries and keys of a chunk and the columns of its values: a thread loads half of a token's vectors.
struct ChunkLoader {
    Eight query, key, value;

    __device__ __forceinline__ void store(TaylorPrefillShared& s) const {
        int token = (int)threadIdx.x / 2, c0 = (int)threadIdx.x % 2 * 8;
        float q[8], k[8];
#pragma unroll
        for (int i = 0; i < 8; i++) q[i] = query.at(i), k[i] = key.at(i);
        storeEight(&s.queries[token][c0], q);
        storeEight(&s.keys[token][c0], k);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float v = value.at(i);
            ::store(&s.values[0][c0 + i][token], v);
            if (ARE_SPLIT) ::store(&s.values[ARE_SPLIT][c0 + i][token], v - widen(s.values[0][c0 + i][token]));
        }
    }
};

// 16 tokens of the columns of tile n as operand b; the tile of z is a column of ones.
__device__ __forceinline__ Split<2> valuesOf(const TaylorPrefillShared& s, int n, int token0) {
    int lane = (int)threadIdx.x % WARP;
    Split<2> words = {};
    if (n == COLUMN_TILES - 1) {
        words.high[0] = words.high[1] = lane / 4 == 0 ? 0x3f803f80u : 0;
        return words;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int token = token0 + lane % 4 * 2 + i * 8;
        words.high[i] = *(const unsigned*)&s.values[0][n * 8 + lane / 4][token];
        if (ARE_SPLIT) words.low[i] = *(const unsigned*)&s.values[ARE_SPLIT][n * 8 + lane / 4][token];
    }
    return words;
}

// Two words of a vector's entries, as operands have them.
__device__ __forceinline__ void loadVector(const element* p, float scale, unsigned* high, unsigned* low) {
    int c = (int)threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float first = widen(p[2 * c + 8 * i]) * scale, second = widen(p[2 * c + 8 * i + 1]) * scale;
        high[i] = splitTwo(first, second);
        low[i] = pairOfBf16(first, second);
    }
}

// sums += the chunk's tokens up to each of the warp's 16: p(q·k)·v, and the weights themselves in z's tile.
__device__ __forceinline__ void addChunk(const TaylorPrefillShared& s, float scale, float (*sums)[4], float (*lowSums)[4]) {
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
    Split<4> query;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        unsigned high[2], low[2];
        loadVector(s.queries[warp * 16 + lane / 4 + half * 8], scale, high, low);
        query.high[half] = high[0], query.high[2 + half] = high[1], query.low[half] = low[0], query.low[2 + half] = low[1];
    }
    for (int tile = 0; tile <= warp; tile++) {  // of 16 keys
        Split<4> weights;
#pragma unroll
        for (int part = 0; part < 2; part++) {
            Split<2> key;
            float dots[4] = {}, lowDots[4] = {};
            loadVector(s.keys[tile * 16 + part * 8 + lane / 4], 1.0f, key.high, key.low);
            multiply(dots, query.high[0], query.high[1], query.high[2], query.high[3], key.high[0], key.high[1]);
            if (ARE_SPLIT) {
                multiply(lowDots, query.low[0], query.low[1], query.low[2], query.low[3], key.high[0], key.high[1]);
                multiply(lowDots, query.high[0], query.high[1], query.high[2], query.high[3], key.low[0], key.low[1]);
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int back = (warp - tile) * 16 + lane / 4 + i / 2 * 8 - (part * 8 + lane % 4 * 2 + i % 2);
                dots[i] = back >= 0 ? taylorWeight(dots[i] + lowDots[i]) : 0.0f;
            }
            weights.high[2 * part] = splitTwo(dots[0], dots[1]);
            weights.high[2 * part + 1] = splitTwo(dots[2], dots[3]);
            weights.low[2 * part] = pairOfBf16(dots[0], dots[1]);
            weights.low[2 * part + 1] = pairOfBf16(dots[2], dots[3]);
        }
#pragma unroll
        for (int n = 0; n < COLUMN_TILES; n++)
            multiplySplit<ARE_SPLIT>(sums[n], lowSums[n], weights, valuesOf(s, n, tile * 16));
    }
}

// sums += φ(q)·S of the warp's 16 tokens, and φ(q)·z.
__device__ __forceinline__ void addState(const TaylorPrefillShared& s, float scale, float (*sums)[4], float (*lowSums)[4]) {
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
    FeatureSource tokens[2];
    tokens[0].load(s.queries[warp * 16 + lane / 4], scale);
    tokens[1].load(s.queries[warp * 16 + lane / 4 + 8], scale);
#pragma unroll
    for (int step = 0; step < FEATURE_STEPS; step++) {
        Split<4> features = featuresOf(tokens, step, 0.5f);
#pragma unroll
        for (int n = 0; n < COLUMN_TILES; n++) {
            Split<2> state;
            const uint2 high = *(const uint2*)&s.sums[0][n * 8 + lane / 4][step * 16 + lane % 4 * 4];
            const uint2 low = *(const uint2*)&s.sums[1][n * 8 + lane / 4][step * 16 + lane % 4 * 4];
            state.high[0] = high.x, state.high[1] = high.y, state.low[0] = low.x, state.low[1] = low.y;
            multiplySplit<true>(sums[n], lowSums[n], features, state);
        }
    }
}

__device__ __forceinline__ void storeKeyFeatures(TaylorPrefillShared& s) {
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP, row = warp * 16 + lane / 4;
    FeatureSource tokens[2];
    tokens[0].load(s.keys[row], 1.0f);
    tokens[1].load(s.keys[row + 8], 1.0f);
#pragma unroll
    for (int step = 0; step < FEATURE_STEPS; step++) {
        Split<4> features = featuresOf(tokens, step, 1.0f);
        int at = step * 16 + lane % 4 * 4;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            *(uint2*)&s.keyFeatures[0][row + half * 8][at] = uint2{features.high[half], features.high[2 + half]};
            *(uint2*)&s.keyFeatures[1][row + half * 8][at] = uint2{features.low[half], features.low[2 + half]};
        }
    }
}

// A warp's part of S and z: every fourth tile of 16 slots, all columns.
struct StatePart {
    float sums[PREFILL_FEATURE_TILES][COLUMN_TILES][4];

    __device__ __forceinline__ int tileOf(int t) const { return (int)threadIdx.x / WARP + t * PREFILL_WARPS; }
    __device__ __forceinline__ int slotOf(int t, int i) const {
        return tileOf(t) * 16 + (int)threadIdx.x % WARP / 4 + i / 2 * 8;
    }
    __device__ __forceinline__ int columnOf(int n, int i) const { return n * 8 + (int)threadIdx.x % 4 * 2 + i % 2; }

    // f(sum, feature, column) for all of it that is in the state; column SLICE is z.
    template <typename F>
    __device__ __forceinline__ void forEach(F f) {
#pragma unroll
        for (int t = 0; t < PREFILL_FEATURE_TILES; t++) {
            if (tileOf(t) >= FEATURE_STEPS) continue;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int feature = featureOfSlot(slotOf(t, i));
                if (feature < 0) continue;
#pragma unroll
                for (int n = 0; n < COLUMN_TILES; n++)
                    if (columnOf(n, i) <= SLICE) f(sums[t][n][i], feature, columnOf(n, i));
            }
        }
    }

    // The first tokens of the chunk, 16 a step.
    __device__ __forceinline__ void fold(const TaylorPrefillShared& s, int steps) {
#pragma unroll
        for (int t = 0; t < PREFILL_FEATURE_TILES; t++) {
            if (tileOf(t) >= FEATURE_STEPS) continue;
            float low[COLUMN_TILES][4] = {};
            for (int step = 0; step < steps; step++) {
                Split<4> features;
                loadTransposed(features.high, &s.keyFeatures[0][step * 16][tileOf(t) * 16], FEATURE_STRIDE);
                loadTransposed(features.low, &s.keyFeatures[1][step * 16][tileOf(t) * 16], FEATURE_STRIDE);
#pragma unroll
                for (int n = 0; n < COLUMN_TILES; n++)
                    multiplySplit<ARE_SPLIT>(sums[t][n], low[n], features, valuesOf(s, n, step * 16));
            }
#pragma unroll
            for (int n = 0; n < COLUMN_TILES; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++) sums[t][n][i] += low[n][i];
            }
        }
    }

    // Where the tokens of the next chunk read it.
    __device__ __forceinline__ void publish(TaylorPrefillShared& s) const {
#pragma unroll
        for (int t = 0; t < PREFILL_FEATURE_TILES; t++) {
            if (tileOf(t) >= FEATURE_STEPS) continue;
#pragma unroll
            for (int n = 0; n < COLUMN_TILES; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float v = sums[t][n][i];
                    store(&s.sums[0][columnOf(n, i)][slotOf(t, i)], v);
                    store(&s.sums[1][columnOf(n, i)][slotOf(t, i)], v - rounded16(v));
                }
            }
        }
    }

    __device__ __forceinline__ static float rounded16(float v) { return __uint_as_float((unsigned)bf16Bits(v) << 16); }
};

// taylor_prefill: rows of many tokens; f = 16, e a multiple of 16. Rings are left to write_ring and z to store_norms,
//   since other blocks of the head still read them.
// grid (H·e / 16, B), block 256; smem sizeof(TaylorPrefillShared)
// bytes  T·H·(2·f·e/16 + 2·e)·2; the state once
// bound  issue of instructions on H·e / 16 multiprocessors: not measured
// ref    backend.cpu.Reference (Taylor attention); TAYLOR_TOLERANCE
extern "C" __global__ void __launch_bounds__(PREFILL_THREADS) taylor_prefill(
    const int* __restrict__ activeSlots,         // [B]
    const long long* __restrict__ rowPositions,  // [B]
    const int* __restrict__ rowStarts,           // [B]
    const int* __restrict__ rowCounts,           // [B]
    const element* __restrict__ qkv,             // [T, H·(2f + e)]
    element* __restrict__ y,                     // [T, H·e] out
    unsigned char* state, long long slotBytes,
    long long sumsOffset,                        // u16 [H, 2, D, e]
    long long normsOffset,                       // f32 [H, D]
    long long keysOffset,                        // element [H, 32, f]
    long long valuesOffset,                      // element [H, 32, e]
    int heads, float scale, float epsilon,
    int headWidth,
    float* __restrict__ newNorms) {              // [B, H, D] out
    DYNAMIC_SHARED(taylorPrefillShared);
    TaylorPrefillShared& s = *(TaylorPrefillShared*)taylorPrefillShared;
    constexpr int F = FEATURE_DIM_MAX, D = FEATURES_MAX;
    awaitPredecessor();
    int slices = headWidth / SLICE, h = (int)blockIdx.x / slices, slice = (int)blockIdx.x % slices;
    int row = (int)blockIdx.y, thread = (int)threadIdx.x, warp = thread / WARP, lane = thread % WARP, e = headWidth;
    int slot = activeSlots[row];
    if (slot < 0) return;
    auto high = tensorOf<unsigned short>(state, slotBytes, slot, sumsOffset) + (long long)h * 2 * D * e + slice * SLICE;
    auto low = high + D * e;
    auto ringKeys = tensorOf<element>(state, slotBytes, slot, keysOffset) + h * FOLD_INTERVAL * F;
    auto ringValues = tensorOf<element>(state, slotBytes, slot, valuesOffset) + h * FOLD_INTERVAL * e + slice * SLICE;
    auto norms = tensorOf<float>(state, slotBytes, slot, normsOffset) + h * D;
    int stride = heads * (2 * F + e);
    long long start = rowPositions[row], end = start + rowCounts[row];
    const element* rowTokens = qkv + (long long)rowStarts[row] * stride;

    StatePart part = {};
    part.forEach([&](float& sum, int d, int column) {
        sum = column == SLICE ? norms[d] : joined(high[d * e + column], low[d * e + column]);
    });
    part.publish(s);

    // A row that begins at a block's first position first folds the block before, which is whole in the ring.
    long long first = start % FOLD_INTERVAL == 0 && start > 0 ? start - FOLD_INTERVAL : start / FOLD_INTERVAL * FOLD_INTERVAL;
    ChunkLoader loader;
    // Tokens of the row, before them those of the rings.
    auto fetch = [&](long long base) {
        int c0 = thread % 2 * 8;
        long long position = base + thread / 2;
        const element* token = rowTokens + (position - start) * stride;
        bool isHere = position >= start && position < end;
        int j = (int)(position % FOLD_INTERVAL);
        loader.query = isHere ? loadEight(token + h * F + c0) : zeroEight();
        loader.key = isHere             ? loadEight(token + heads * F + h * F + c0)
                     : position < start ? loadEight(ringKeys + j * F + c0)
                                        : zeroEight();
        loader.value = isHere             ? loadEight(token + 2 * heads * F + h * e + slice * SLICE + c0)
                       : position < start ? loadEight(ringValues + j * e + c0)
                                          : zeroEight();
    };
    fetch(first);
    for (long long base = first; base < end; base += CHUNK_TOKENS) {
        // All blocks but the last are folded.
        int folding = (int)min((end - base - 1) / FOLD_INTERVAL * FOLD_INTERVAL, (long long)CHUNK_TOKENS);
        loader.store(s);
        if (base + CHUNK_TOKENS < end) fetch(base + CHUNK_TOKENS);  // is there when this chunk is done
        __syncthreads();
        if (warp * 16 < folding) storeKeyFeatures(s);
        long long position = base + warp * 16;
        if (position + 16 > start && position < end) {
            float sums[COLUMN_TILES][4] = {}, lowSums[COLUMN_TILES][4] = {};
            addState(s, scale, sums, lowSums);
            addChunk(s, scale, sums, lowSums);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float below = sums[COLUMN_TILES - 1][2 * i] + lowSums[COLUMN_TILES - 1][2 * i];
                below = __shfl_sync(0xffffffffu, below, lane / 4 * 4) + epsilon;
                long long at = position + lane / 4 + i * 8;
                if (at < start || at >= end) continue;
                element* out = y + (rowStarts[row] + at - start) * heads * e + h * e + slice * SLICE + lane % 4 * 2;
#pragma unroll
                for (int n = 0; n < COLUMN_TILES - 1; n++) {
#pragma unroll
                    for (int c = 0; c < 2; c++)
                        store(&out[n * 8 + c], (sums[n][2 * i + c] + lowSums[n][2 * i + c]) / below);
                }
            }
        }
        __syncthreads();
        if (folding > 0) {
            part.fold(s, folding / 16);
            part.publish(s);
        }
        __syncthreads();
    }
    part.forEach([&](float& sum, int d, int column) {
        if (column < SLICE) {
            unsigned bits = __float_as_uint(sum);
            high[d * e + column] = (unsigned short)((bits + 0x8000u) >> 16);
            low[d * e + column] = (unsigned short)bits;
        } else if (slice == 0) {
            newNorms[((long long)row * heads + h) * D + d] = sum;
        }
    });
}

// store_norms: z of taylor_prefill into the state.
// grid (B), block 256
// bytes  B·H·D·8
// bound  latency: not measured
// ref    a copy
extern "C" __global__ void __launch_bounds__(256) store_norms(
    const int* __restrict__ activeSlots,   // [B]
    const float* __restrict__ newNorms,    // [B, n]
    unsigned char* state, long long slotBytes,
    long long normsOffset,                 // f32 [n]
    int n) {                               // H·D
    awaitPredecessor();
    int slot = activeSlots[blockIdx.x];
    if (slot < 0) return;
    auto norms = tensorOf<float>(state, slotBytes, slot, normsOffset);
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) norms[i] = newNorms[(long long)blockIdx.x * n + i];
}
