package basalt.engine.backend.cuda;

import basalt.engine.model.Mixer;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.SplittableRandom;
import java.util.stream.IntStream;

/**
 * What is left of Taylor attention's output after very many tokens: the kernels alone, on random queries, keys and
 * values, against sums in f64. Token by token, as decoding goes, and in chunks, as prompts go.
 */
final class LongTaylor {
    /** Relative error of the last outputs, which are bf16 and so off by 0.8e-3 at best. */
    static final double ERROR_MAX = 2e-3;

    private static final int HEADS = 4;
    private static final int F = 16;
    private static final int E = 112;
    private static final int D = 153;
    private static final int STRIDE = HEADS * (2 * F + E);
    private static final int FOLD = 32;
    private static final int COMPARED = 64; // last tokens
    private static final int CHUNK = 2_000; // tokens read at once
    private static final int CHUNKS_MAX = MixerKernels.taylorChunkCountMax(1, CHUNK); // that the kernels make of them
    private static final float SCALE = 0.5f; // 1 / √√f
    private static final Mixer.TaylorAttention MIXER = new Mixer.TaylorAttention(HEADS, F, E, F, 1e-12f);

    private final Device device;
    private final int tokenCount;
    private final MemorySegment qkv; // bf16 [T, STRIDE]: queries, keys, values
    private final MemorySegment small; // numbers on their way to the device
    private final KernelArguments arguments = new KernelArguments();
    private final long tokens;
    private final long outputs; // bf16 [T, HEADS · E]
    private final long row; // i32 slot, start, count, and i64 position
    private final long state; // sums, norms, keys, values
    private final long chunks; // i32 [CHUNKS_MAX, 4]
    private final long chunkStates; // for each

    LongTaylor(Device device, int tokenCount, long seed) {
        this.device = device;
        this.tokenCount = tokenCount;
        qkv = device.allocateMapped(2L * tokenCount * STRIDE);
        small = device.allocateMapped(64);
        tokens = device.allocate(2L * tokenCount * STRIDE);
        outputs = device.allocate(2L * tokenCount * HEADS * E);
        row = device.allocate(64);
        state = device.allocate(valuesOffset() + 2L * HEADS * FOLD * E);
        chunks = device.allocate(16L * CHUNKS_MAX);
        chunkStates = device.allocate(MixerKernels.taylorStateBytes(MIXER) * CHUNKS_MAX);
        var random = new SplittableRandom(seed);
        for (long i = 0; i < (long) tokenCount * STRIDE; i++) {
            boolean isValue = i % STRIDE >= 2 * HEADS * F;
            qkv.setAtIndex(
                    ValueLayout.JAVA_SHORT, i, SlotMemory.bf16((float) random.nextGaussian(isValue ? 0.5 : 0.2, 1)));
        }
        device.upload(tokens, qkv, 0, 2L * tokenCount * STRIDE);
        device.synchronize();
    }

    private static long normsOffset() {
        return 4L * HEADS * D * E;
    }

    private static long keysOffset() {
        return normsOffset() + 4L * HEADS * D;
    }

    private static long valuesOffset() {
        return keysOffset() + 2L * HEADS * FOLD * F;
    }

    /** Error of the last outputs when each token is consumed by itself. */
    double errorByTokens() {
        device.fill(state, 0, valuesOffset() + 2L * HEADS * FOLD * E);
        place(0, tokenCount);
        start();
        device.launch(Kernel.TAYLOR_STEP_112, HEADS, 1, 128, 0, arguments);
        return error();
    }

    /** Error of the last outputs when chunks are consumed. */
    double errorByChunks() {
        device.fill(state, 0, valuesOffset() + 2L * HEADS * FOLD * E);
        for (int from = 0; from < tokenCount; from += CHUNK) {
            int count = Math.min(CHUNK, tokenCount - from);
            place(from, count);
            int chunkCount = MixerKernels.taylorChunkCountMax(1, count);
            findStates(chunkCount);
            makeOutputs(chunkCount);
            writeRings(Math.min(count, FOLD));
            device.synchronize();
        }
        return error();
    }

    private void place(int from, int count) {
        small.set(ValueLayout.JAVA_INT, 0, 0);
        small.set(ValueLayout.JAVA_INT, 16, from);
        small.set(ValueLayout.JAVA_INT, 32, count);
        small.set(ValueLayout.JAVA_LONG, 48, from);
        device.upload(row, small, 0, 64);
    }

    private void start() {
        arguments
                .clear()
                .add(row)
                .add(row + 48)
                .add(row + 16)
                .add(row + 32)
                .add(tokens)
                .add(outputs)
                .add(state)
                .add(0L)
                .add(0L)
                .add(normsOffset())
                .add(keysOffset())
                .add(valuesOffset())
                .add(HEADS)
                .add(SCALE)
                .add(1e-12f);
    }

    private void findStates(int chunkCount) {
        arguments
                .clear()
                .add(row)
                .add(row + 48)
                .add(row + 16)
                .add(row + 32)
                .add(tokens)
                .add(state)
                .add(0L)
                .add(0L)
                .add(normsOffset())
                .add(keysOffset())
                .add(valuesOffset())
                .add(HEADS)
                .add(E)
                .add(0)
                .add(chunkCount)
                .add(chunks)
                .add(chunkStates);
        device.launch(Kernel.TAYLOR_STATES, HEADS * (E / 16 + 1), 1, 352, 0, arguments);
    }

    private void makeOutputs(int chunkCount) {
        arguments
                .clear()
                .add(tokens)
                .add(outputs)
                .add(state)
                .add(0L)
                .add(keysOffset())
                .add(valuesOffset())
                .add(HEADS)
                .add(E)
                .add(SCALE)
                .add(1e-12f)
                .add(chunks)
                .add(chunkStates);
        device.launch(
                Kernel.TAYLOR_OUTPUTS,
                chunkCount,
                HEADS * Math.ceilDiv(E, 64),
                256,
                Kernel.TAYLOR_OUTPUTS.sharedBytesMax(),
                arguments);
    }

    private void writeRings(int count) {
        arguments
                .clear()
                .add(row)
                .add(row + 48)
                .add(row + 16)
                .add(row + 32)
                .add(tokens)
                .add(STRIDE)
                .add(HEADS * F)
                .add(state)
                .add(0L)
                .add(keysOffset())
                .add(valuesOffset())
                .add(FOLD)
                .add(HEADS)
                .add(F)
                .add(E)
                .add(count);
        device.launch(Kernel.WRITE_RING, count, 1, 128, 0, arguments);
    }

    private double error() {
        long bytes = 2L * COMPARED * HEADS * E;
        var actual = device.allocateMapped(bytes);
        device.download(actual, outputs + 2L * (tokenCount - COMPARED) * HEADS * E, bytes);
        device.synchronize();
        double[] sums = IntStream.range(0, HEADS)
                .parallel()
                .mapToObj(head -> squares(head, actual))
                .reduce(new double[2], (a, b) -> new double[] {a[0] + b[0], a[1] + b[1]});
        return Math.sqrt(sums[0] / sums[1]);
    }

    private double at(int token, int column) {
        int bits = qkv.getAtIndex(ValueLayout.JAVA_SHORT, (long) token * STRIDE + column) << 16;
        return Float.intBitsToFloat(bits);
    }

    /** Σ (actual - expected)² and Σ expected² of a head, with S and z in f64. */
    private double[] squares(int head, MemorySegment actual) {
        var state = new double[D][E + 1]; // z in the last column
        var features = new double[D];
        var value = new double[E + 1];
        double difference = 0;
        double whole = 0;
        for (int t = 0; t < tokenCount; t++) {
            fillFeatures(t, HEADS * F + head * F, 1, features);
            for (int c = 0; c < E; c++) {
                value[c] = at(t, 2 * HEADS * F + head * E + c);
            }
            value[E] = 1;
            for (int d = 0; d < D; d++) {
                for (int c = 0; c <= E; c++) {
                    state[d][c] += features[d] * value[c];
                }
            }
            if (t < tokenCount - COMPARED) {
                continue;
            }
            fillFeatures(t, head * F, SCALE, features);
            weigh(features);
            for (int c = 0; c < E; c++) {
                double sum = 0;
                double below = 0;
                for (int d = 0; d < D; d++) {
                    sum += features[d] * state[d][c];
                    below += features[d] * state[d][E];
                }
                long index = ((long) (t - tokenCount + COMPARED) * HEADS + head) * E + c;
                double seen = Float.intBitsToFloat(actual.getAtIndex(ValueLayout.JAVA_SHORT, index) << 16);
                difference += (seen - sum / below) * (seen - sum / below);
                whole += sum / below * (sum / below);
            }
        }
        return new double[] {difference, whole};
    }

    /** 1, x_i, x_i·x_j for j from i on. */
    private void fillFeatures(int token, int column, double scale, double[] features) {
        features[0] = 1;
        int d = 1 + F;
        for (int i = 0; i < F; i++) {
            features[1 + i] = at(token, column + i) * scale;
        }
        for (int i = 0; i < F; i++) {
            for (int j = i; j < F; j++) {
                features[d++] = features[1 + i] * features[1 + j];
            }
        }
    }

    /** A product with itself counts half. */
    private static void weigh(double[] features) {
        int d = 1 + F;
        for (int i = 0; i < F; i++) {
            features[d] *= 0.5;
            d += F - i;
        }
    }
}
