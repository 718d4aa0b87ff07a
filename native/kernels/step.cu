// The frame of a step: opening it from the rows' control records, and what moves rows and rings around.
#include "common.cuh"

// begin: opens a step: which rows are live, their positions, the residual stream, the rotary table and, for projections
//   that normalize late (see projection.cu), the first norm's input.
// grid (T), block 256; smem 128 B
// bytes  T·d·(2 + 4 + 2); tiny beside the weights
// bound  latency: 3.9 us for one token, 4.3 for 256 (H200, 2026-11-29)
// ref    backend.cpu.Reference (embedding, rotary angles in f64)
extern "C" __global__ void __launch_bounds__(256) begin(
    const int* __restrict__ rowSlots,          // [B], -1 for padding
    const int* __restrict__ rowStarts,         // [B], first flat token
    const int* __restrict__ tokenRows,         // [T]
    const int* __restrict__ tokens,            // [T], -1 where the row goes on from its last sampled token
    const SlotControl* __restrict__ controls,  // [S]
    int* __restrict__ activeSlots,             // [B] out, -1 if the row must not touch its state
    long long* __restrict__ rowPositions,      // [B] out
    const element* __restrict__ embedding,     // [Npad, d]
    const element* __restrict__ learned,       // [positionCount, d] or null
    int learnedCount,
    const double* __restrict__ frequencies,    // [r/2]
    int rotaryDim,                             // r
    float* __restrict__ rotary,                // [T, r] out: r/2 cosines, r/2 sines
    float* __restrict__ residual,              // [T, d] out
    const element* __restrict__ normWeight,    // [d] of the first norm
    element* __restrict__ x,                   // [T, d] out: r · w, not yet divided by the root
    float* __restrict__ squares,               // [T] out: sum of r²
    int width) {                               // d
    __shared__ float scratch[32];
    awaitPredecessor();
    int t = (int)blockIdx.x;
    int row = loadNow(tokenRows + t), token = loadNow(tokens + t);
    int slot = loadNow(rowSlots + row), inRow = t - loadNow(rowStarts + row);
    const SlotControl& control = controls[max(slot, 0)];
    int isFrozen = loadNow(&control.isFrozen), lastToken = loadNow(&control.lastToken);
    long long start = loadNow(&control.position);
    bool isActive = slot >= 0 && !isFrozen;
    if (!isActive) start = 0, token = 0;
    if (inRow == 0 && threadIdx.x == 0) {
        activeSlots[row] = isActive ? slot : -1;
        rowPositions[row] = start;
    }
    if (token < 0) token = max(lastToken, 0);
    long long position = start + inRow;
    float sum = 0;
    for (int i = (int)threadIdx.x; i < width; i += (int)blockDim.x) {
        float v = widen(embedding[(long long)token * width + i]);
        if (learned) v += widen(learned[min(position, (long long)learnedCount - 1) * width + i]);
        residual[(long long)t * width + i] = v;
        store(&x[(long long)t * width + i], v * widen(normWeight[i]));
        sum = __fmaf_rn(v, v, sum);
    }
    sum = blockSum(sum, scratch);
    if (threadIdx.x == 0) squares[t] = sum;
    for (int i = (int)threadIdx.x; i < rotaryDim / 2; i += (int)blockDim.x) {
        // In f64, reduced before the f32 functions: at position 100,000 an f32 angle is off by 6e-3.
        double turns = (double)position * frequencies[i];
        float angle = (float)((turns - rint(turns)) * 6.283185307179586);
        rotary[(long long)t * rotaryDim + i] = cosf(angle);
        rotary[(long long)t * rotaryDim + rotaryDim / 2 + i] = sinf(angle);
    }
}

// add_bias: x += bias for every token; for the projections whose consumer does not add it.
// grid (T), block 256
// bytes  T·n·4
// bound  memory: not measured
// ref    backend.cpu.Reference (linear)
extern "C" __global__ void __launch_bounds__(256) add_bias(
    element* __restrict__ x,            // [T, n] in/out
    const element* __restrict__ bias,   // [n]
    int n) {
    awaitPredecessor();
    element* p = x + (long long)blockIdx.x * n;
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) store(&p[i], widen(p[i]) + widen(bias[i]));
}

// gather: the picked tokens of two tensors.
// grid (P), block 256
// bytes  P·(n·4 + m·8)
// bound  latency: not measured
// ref    a copy
extern "C" __global__ void __launch_bounds__(256) gather(
    const int* __restrict__ picks,           // [P], flat tokens
    const element* __restrict__ elements,    // [T, n]
    const float* __restrict__ floats,        // [T, m]
    element* __restrict__ pickedElements,    // [P, n] out
    float* __restrict__ pickedFloats,        // [P, m] out
    int elementCount,                        // n
    int floatCount) {                        // m
    awaitPredecessor();
    long long from = picks[blockIdx.x], to = blockIdx.x;
    for (int i = (int)threadIdx.x; i < elementCount; i += (int)blockDim.x)
        pickedElements[to * elementCount + i] = elements[from * elementCount + i];
    for (int i = (int)threadIdx.x; i < floatCount; i += (int)blockDim.x)
        pickedFloats[to * floatCount + i] = floats[from * floatCount + i];
}

// gather_tails: the last tokens of rows: `tail` places for each row but those of one token, which come first with a place
//   each. A shorter row has its last token in the places that are left, which nothing reads.
// grid (places), block 256
// bytes  places·d·8
// bound  latency: not measured
// ref    a copy
extern "C" __global__ void __launch_bounds__(256) gather_tails(
    const int* __restrict__ rowStarts,           // [B]
    const int* __restrict__ rowCounts,           // [B]
    const long long* __restrict__ rowPositions,  // [B]
    const int* __restrict__ tokenRows,           // [T]
    const int* __restrict__ picks,               // [P], flat tokens, the last ones of rows or token 0; P <= places
    const float* __restrict__ residual,          // [T, d]
    int* __restrict__ tailStarts,                // [B] out, first place
    int* __restrict__ tailCounts,                // [B] out, places that are used
    long long* __restrict__ tailPositions,       // [B] out, of the first place
    int* __restrict__ tailRows,                  // [places] out
    int* __restrict__ tailPicks,                 // [P] out, places
    float* __restrict__ tailResidual,            // [places, d] out
    int pickCount, int singleCount, int tail, int width) {
    awaitPredecessor();
    int place = (int)blockIdx.x;
    int row = place < singleCount ? place : singleCount + (place - singleCount) / tail;
    auto startOf = [&](int r) { return r < singleCount ? r : singleCount + (r - singleCount) * tail; };
    int count = rowCounts[row], kept = min(count, tail), inTail = place - startOf(row);
    if (threadIdx.x == 0) {
        tailRows[place] = row;
        if (inTail == 0) {
            tailStarts[row] = place;
            tailCounts[row] = kept;
            tailPositions[row] = rowPositions[row] + count - kept;
        }
        if (place < pickCount) {
            int picked = tokenRows[picks[place]];
            tailPicks[place] = startOf(picked) + min(rowCounts[picked], tail) - 1;
        }
    }
    const float* from = residual + (long long)(rowStarts[row] + count - kept + min(inTail, kept - 1)) * width;
    float* to = tailResidual + (long long)place * width;
    for (int i = (int)threadIdx.x; i < width; i += (int)blockDim.x) to[i] = from[i];
}

// write_ring: keys and values of the last tokens of each row into their rings, after all readers of what they overwrite.
// grid (B·tokens), tokens = the fewer of ring rows and the longest row's tokens; block 128: eight elements a thread
// bytes  B·tokens·G·(w + v)·4
// bound  latency: not measured
// ref    StateLayout: the token of position p in row p mod ring
extern "C" __global__ void __launch_bounds__(128) write_ring(
    const int* __restrict__ activeSlots,         // [B]
    const long long* __restrict__ rowPositions,  // [B]
    const int* __restrict__ rowStarts,           // [B]
    const int* __restrict__ rowCounts,           // [B]
    const element* __restrict__ source,          // [T, stride], from column first on keys [G, w], then values [G, v]
    int stride, int first,
    unsigned char* __restrict__ state, long long slotBytes,
    long long keysOffset,                        // element [G, ring, w]
    long long valuesOffset,                      // element [G, ring, v]
    int ringRows, int groups, int keyWidth, int valueWidth, int tokens) {
    awaitPredecessor();
    int row = (int)blockIdx.x / tokens, slot = activeSlots[row];
    int inRow = rowCounts[row] - tokens + (int)blockIdx.x % tokens;
    if (slot < 0 || inRow < 0) return;
    int ringRow = (int)((rowPositions[row] + inRow) % ringRows);
    const element* from = source + (long long)(rowStarts[row] + inRow) * stride + first;
    int keys = groups * keyWidth;
    for (int i = (int)threadIdx.x * 8; i < keys + groups * valueWidth; i += (int)blockDim.x * 8) {
        bool isKey = i < keys;
        int width = isKey ? keyWidth : valueWidth, at = isKey ? i : i - keys;
        element* ring = tensorOf<element>(state, slotBytes, slot, isKey ? keysOffset : valuesOffset);
        storeEight(ring + ((long long)(at / width) * ringRows + ringRow) * width + at % width, loadEight(from + i));
    }
}

// read_probe: reads a buffer once; its time is the memory bound that other kernels are compared with.
// grid any, block 512
// bytes  16·count
// bound  memory by definition
// ref    none
extern "C" __global__ void __launch_bounds__(512) read_probe(
    const uint4* __restrict__ buffer,  // [count]
    long long count,
    unsigned* __restrict__ sink) {     // [1], written if all words are ones: never, but the compiler cannot know
    unsigned all = 0xffffffffu;
    long long stride = (long long)gridDim.x * blockDim.x;
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (; i + 7 * stride < count; i += 8 * stride) {
        uint4 v[8];
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] = buffer[i + j * stride];
#pragma unroll
        for (int j = 0; j < 8; j++) all &= v[j].x & v[j].y & v[j].z & v[j].w;
    }
    for (; i < count; i += stride) all &= buffer[i].x & buffer[i].y & buffer[i].z & buffer[i].w;
    if (all == 0xffffffffu) *sink = all;
}

// fill_random: random weights for benchmarks, uniform in [-scale, scale], from a seed.
// grid any, block 256
// bytes  n·2
// bound  memory: not measured
// ref    none: any numbers serve
extern "C" __global__ void __launch_bounds__(256) fill_random(
    element* __restrict__ out,  // [n]
    long long n, unsigned seed, float center, float scale) {
    long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        unsigned h = (unsigned)i * 2654435761u ^ ((unsigned)(i >> 32) + seed) * 0x9E3779B9u;
        h ^= h >> 16;
        h *= 0x85ebca6bu;
        h ^= h >> 13;
        h *= 0xc2b2ae35u;
        h ^= h >> 16;
        store(&out[i], center + scale * ((float)(h >> 8) * (2.0f / 16777216.0f) - 1.0f));
    }
}

// add_logits_bias: the head's bias, for the models that have one.
// grid (P), block 256
// bytes  P·N·8
// bound  memory: not measured
// ref    backend.cpu.Reference (head)
extern "C" __global__ void __launch_bounds__(256) add_logits_bias(
    float* __restrict__ logits,         // [P, n] in/out
    const element* __restrict__ bias,   // [n]
    int n) {
    awaitPredecessor();
    float* p = logits + (long long)blockIdx.x * n;
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) p[i] += widen(bias[i]);
}
