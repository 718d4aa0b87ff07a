// RMSNorm and LayerNorm of the residual stream.
#include "common.cuh"

enum NormKind { NORM_RMS = 0, NORM_LAYER = 1 };

constexpr int NORM_THREADS = 128;
constexpr int NORM_FOURS = 4;  // quadruples a thread holds: widths up to 2,048; wider ones are read again

// normalize: x = norm(r + preceding bias) for every token, or for picked ones; r takes the bias unless tokens are picked.
//   Statistics in f32, the mean first.
// grid (T), block 128; smem 256 B
// bytes  T·d·(4 + 2), 4 more where there is a bias
// bound  memory: 5.3 us for 2,048 x 1,792, 4.2 of 4.4 TB/s; 1.8 us for 256 x 1,792 from the cache (H200, 2026-11-29)
// ref    backend.cpu.Reference (norm)
extern "C" __global__ void __launch_bounds__(NORM_THREADS) normalize(
    float* __restrict__ residual,           // [T, d] in/out
    const int* __restrict__ picks,          // [T] token to read, or null
    const element* __restrict__ preceding,  // [d] bias of the projection before, or null
    const element* __restrict__ weight,     // [d]
    const element* __restrict__ bias,       // [d] or null
    element* __restrict__ x,                // [T, d] out
    int width, float epsilon, int kind) {
    __shared__ float scratch[64];
    int thread = (int)threadIdx.x, fours = width / 4;
    bool isHeld = width % 4 == 0 && fours <= NORM_FOURS * NORM_THREADS;
    Four weights[NORM_FOURS];
#pragma unroll
    for (int n = 0; n < NORM_FOURS; n++) {
        int four = thread + n * NORM_THREADS;
        if (isHeld && four < fours) weights[n] = loadFour(weight + four * 4);
    }
    awaitPredecessor();
    long long token = picks ? picks[blockIdx.x] : (int)blockIdx.x;
    float* r = residual + token * width;
    element* out = x + (long long)blockIdx.x * width;
    if (isHeld) {
        float v[NORM_FOURS][4];
#pragma unroll
        for (int n = 0; n < NORM_FOURS; n++) {
            int four = thread + n * NORM_THREADS;
            float4 read = four < fours ? ((const float4*)r)[four] : float4{0, 0, 0, 0};
            v[n][0] = read.x, v[n][1] = read.y, v[n][2] = read.z, v[n][3] = read.w;
        }
        float sum = 0;
#pragma unroll
        for (int n = 0; n < NORM_FOURS; n++) {
            int four = thread + n * NORM_THREADS;
            if (preceding && four < fours) {
                Four before = loadFour(preceding + four * 4);
#pragma unroll
                for (int i = 0; i < 4; i++) v[n][i] += before.at(i);
                if (!picks) ((float4*)r)[four] = float4{v[n][0], v[n][1], v[n][2], v[n][3]};
            }
#pragma unroll
            for (int i = 0; i < 4; i++) sum = kind == NORM_RMS ? __fmaf_rn(v[n][i], v[n][i], sum) : sum + v[n][i];
        }
        sum = blockSum(sum, scratch);
        float mean = 0;
        if (kind == NORM_LAYER) {
            mean = sum / width;
            sum = 0;
#pragma unroll
            for (int n = 0; n < NORM_FOURS; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float centered = thread + n * NORM_THREADS < fours ? v[n][i] - mean : 0.0f;
                    sum = __fmaf_rn(centered, centered, sum);
                }
            }
            sum = blockSum(sum, scratch + 32);
        }
        float factor = 1.0f / sqrtf(sum / width + epsilon);
#pragma unroll
        for (int n = 0; n < NORM_FOURS; n++) {
            int four = thread + n * NORM_THREADS;
            if (four >= fours) break;
            float normed[4];
#pragma unroll
            for (int i = 0; i < 4; i++) normed[i] = (v[n][i] - mean) * factor * weights[n].at(i);
            if (bias) {
                Four shift = loadFour(bias + four * 4);
#pragma unroll
                for (int i = 0; i < 4; i++) normed[i] += shift.at(i);
            }
            storeFour(out + four * 4, normed);
        }
        return;
    }
    float sum = 0;
    for (int i = thread; i < width; i += NORM_THREADS) {
        float v = r[i];
        if (preceding) {
            v += widen(preceding[i]);
            if (!picks) r[i] = v;
        }
        sum = kind == NORM_RMS ? __fmaf_rn(v, v, sum) : sum + v;
    }
    sum = blockSum(sum, scratch);
    float mean = 0;
    if (kind == NORM_LAYER) {
        mean = sum / width;
        sum = 0;
        for (int i = thread; i < width; i += NORM_THREADS) {
            float v = r[i] - mean;
            if (preceding && picks) v += widen(preceding[i]);
            sum = __fmaf_rn(v, v, sum);
        }
        sum = blockSum(sum, scratch + 32);
    }
    float factor = 1.0f / sqrtf(sum / width + epsilon);
    for (int i = thread; i < width; i += NORM_THREADS) {
        float v = r[i];
        if (preceding && picks) v += widen(preceding[i]);
        v = (v - mean) * factor * widen(weight[i]);
        if (bias) v += widen(bias[i]);
        store(&out[i], v);
    }
}
