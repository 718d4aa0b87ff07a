// Taylor linear attention over many tokens of a row, on the tensor cores. A row is gone through in chunks of 128 tokens,
// four of the aligned blocks of 32 that decoding folds in: each token reads S as it was before its chunk, and the tokens
// of the chunk before it directly. taylor_states goes from chunk to chunk and leaves S as it is before each;
// taylor_outputs then makes the outputs of all chunks at once.
//
// Products are of bf16 with sums in f32. What is not bf16 by itself, features and S, is split into two, value and
// remainder, so that a product is off by 2⁻¹⁶. The products of two entries of a bf16 key are exact in that form.
//
// Features have another order here than in the state: a thread that has columns 2c, 2c + 1, 2c + 8, 2c + 9 of a matrix
// product makes those features alone whose first entry is x_{4a+c}, so that all its indices are known to the compiler.
// Slots that hold no feature, as i > j there, are zero; one of them is the constant feature.
#include "matrix.cuh"

constexpr int CHUNK_TOKENS = 4 * FOLD_INTERVAL;
constexpr int FEATURE_STEPS = 11;                          // of 16 features: 4 slots of each of 4 threads
constexpr int SLICE = 16;                                  // columns of a block of taylor_states; mirrored by MixerKernels
constexpr int STATES_THREADS = FEATURE_STEPS * WARP;       // a warp has the slots of one step
constexpr int PAIRS_MAX = 4;                               // of tiles of 8 columns, of a block of taylor_outputs
constexpr int TILES_MAX = 2 * PAIRS_MAX + 1;               // the last has z for a column
constexpr int OUTPUTS_THREADS = CHUNK_TOKENS / 16 * WARP;  // a warp has 16 tokens
constexpr int VECTOR_STRIDE = 24;                          // of 16 entries, no bank twice
constexpr int QUERY_STRIDE = 20;
constexpr int KEY_STRIDE = CHUNK_TOKENS + 8;               // transposed
constexpr int VALUE_STRIDE = PAIRS_MAX * 16 + 8;
constexpr int ONES = FEATURE_DIM_MAX, ZEROS = ONES + 1;    // rows after a key's entries
#ifdef BASALT_F32
constexpr bool ARE_SPLIT = true;  // queries, keys and values too
#else
constexpr bool ARE_SPLIT = false;
#endif

static_assert(FEATURE_DIM_MAX == 16 && FEATURE_STEPS == 11 && FOLD_INTERVAL % 16 == 0, "a block of 16 tokens is folded or not");

// What taylor_outputs is told of a chunk.
struct TaylorChunk {
    int slot;      // -1 for none
    int token;     // flat, of the chunk's first position, which may be before the row
    int from, to;  // places in the chunk that are the row's; those before are in the ring
};

// Most chunks that a row of so many tokens has, wherever it begins; mirrored by MixerKernels.
__device__ __forceinline__ int chunkCountMax(int tokens) { return (tokens + FOLD_INTERVAL + CHUNK_TOKENS - 1) / CHUNK_TOKENS; }

// Two values as a word of bf16, and what that leaves of them.
__device__ __forceinline__ unsigned splitTwo(float& a, float& b) {
    unsigned high = bf16Pair(a, b);
    a -= __uint_as_float(high << 16);
    b -= __uint_as_float(high & 0xffff0000u);
    return high;
}

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
                 : "r"(address));
#else
    for (int i = 0; i < 4; i++) {
        const bf16* at = p + (lane % 4 * 2 + i / 2 * 8) * stride + lane / 4 + i % 2 * 8;
        words[i] = at[0].bits | (unsigned)at[stride].bits << 16;
    }
#endif
}

// Eight elements, and where they are no bf16 the remainders, as bf16.
__device__ __forceinline__ void storeSplit(bf16* high, bf16* low, const Eight& v) {
#ifdef BASALT_F32
    for (int i = 0; i < 8; i++) {
        store(&high[i], v.at(i));
        store(&low[i], v.at(i) - widen(high[i]));
    }
#else
    *(uint4*)high = v.low;
#endif
}

// The same of elements in global memory, or of zeros, by a copy that goes on while the thread does.
__device__ __forceinline__ void startSplit(bf16* high, bf16* low, const element* from, bool isThere) {
#if defined(__CUDACC__) && !defined(BASALT_F32)
    unsigned address = (unsigned)__cvta_generic_to_shared(high), bytes = isThere ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
#else
    storeSplit(high, low, isThere ? loadEight(from) : zeroEight());
#endif
}

// The two rows of keys whose product is in a slot. Slots 16·s + 4·c + r are the products 4·s + r of x_{4a+c} with
// x_{4a}, x_{4a+1}, ... for a from 0 on, then x_{4a+c} itself.
__device__ __forceinline__ void findFactors(int slot, int& i, int& j) {
    int n = slot / 16 * 4 + slot % 4, c = slot / 4 % 4, a = n < 16 ? 0 : n < 28 ? 1 : n < 36 ? 2 : 3;
    int first = a == 0 ? 0 : a == 1 ? 16 : a == 2 ? 28 : 36;
    i = 4 * a + c, j = 4 * a + n - first;
    if (n >= 40) {
        i = ONES, j = 4 * (n - 40) + c;
    } else if (slot == 4) {
        i = j = ONES;  // x_1·x_0
    } else if (j < i) {
        i = j = ZEROS;
    }
}

// Feature of the state that is in a slot, -1 for none.
__device__ __forceinline__ int featureOfSlot(int slot) {
    int i, j;
    findFactors(slot, i, j);
    if (i == ZEROS) return -1;
    if (j == ONES) return 0;
    if (i == ONES) return 1 + j;
    return 1 + FEATURE_DIM_MAX + i * FEATURE_DIM_MAX - i * (i - 1) / 2 + j - i;
}

// The products of two entries of two tokens, and their remainders: exact in bf16, and rounded once otherwise.
__device__ __forceinline__ void multiplyTwo(const element* a, const element* b, unsigned& high, unsigned& low) {
#if defined(__CUDACC__) && !defined(BASALT_F32)
    unsigned x = *(const unsigned*)a, y = *(const unsigned*)b, minus = 0x80008000u;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(high) : "r"(x), "r"(y), "r"(minus));
    asm("{.reg .b32 n; neg.bf16x2 n, %3; fma.rn.bf16x2 %0, %1, %2, n;}" : "=r"(low) : "r"(x), "r"(y), "r"(high));
#else
    float first = widen(a[0]) * widen(b[0]), second = widen(a[1]) * widen(b[1]);
    high = splitTwo(first, second);
    low = bf16Pair(first, second);
#endif
}

struct TaylorStatesShared {  // of one chunk and the next
    element keys[2][ZEROS + 1][KEY_STRIDE];
    bf16 values[2][1 + ARE_SPLIT][CHUNK_TOKENS][VECTOR_STRIDE];
};

// A warp's part of S: the slots of a step, transposed: 16 columns x 2 tiles of slots, or z for the only column. Slots of a
// tile are such that a thread has the words that taylor_outputs multiplies with: 4c + 2·tile and the next of columns
// lane / 4 and 8 more.
template <bool IS_NORM>
struct StatePart {
    float sums[2][4];

    __device__ __forceinline__ static int step() { return (int)threadIdx.x / WARP; }

    // f(sum, feature, column) for all of it that is in the state.
    template <typename F>
    __device__ __forceinline__ void forEach(F f) {
        int lane = (int)threadIdx.x % WARP;
        if (IS_NORM && lane >= 4) return;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int feature = featureOfSlot(step() * 16 + lane % 4 * 4 + i);
            if (feature < 0) continue;
            f(sums[i / 2][i % 2], feature, lane / 4);
            if (!IS_NORM) f(sums[i / 2][2 + i % 2], feature, lane / 4 + 8);
        }
    }

    // For the tokens of the next chunk: two tiles of columns, or z alone.
    __device__ __forceinline__ void publish(uint4* tiles) const {
#pragma unroll
        for (int half = 0; half < (IS_NORM ? 1 : 2); half++) {
            float v[4] = {sums[0][2 * half], sums[0][2 * half + 1], sums[1][2 * half], sums[1][2 * half + 1]};
            unsigned first = splitTwo(v[0], v[1]), second = splitTwo(v[2], v[3]);
            tiles[half * WARP] = make_uint4(first, second, bf16Pair(v[0], v[1]), bf16Pair(v[2], v[3]));
        }
    }

    // 16 tokens of the chunk; places: of the thread's first token in the two rows of keys of its slot of each tile.
    __device__ __forceinline__ void foldStep(const TaylorStatesShared& s, int buffer, const int (*places)[2], int token0,
                                             float (*low)[4]) {
        Split<4> values = {};
        if (IS_NORM) {  // a row of ones
            values.high[0] = values.high[2] = (int)threadIdx.x % WARP < 4 ? 0x3f803f80u : 0;
        } else {
            loadTransposed(values.high, &s.values[buffer][0][token0][0], VECTOR_STRIDE);
            if (ARE_SPLIT) loadTransposed(values.low, &s.values[buffer][ARE_SPLIT][token0][0], VECTOR_STRIDE);
        }
        const element* keys = s.keys[buffer][0] + token0;
#pragma unroll
        for (int tile = 0; tile < 2; tile++) {
            Split<2> features;
#pragma unroll
            for (int i = 0; i < 2; i++)
                multiplyTwo(keys + places[tile][0] + 8 * i, keys + places[tile][1] + 8 * i, features.high[i], features.low[i]);
            multiply(sums[tile], values.high[0], values.high[1], values.high[2], values.high[3], features.high[0],
                     features.high[1]);
            multiply(low[tile], values.high[0], values.high[1], values.high[2], values.high[3], features.low[0],
                     features.low[1]);
            if (ARE_SPLIT)
                multiply(low[tile], values.low[0], values.low[1], values.low[2], values.low[3], features.high[0],
                         features.high[1]);
        }
    }

    // The first tokens of the chunk.
    __device__ __forceinline__ void fold(const TaylorStatesShared& s, int buffer, const int (*places)[2], int tokens) {
        float low[2][4] = {};
        if (tokens == CHUNK_TOKENS) {
#pragma unroll
            for (int token = 0; token < CHUNK_TOKENS; token += 16) foldStep(s, buffer, places, token, low);
        } else {
#pragma unroll 1
            for (int token = 0; token < tokens; token += 16) foldStep(s, buffer, places, token, low);
        }
#pragma unroll
        for (int tile = 0; tile < 2; tile++) {
#pragma unroll
            for (int i = 0; i < 4; i++) sums[tile][i] += low[tile][i];
        }
    }
};

// Which chunks of a row a launch is for: [from, to) of the row's, of which the first is number index of the launch's.
struct ChunkRange {
    int from, to, index;
};

// A launch is for the chunks numbered [first, first + count) of all rows, each of which counts as many as it may have.
__device__ __forceinline__ ChunkRange rangeOf(const int* rowCounts, int row, int chunks, int first, int count) {
    int before = 0;
    for (int r = (int)threadIdx.x % WARP; r < row; r += WARP) before += chunkCountMax(rowCounts[r]);
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask >>= 1) before += __shfl_xor_sync(0xffffffffu, before, mask);
    int from = max(first - before, 0);
    return {from, min(first + count - before, chunks), before + from - first};
}

// A row as taylor_states goes through it, and the block's part of its slot and of what it leaves. Places count from the
// first chunk's beginning: the row's tokens are [from, to).
struct TaylorStates {
    int from, to;
    ChunkRange range;
    const element *keys, *values;          // of place 0, the block's columns; may lie before the row
    const element *ringKeys, *ringValues;  // of place 0
    int stride, width;                     // of tokens, and e
    unsigned short *high, *low;            // S: u16 [D, e], the block's columns
    float* norms;
    uint4* chunkStates;                    // of the range's first chunk, the block's first tile of the warp's step
    long long chunkStride;
};

template <bool IS_NORM>
__device__ __forceinline__ void walk(TaylorStatesShared& s, const TaylorStates& p) {
    int thread = (int)threadIdx.x, lane = thread % WARP;
    // Tokens of the row, before them those of the ring: a thread loads half of a key and of a value.
    int keyToken = thread % CHUNK_TOKENS, keyPart = thread / CHUNK_TOKENS * 8;
    int valueToken = thread / 2, valuePart = thread % 2 * 8;
    bool isLoading = thread < 2 * CHUNK_TOKENS;
    Eight key, value;
    int place0 = p.range.from * CHUNK_TOKENS;  // of the chunk that is fetched next
    const element* keyFrom = p.keys + (long long)(place0 + keyToken) * p.stride + keyPart;
    const element* valueFrom = p.values + (long long)(place0 + valueToken) * p.stride + valuePart;
    auto fetch = [&] {
        if (!isLoading) return;
        key = value = zeroEight();
        bool isFirst = place0 == 0;  // of the row, before which there is the ring
        if (place0 + keyToken < p.to)
            key = loadEight(isFirst && keyToken < p.from ? p.ringKeys + keyToken * FEATURE_DIM_MAX + keyPart : keyFrom);
        if (!IS_NORM && place0 + valueToken < p.to)
            value = loadEight(isFirst && valueToken < p.from ? p.ringValues + valueToken * p.width + valuePart : valueFrom);
        place0 += CHUNK_TOKENS;
        keyFrom += (long long)CHUNK_TOKENS * p.stride;
        valueFrom += (long long)CHUNK_TOKENS * p.stride;
    };
    // All blocks but the row's last are folded.
    auto foldingOf = [&](int c) {
        return min((p.to - c * CHUNK_TOKENS - 1) / FOLD_INTERVAL * FOLD_INTERVAL, CHUNK_TOKENS);
    };
    fetch();

    StatePart<IS_NORM> part = {};
    part.forEach([&](float& sum, int d, int column) {
        sum = IS_NORM ? p.norms[d] : joined(p.high[d * p.width + column], p.low[d * p.width + column]);
    });
    int places[2][2];
#pragma unroll
    for (int tile = 0; tile < 2; tile++) {
        int n = lane / 4;
        findFactors(part.step() * 16 + n / 2 * 4 + 2 * tile + n % 2, places[tile][0], places[tile][1]);
#pragma unroll
        for (int i = 0; i < 2; i++) places[tile][i] = places[tile][i] * KEY_STRIDE + lane % 4 * 2;
    }
    for (int i = thread; i < 4 * CHUNK_TOKENS; i += STATES_THREADS) {
        int isZero = i / CHUNK_TOKENS % 2;
        store(&s.keys[i / (2 * CHUNK_TOKENS)][ONES + isZero][i % CHUNK_TOKENS], isZero ? 0.0f : 1.0f);
    }

    uint4* chunkStates = p.chunkStates + lane;
    for (int c = p.range.from; c < p.range.to; c++) {
        part.publish(chunkStates);
        chunkStates += p.chunkStride;
        int folding = foldingOf(c), buffer = c % 2;
        if (folding == 0) break;
        if (isLoading) {
#pragma unroll
            for (int i = 0; i < 8; i++) store(&s.keys[buffer][keyPart + i][keyToken], key.at(i));
            auto to = s.values[buffer];
            if (!IS_NORM) storeSplit(&to[0][valueToken][valuePart], &to[ARE_SPLIT][valueToken][valuePart], value);
        }
        if (c + 1 < p.range.to) fetch();  // is there when this chunk is done
        __syncthreads();
        part.fold(s, buffer, places, folding);
    }
    if (foldingOf(p.range.from) == 0) return;
    part.forEach([&](float& sum, int d, int column) {
        if (IS_NORM) {
            p.norms[d] = sum;
        } else {
            unsigned bits = __float_as_uint(sum);
            p.high[d * p.width + column] = (unsigned short)((bits + 0x8000u) >> 16);
            p.low[d * p.width + column] = (unsigned short)bits;
        }
    });
}

// taylor_states: S and z of rows of many tokens, as they are before each chunk and, into the state, after the last
//   block of 32 but one; f = 16, e a multiple of 16. Rings are left to write_ring.
// grid (H·(e / 16 + 1), B), block 352: 16 columns of a head, or its z; smem 22 KB
// bytes  T·H·(2·f·e/16 + 2·e); the state twice, and for each chunk once
// bound  reads of shared memory: 25.9 us for 16 chunks at H=16, e=112, H200, 2026-11-29
// ref    backend.cpu.Reference (Taylor attention); TAYLOR_TOLERANCE
extern "C" __global__ void __launch_bounds__(STATES_THREADS, 2) taylor_states(
    const int* __restrict__ activeSlots,         // [B]
    const long long* __restrict__ rowPositions,  // [B]
    const int* __restrict__ rowStarts,           // [B]
    const int* __restrict__ rowCounts,           // [B]
    const element* __restrict__ qkv,             // [T, H·(2f + e)]
    unsigned char* state, long long slotBytes,
    long long sumsOffset,                        // u16 [H, 2, D, e]
    long long normsOffset,                       // f32 [H, D]
    long long keysOffset,                        // element [H, 32, f]
    long long valuesOffset,                      // element [H, 32, e]
    int heads, int headWidth,
    int firstChunk, int chunkCount,              // of all rows' chunks
    TaylorChunk* __restrict__ chunks,            // [C] out
    uint4* __restrict__ chunkStates) {           // [C, H, 11, e/8 + 1, 32] out: as matrix products take it, z last
    __shared__ TaylorStatesShared s;
    constexpr int F = FEATURE_DIM_MAX, D = FEATURES_MAX;
    awaitPredecessor();
    int slices = headWidth / SLICE + 1, h = (int)blockIdx.x / slices, slice = (int)blockIdx.x % slices;
    int row = (int)blockIdx.y, thread = (int)threadIdx.x, e = headWidth, column = slice * SLICE;
    int slot = activeSlots[row], count = rowCounts[row], rowStart = rowStarts[row];
    long long start = rowPositions[row];
    // A row that begins at a block's first position first folds the block before, which is whole in the ring.
    int from = start % FOLD_INTERVAL == 0 && start > 0 ? FOLD_INTERVAL : (int)(start % FOLD_INTERVAL), to = from + count;
    int here = slot < 0 ? 0 : (to + CHUNK_TOKENS - 1) / CHUNK_TOKENS;
    ChunkRange range = rangeOf(rowCounts, row, chunkCountMax(count), firstChunk, chunkCount);
    if (blockIdx.x == 0) {
        int left = row == (int)gridDim.y - 1 ? chunkCount - range.index : range.to - range.from;
        for (int n = thread; n < left; n += STATES_THREADS) {
            int c = range.from + n, base = c * CHUNK_TOKENS;
            TaylorChunk chunk = {slot, rowStart - from + base, max(from - base, 0), min(to - base, CHUNK_TOKENS)};
            if (c >= here) chunk.slot = -1;
            chunks[range.index + n] = chunk;
        }
    }
    range.to = min(range.to, here);
    if (range.from >= range.to) return;

    auto high = tensorOf<unsigned short>(state, slotBytes, slot, sumsOffset) + (long long)h * 2 * D * e + column;
    int stride = heads * (2 * F + e), tiles = e / 8 + 1;
    const element* token = qkv + (long long)(rowStart - from) * stride;
    TaylorStates p = {
        from, to, range, token + (heads + h) * F, token + 2 * heads * F + h * e + column,
        tensorOf<element>(state, slotBytes, slot, keysOffset) + h * FOLD_INTERVAL * F,
        tensorOf<element>(state, slotBytes, slot, valuesOffset) + h * FOLD_INTERVAL * e + column,
        stride, e, high, high + D * e, tensorOf<float>(state, slotBytes, slot, normsOffset) + h * D,
        chunkStates + (((long long)range.index * heads + h) * FEATURE_STEPS + thread / WARP) * tiles * WARP + 2 * slice * WARP,
        (long long)heads * FEATURE_STEPS * tiles * WARP};
    if (slice == slices - 1) {
        walk<true>(s, p);
    } else {
        walk<false>(s, p);
    }
}

struct TaylorOutputsShared {
    uint4 state[FEATURE_STEPS][TILES_MAX][WARP];
    float queries[CHUNK_TOKENS][QUERY_STRIDE];  // scaled
    element keys[CHUNK_TOKENS][VECTOR_STRIDE];
    bf16 values[1 + ARE_SPLIT][CHUNK_TOKENS][VALUE_STRIDE];
};

// Two words of a vector's entries, as operands have them.
__device__ __forceinline__ void loadVector(const float* p, unsigned* high, unsigned* low) {
    int c = (int)threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float first = p[2 * c + 8 * i], second = p[2 * c + 8 * i + 1];
        high[i] = splitTwo(first, second);
        low[i] = bf16Pair(first, second);
    }
}
__device__ __forceinline__ void loadVector(const bf16* p, unsigned* high, unsigned* low) {
    int c = (int)threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 2; i++) high[i] = *(const unsigned*)(p + 2 * c + 8 * i), low[i] = 0;
}

// A step of the slots: products of the x_{4a+c} with four entries, or, after all of these, x_{4a+c} for each a.
struct FeatureStep {
    int own = 0, other = 0;  // 4a, first of the four

    __device__ __forceinline__ void advance() {
        other += 4;
        if (other == FEATURE_DIM_MAX) other = own += 4;
    }
};

// A step of the features of two tokens as operand a; x_i² counts half.
__device__ __forceinline__ Split<4> queryFeatures(const float* const* queries, FeatureStep step) {
    int c = (int)threadIdx.x % 4;
    Split<4> words;
#pragma unroll
    for (int token = 0; token < 2; token++) {
        const float* x = queries[token];
        float v[4];
        if (step.own == FEATURE_DIM_MAX) {
#pragma unroll
            for (int i = 0; i < 4; i++) v[i] = x[4 * i + c];
        } else {
            float4 others = *(const float4*)(x + step.other);
            float own = x[step.own + c];
            v[0] = own * others.x, v[1] = own * others.y, v[2] = own * others.z, v[3] = own * others.w;
            if (step.own == step.other) {
#pragma unroll
                for (int i = 0; i < 4; i++) v[i] = i < c ? 0.0f : i == c ? 0.5f * v[i] : v[i];
                if (step.own == 0 && c == 1) v[0] = 1.0f;
            }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            words.high[2 * half + token] = splitTwo(v[2 * half], v[2 * half + 1]);
            words.low[2 * half + token] = bf16Pair(v[2 * half], v[2 * half + 1]);
        }
    }
    return words;
}

// Quotients by one number, rounded as division is but where it or they come near the limits of f32.
struct Divisor {
    float below, inverse;

    __device__ __forceinline__ explicit Divisor(float v) : below(v) {
#if defined(__CUDACC__) && !defined(BASALT_F32)
        asm("rcp.approx.f32 %0, %1;" : "=f"(inverse) : "f"(v));
        inverse = __fmaf_rn(__fmaf_rn(-v, inverse, 1.0f), inverse, inverse);
#endif
    }
    __device__ __forceinline__ float quotient(float v) const {
#if defined(__CUDACC__) && !defined(BASALT_F32)
        float estimate = v * inverse;
        return __fmaf_rn(__fmaf_rn(-below, estimate, v), inverse, estimate);
#else
        return v / below;
#endif
    }
};

// Outputs of 16 tokens in PAIRS pairs of tiles of columns; the last tile is φ(q)·z and the weights' sums.
template <int PAIRS>
struct Outputs {
    static constexpr int TILES = 2 * PAIRS + 1;
    float sums[TILES][4], lowSums[TILES][4];

    // sums += φ(q)·S of a step, whose words of S are there
    __device__ __forceinline__ void addState(const uint4 (*state)[WARP], const Split<4>& a) {
        uint4 b = state[0][(int)threadIdx.x % WARP];
#pragma unroll
        for (int n = 0; n < TILES; n++) {
            multiply(sums[n], a.high[0], a.high[1], a.high[2], a.high[3], b.x, b.y);
            multiply(lowSums[n], a.low[0], a.low[1], a.low[2], a.low[3], b.x, b.y);
            unsigned low[2] = {b.z, b.w};
            if (n + 1 < TILES) b = state[n + 1][(int)threadIdx.x % WARP];
            multiply(lowSums[n], a.high[0], a.high[1], a.high[2], a.high[3], low[0], low[1]);
        }
    }

    // sums += p(q·k)·v of the keys of the chunk up to each of the tokens of a tile of 16.
    __device__ __forceinline__ void addChunk(const TaylorOutputsShared& s, const float* const* queries, int tile) {
        int lane = (int)threadIdx.x % WARP;
        Split<4> query;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            unsigned high[2], low[2];
            loadVector(queries[half], high, low);
            query.high[half] = high[0], query.high[2 + half] = high[1], query.low[half] = low[0], query.low[2 + half] = low[1];
        }
#pragma unroll 1
        for (int keys = 0; keys <= tile; keys++) {  // tiles of 16
            Split<4> weights;
#pragma unroll
            for (int part = 0; part < 2; part++) {
                Split<2> key;
                float dots[4] = {}, lowDots[4] = {};
                loadVector(s.keys[keys * 16 + part * 8 + lane / 4], key.high, key.low);
                multiply(dots, query.high[0], query.high[1], query.high[2], query.high[3], key.high[0], key.high[1]);
                if (ARE_SPLIT) {
                    multiply(lowDots, query.low[0], query.low[1], query.low[2], query.low[3], key.high[0], key.high[1]);
                    multiply(lowDots, query.high[0], query.high[1], query.high[2], query.high[3], key.low[0], key.low[1]);
                }
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    dots[i] = taylorWeight(ARE_SPLIT ? dots[i] + lowDots[i] : dots[i]);
                    if (keys == tile && lane / 4 + i / 2 * 8 < part * 8 + lane % 4 * 2 + i % 2) dots[i] = 0;
                }
                weights.high[2 * part] = splitTwo(dots[0], dots[1]);
                weights.high[2 * part + 1] = splitTwo(dots[2], dots[3]);
                weights.low[2 * part] = bf16Pair(dots[0], dots[1]);
                weights.low[2 * part + 1] = bf16Pair(dots[2], dots[3]);
            }
#pragma unroll
            for (int pair = 0; pair < PAIRS; pair++) {
                unsigned high[4], low[4] = {};
                loadTransposed(high, &s.values[0][keys * 16][pair * 16], VALUE_STRIDE);
                if (ARE_SPLIT) loadTransposed(low, &s.values[ARE_SPLIT][keys * 16][pair * 16], VALUE_STRIDE);
#pragma unroll
                for (int i = 0; i < 2; i++)
                    multiplySplit<ARE_SPLIT>(sums[2 * pair + i], lowSums[2 * pair + i], weights,
                                             Split<2>{{high[i], high[2 + i]}, {low[i], low[2 + i]}});
            }
            unsigned ones = lane / 4 == 0 ? 0x3f803f80u : 0;
            multiplySplit<false>(sums[TILES - 1], lowSums[TILES - 1], weights, Split<2>{{ones, ones}, {}});
        }
    }

    // The quotients to columns [0, 16·PAIRS) of y [tokens, width], of the tokens that are the row's.
    __device__ __forceinline__ void store(element* y, int width, int token0, const TaylorChunk& chunk, float epsilon) const {
        int lane = (int)threadIdx.x % WARP;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float below = sums[TILES - 1][2 * i] + lowSums[TILES - 1][2 * i];
            Divisor divisor(__shfl_sync(0xffffffffu, below, lane / 4 * 4) + epsilon);
            int token = token0 + lane / 4 + i * 8;
            if (token < chunk.from || token >= chunk.to) continue;
            element* out = y + (long long)token * width + lane % 4 * 2;
#pragma unroll
            for (int n = 0; n < TILES - 1; n++) {
                float first = divisor.quotient(sums[n][2 * i] + lowSums[n][2 * i]);
                float second = divisor.quotient(sums[n][2 * i + 1] + lowSums[n][2 * i + 1]);
#ifdef BASALT_F32
                out[n * 8] = first, out[n * 8 + 1] = second;
#else
                *(unsigned*)(out + n * 8) = bf16Pair(first, second);
#endif
            }
        }
    }
};

// What taylor_outputs is told, and which part of it a block does.
struct TaylorOutputs {
    const element* qkv;
    element* y;
    const element *ringKeys, *ringValues;  // of the slot and head, values from the block's first column on
    const uint4* state;                    // of the chunk and head
    TaylorChunk chunk;
    int heads, h, firstColumn, headWidth;
    float scale, epsilon;
};

template <int PAIRS>
__device__ __forceinline__ void makeOutputs(TaylorOutputsShared& s, const TaylorOutputs& p) {
    constexpr int F = FEATURE_DIM_MAX, GROUP = 4;  // steps of S that are waited for together
    int thread = (int)threadIdx.x, warp = thread / WARP, lane = thread % WARP, e = p.headWidth, tiles = e / 8 + 1;

    // Tokens of the row, before them those of the ring: a thread brings half of a query and of a key, and of each 16 columns.
    int place = thread / 2, part0 = thread % 2 * 8, stride = p.heads * (2 * F + e);
    bool isHere = place >= p.chunk.from && place < p.chunk.to, isThere = place < p.chunk.to;
    const element* token = p.qkv + (long long)(p.chunk.token + place) * stride + part0;
    Eight query = isHere ? loadEight(token + p.h * F) : zeroEight();
    const uint4* state = p.state + p.firstColumn / 8 * WARP + thread;
    const uint4* norms = p.state + (tiles - 1) * WARP + lane;
    for (int from = 0; from < FEATURE_STEPS; from += GROUP) {
#pragma unroll
        for (int n = 0; n < GROUP; n++) {
            int step = from + n;
            if (step >= FEATURE_STEPS) continue;
            if (thread < 2 * PAIRS * WARP) startCopy(&s.state[step][0][thread], state + step * tiles * WARP);
            if (warp == step % (OUTPUTS_THREADS / WARP)) startCopy(&s.state[step][2 * PAIRS][lane], norms + step * tiles * WARP);
        }
        if (from + GROUP < FEATURE_STEPS) commitCopies();
    }
    const element* key = isHere ? token + (p.heads + p.h) * F : p.ringKeys + place % FOLD_INTERVAL * F + part0;
    const element* value = isHere ? token + 2 * p.heads * F + p.h * e + p.firstColumn
                                  : p.ringValues + place % FOLD_INTERVAL * e + part0;
#ifdef BASALT_F32
    storeEight(&s.keys[place][part0], isThere ? loadEight(key) : zeroEight());
#else
    startSplit(&s.keys[place][part0], nullptr, key, isThere);
#endif
#pragma unroll
    for (int n = 0; n < PAIRS; n++)
        startSplit(&s.values[0][place][n * 16 + part0], &s.values[ARE_SPLIT][place][n * 16 + part0], value + n * 16, isThere);
    commitCopies();
#pragma unroll
    for (int i = 0; i < 8; i++) s.queries[place][part0 + i] = query.at(i) * p.scale;

    // Warps of one scheduler, w and w + 4, together see nine tiles of keys.
    int tile = warp < 4 ? warp : 11 - warp;
    bool isNeeded = tile * 16 + 16 > p.chunk.from && tile * 16 < p.chunk.to;
    const float* queries[2] = {s.queries[tile * 16 + lane / 4], s.queries[tile * 16 + lane / 4 + 8]};
    Outputs<PAIRS> outputs = {};
    FeatureStep features;
#pragma unroll 1
    for (int step = 0; step < FEATURE_STEPS; step++) {
        if (step % GROUP == 0) {
            if (step == 0) {
                awaitCopies<2>();
            } else if (step == GROUP) {
                awaitCopies<1>();
            } else {
                awaitCopies<0>();
            }
            __syncthreads();
        }
        if (isNeeded) outputs.addState(s.state[step], queryFeatures(queries, features));
        features.advance();
    }
    if (!isNeeded) return;
    outputs.addChunk(s, queries, tile);
    element* y = p.y + (long long)p.chunk.token * p.heads * e + p.h * e + p.firstColumn;
    outputs.store(y, p.heads * e, tile * 16, p.chunk, p.epsilon);
}

// taylor_outputs: outputs of the chunks that taylor_states left; e a multiple of 16.
// grid (C, H·(e / 64 rounded up)), block 256: at most 64 columns of a head; smem sizeof(TaylorOutputsShared)
// bytes  C·H·(11·(e + 8)·64 + 128·(2·f + 2·e)·2)
// bound  issue of instructions: 25.6 us for 16 chunks at H=16, e=112, H200, 2026-11-29
// ref    backend.cpu.Reference (Taylor attention); TAYLOR_TOLERANCE
extern "C" __global__ void __launch_bounds__(OUTPUTS_THREADS, 2) taylor_outputs(
    const element* __restrict__ qkv,               // [T, H·(2f + e)]
    element* __restrict__ y,                       // [T, H·e] out
    const unsigned char* __restrict__ state, long long slotBytes,
    long long keysOffset,                          // element [H, 32, f]
    long long valuesOffset,                        // element [H, 32, e]
    int heads, int headWidth, float scale, float epsilon,
    const TaylorChunk* __restrict__ chunks,        // [C]
    const uint4* __restrict__ chunkStates) {       // [C, H, 11, e/8 + 1, 32]
    DYNAMIC_SHARED(taylorOutputsShared);
    TaylorOutputsShared& s = *(TaylorOutputsShared*)taylorOutputsShared;
    constexpr int F = FEATURE_DIM_MAX;
    awaitPredecessor();
    int e = headWidth, slices = (e + 16 * PAIRS_MAX - 1) / (16 * PAIRS_MAX);
    int h = (int)(blockIdx.y / (unsigned)slices), slice = (int)blockIdx.y - h * slices;
    TaylorChunk chunk = chunks[blockIdx.x];
    if (chunk.slot < 0) return;
    int firstPair = slice * PAIRS_MAX, pairs = min(e / 16 - firstPair, PAIRS_MAX);
    auto slotState = const_cast<unsigned char*>(state);
    TaylorOutputs p = {
        qkv, y, tensorOf<element>(slotState, slotBytes, chunk.slot, keysOffset) + h * FOLD_INTERVAL * F,
        tensorOf<element>(slotState, slotBytes, chunk.slot, valuesOffset) + h * FOLD_INTERVAL * e + firstPair * 16,
        chunkStates + ((long long)blockIdx.x * heads + h) * FEATURE_STEPS * (e / 8 + 1) * WARP, chunk, heads, h, firstPair * 16,
        e, scale, epsilon};
    if (pairs == 4) {
        makeOutputs<4>(s, p);
    } else if (pairs == 3) {
        makeOutputs<3>(s, p);
    } else if (pairs == 2) {
        makeOutputs<2>(s, p);
    } else {
        makeOutputs<1>(s, p);
    }
}
