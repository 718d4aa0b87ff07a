package basalt.engine.backend.cpu;

import basalt.engine.SamplingParams;
import basalt.engine.backend.RowSampling;
import basalt.engine.model.ModelConfig;
import java.util.Arrays;
import java.util.List;

/** What the CPU backend draws from logits, and what it says of them, for tests of another backend. */
public final class CpuDraws {
    /** Positions that are looked at for one where an id wins. */
    private static final int REACH = 20_000;

    private final int vocabSize;
    private final Sampler sampler;
    private final CpuSlot slot;

    /**
     * What a draw leaves in a slot.
     *
     * @param token the one drawn
     * @param isFrozen whether it was the slot's last
     */
    public record Drawn(int token, int sampledCount, boolean isFrozen) {}

    /**
     * The likeliest ids in order.
     *
     * @param normalizer log Σ e^logit, of all ids
     */
    @SuppressWarnings("ArrayRecordComponent")
    public record Likeliest(int[] ids, float[] logprobs, float normalizer) {}

    /** For logits of so many ids. */
    public CpuDraws(int vocabSize) {
        this.vocabSize = vocabSize;
        sampler = new Sampler(vocabSize);
        slot = new CpuSlot(config(vocabSize));
    }

    private static ModelConfig config(int vocabSize) {
        var plain = TestConfigs.plain();
        return new ModelConfig(
                vocabSize, vocabSize, plain.width(), List.of(), plain.mlp(), true, 1e-5f, true, false, 0, -1);
    }

    /**
     * Draws after some tokens.
     *
     * @param earlier tokens that the slot has sampled before
     * @param position tokens it has consumed
     */
    public Drawn draw(float[] logits, RowSampling sampling, int[] earlier, long position) {
        configure(sampling, earlier);
        int token = sampler.sample(slot, logits, 0, position);
        slot.sampled(token);
        return new Drawn(token, slot.sampledCount(), slot.isFrozen());
    }

    private void configure(RowSampling sampling, int[] earlier) {
        slot.configure(sampling);
        for (int token : earlier) {
            slot.sampled(token);
        }
    }

    /** The likeliest ids, at most so many. */
    public Likeliest likeliest(float[] logits, int count) {
        int bounded = Math.min(count, vocabSize);
        var ids = new int[bounded];
        var logprobs = new float[bounded];
        float normalizer = LogSoftmax.normalizer(logits, 0, vocabSize);
        LogSoftmax.top(logits, 0, vocabSize, bounded, ids, logprobs, 0);
        LogSoftmax.subtract(logprobs, 0, bounded, normalizer);
        return new Likeliest(ids, logprobs, normalizer);
    }

    /**
     * A position at which an id near the end of those that filters leave would win if it were left, so that a draw
     * there shows whether it is. The first position where none is found.
     *
     * @param offset of the id among all in order: 0 is the first that filters take away, -1 the last they leave
     */
    public long positionAtEdge(float[] logits, RowSampling sampling, int[] earlier, int offset, long first) {
        float temperature = sampling.params().temperature();
        if (temperature == 0) {
            return first;
        }
        configure(sampling, earlier);
        float[] values = adjusted(logits, sampling);
        int[] order = order(values);
        int keptCount = keptCount(values, order, sampling.params());
        int place = Math.clamp((long) keptCount + offset, 0, vocabSize - 1);
        int rivalCount = Math.max(keptCount, place + 1);
        double others = 0; // in units of the likeliest
        for (int i = 0; i < rivalCount; i++) {
            others += i == place ? 0 : Math.exp(((double) values[order[i]] - values[order[0]]) / temperature);
        }
        double own = ((double) values[order[place]] - values[order[0]]) / temperature;
        double least = Math.log(others) - own; // less will hardly win
        if (!(Math.exp(-least) * REACH > 3)) {
            return first;
        }
        for (long position = first; position < first + REACH; position++) {
            int word = Philox.word(sampling.seed(), sampling.choice(), position, order[place]);
            if (FloatMath.gumbel(word) > least
                    && winner(values, order, rivalCount, sampling, position) == order[place]) {
                return position;
            }
        }
        return first;
    }

    private float[] adjusted(float[] logits, RowSampling sampling) {
        var params = sampling.params();
        float[] values = logits.clone();
        for (int id = 0; id < vocabSize && params.isPenalized(); id++) {
            if (slot.count(id) > 0 || slot.isInPrompt(id)) {
                values[id] = Sampler.penalized(values[id], slot.count(id), params);
            }
        }
        params.logitBias().forEach((id, bias) -> values[id] += bias);
        for (int stop : sampling.stopTokenIds()) {
            if (slot.sampledCount() < sampling.minTokens()) {
                values[stop] = Float.NEGATIVE_INFINITY;
            }
        }
        return values;
    }

    /** Ids in descending order of value, equal ones in ascending order. */
    private int[] order(float[] values) {
        var keys = new long[vocabSize];
        for (int id = 0; id < vocabSize; id++) {
            int bits = Float.floatToIntBits(values[id] + 0f);
            keys[id] = (long) ~(bits ^ ((bits >> 31) & Integer.MAX_VALUE)) << 32 | id;
        }
        Arrays.sort(keys);
        return Arrays.stream(keys).mapToInt(key -> (int) key).toArray();
    }

    private int keptCount(float[] values, int[] order, SamplingParams params) {
        int count = params.topK() == 0 ? vocabSize : Math.min(params.topK(), vocabSize);
        float inverse = 1 / params.temperature();
        var weights = new float[count];
        long total = 0;
        for (int i = 0; i < count; i++) {
            weights[i] = FloatMath.exp((values[order[i]] - values[order[0]]) * inverse);
            total += Sampler.mass(weights[i]);
        }
        double target = params.topP() < 1 ? Math.ceil((double) params.topP() * total) : Double.POSITIVE_INFINITY;
        long mass = 0;
        int kept = 0;
        while (kept < count && mass < target && (kept == 0 || weights[kept] >= params.minP())) {
            mass += Sampler.mass(weights[kept++]);
        }
        return kept;
    }

    private static int winner(float[] values, int[] order, int count, RowSampling sampling, long position) {
        float inverse = 1 / sampling.params().temperature();
        int best = order[0];
        float bestScore = Float.NEGATIVE_INFINITY;
        for (int i = 0; i < count; i++) {
            int word = Philox.word(sampling.seed(), sampling.choice(), position, order[i]);
            float score = Math.fma(values[order[i]], inverse, FloatMath.gumbel(word));
            if (score > bestScore || (score == bestScore && order[i] < best)) {
                bestScore = score;
                best = order[i];
            }
        }
        return best;
    }

    /** The device's word of a token of the slot drawn from last: how often it was sampled, and bit 15 of the prompt. */
    public int countWord(int token) {
        return slot.count(token) | (slot.isInPrompt(token) ? 0x8000 : 0);
    }
}
