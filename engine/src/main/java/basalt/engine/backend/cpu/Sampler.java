package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.VectorOps.FLOATS;
import static basalt.engine.backend.cpu.VectorOps.INTS;
import static basalt.engine.backend.cpu.VectorOps.LANES;

import basalt.engine.SamplingParams;
import basalt.engine.backend.RowSampling;
import java.util.Map;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/**
 * Draws the next token: {@code argmax(logit / T + Gumbel(seed, choice, position, id))} over the allowed ids, ties to
 * the lowest id. Owned by one worker.
 *
 * <p>Exact definition, the same on every backend: penalties and bias change the logits; {@code r = 1 / T} in f32; an
 * id's score is {@code fma(logit, r, gumbel)}. The allowed ids are a prefix of the ids in descending order of logit,
 * equal ones in ascending order of id: at most {@code topK} of them; of those the fewest whose mass reaches {@code
 * topP} of theirs; of those the ones with {@code w ≥ minP}. Here {@code w = exp((logit - max) · r)} and an id's mass
 * is {@code floor(w · 2^40)} as an integer, so that sums do not depend on their order.
 */
final class Sampler {
    private static final float MASS_SCALE = 0x1p40f;

    private final int vocabSize;
    private final float[] scores; // [N padded]: logits after penalties and bias, then what is drawn by
    private final float[] weights = new float[LANES]; // one vector of w
    private final PhiloxBlock philox = new PhiloxBlock();
    private final float[] noise = new float[PhiloxBlock.IDS]; // of one block of ids, exponential and then Gumbel
    private final CandidateHeap heap;

    Sampler(int vocabSize) {
        this.vocabSize = vocabSize;
        scores = new float[VectorOps.padded(vocabSize)];
        heap = new CandidateHeap(vocabSize);
    }

    /**
     * The token that a slot samples.
     *
     * @param logits f32, N of them from {@code at} on; not changed
     * @param position tokens the slot has consumed
     */
    int sample(CpuSlot slot, float[] logits, int at, long position) {
        RowSampling sampling = slot.sampling();
        SamplingParams params = sampling.params();
        float[] adjusted = logits;
        int start = at;
        boolean isTooEarlyToStop = slot.sampledCount() < sampling.minTokens() && sampling.stopTokenIds().length > 0;
        if (params.isPenalized() || !params.logitBias().isEmpty() || isTooEarlyToStop) {
            System.arraycopy(logits, at, scores, 0, vocabSize);
            adjust(slot, params);
            for (int stop : sampling.stopTokenIds()) {
                scores[stop] = isTooEarlyToStop ? Float.NEGATIVE_INFINITY : scores[stop];
            }
            adjusted = scores;
            start = 0;
        }
        if (params.temperature() == 0) {
            return argmax(adjusted, start);
        }
        float inverse = 1 / params.temperature();
        if (params.topK() == 0 && params.topP() >= 1 && params.minP() <= 0) {
            return drawFromAll(sampling, adjusted, start, inverse, position);
        }
        return drawFiltered(sampling, adjusted, start, inverse, position);
    }

    private void adjust(CpuSlot slot, SamplingParams params) {
        if (params.isPenalized()) {
            for (int id = 0; id < vocabSize; id++) {
                int count = slot.count(id);
                if (count > 0 || slot.isInPrompt(id)) {
                    scores[id] = penalized(scores[id], count, params);
                }
            }
        }
        for (Map.Entry<Integer, Float> bias : params.logitBias().entrySet()) {
            scores[bias.getKey()] += bias.getValue();
        }
    }

    /** Repetition first, then frequency and presence, as the field does. */
    static float penalized(float logit, int count, SamplingParams params) {
        float repeated = logit > 0 ? logit / params.repetitionPenalty() : logit * params.repetitionPenalty();
        if (count == 0) {
            return repeated;
        }
        return repeated - count * params.frequencyPenalty() - params.presencePenalty();
    }

    /** The lowest id of the largest value. */
    int argmax(float[] values, int at) {
        float max = VectorOps.max(values, at, vocabSize);
        int id = 0;
        for (; id + LANES <= vocabSize; id += LANES) {
            VectorMask<Float> isMax =
                    FloatVector.fromArray(FLOATS, values, at + id).compare(VectorOperators.EQ, max);
            if (isMax.anyTrue()) {
                return id + isMax.firstTrue();
            }
        }
        while (id < vocabSize - 1 && values[at + id] != max) {
            id++;
        }
        return id;
    }

    private int drawFromAll(RowSampling sampling, float[] values, int at, float inverse, long position) {
        int whole = vocabSize / PhiloxBlock.IDS * PhiloxBlock.IDS;
        for (int id = 0; id < whole; id += PhiloxBlock.IDS) {
            philox.fill(sampling.seed(), sampling.choice(), position, id);
            fillExponentials();
            fillGumbels();
            fillScores(values, at, inverse, id);
        }
        for (int id = whole; id < vocabSize; id++) {
            scores[id] = score(sampling, values[at + id], inverse, position, id);
        }
        return argmax(scores, 0);
    }

    /**
     * Apart from the other parts of a draw, as {@link VectorOps#exponential} says. The launcher keeps C2 from taking
     * {@code fill} methods into their caller: what it calls when that has become too large gets vectors as objects.
     */
    private void fillExponentials() {
        for (int i = 0; i < PhiloxBlock.IDS; i += LANES) {
            VectorOps.exponential(IntVector.fromArray(INTS, philox.words, i)).intoArray(noise, i);
        }
    }

    private void fillGumbels() {
        for (int i = 0; i < PhiloxBlock.IDS; i += LANES) {
            VectorOps.log(FloatVector.fromArray(FLOATS, noise, i)).neg().intoArray(noise, i);
        }
    }

    /** Of the block that begins with an id; the values may be the scores' own array. */
    private void fillScores(float[] values, int at, float inverse, int id) {
        FloatVector scale = VectorOps.broadcast(inverse);
        for (int i = 0; i < PhiloxBlock.IDS; i += LANES) {
            FloatVector gumbel = FloatVector.fromArray(FLOATS, noise, i);
            FloatVector.fromArray(FLOATS, values, at + id + i)
                    .fma(scale, gumbel)
                    .intoArray(scores, id + i);
        }
    }

    private static float score(RowSampling sampling, float logit, float inverse, long position, int id) {
        int word = Philox.word(sampling.seed(), sampling.choice(), position, id);
        return Math.fma(logit, inverse, FloatMath.gumbel(word));
    }

    private int drawFiltered(RowSampling sampling, float[] values, int at, float inverse, long position) {
        SamplingParams params = sampling.params();
        float max = VectorOps.max(values, at, vocabSize);
        if (Float.isNaN(max)) {
            return argmax(values, at); // of a model that has lost itself: no order, so no prefix
        }
        int countMax = params.topK() == 0 ? vocabSize : Math.min(params.topK(), vocabSize);
        long massMax = Long.MAX_VALUE;
        if (params.topP() < 1) {
            long total = countMax == vocabSize
                    ? totalMass(values, at, max, inverse)
                    : topMass(values, at, max, inverse, countMax);
            massMax = (long) Math.ceil((double) params.topP() * total);
        }
        heap.fill(values, at, max, inverse);
        long mass = 0;
        float bestScore = Float.NEGATIVE_INFINITY;
        int bestId = vocabSize - 1;
        for (int count = 0; count < countMax && mass < massMax; count++) {
            int id = heap.pop();
            float logit = values[at + id];
            float w = FloatMath.exp((logit - max) * inverse);
            if (count > 0 && w < params.minP()) {
                break;
            }
            mass += mass(w);
            float score = score(sampling, logit, inverse, position, id);
            if (score > bestScore || (score == bestScore && id < bestId)) {
                bestScore = score;
                bestId = id;
            }
        }
        return bestId;
    }

    static long mass(float w) {
        return (long) (w * MASS_SCALE);
    }

    private long totalMass(float[] values, int at, float max, float inverse) {
        long total = 0;
        int id = 0;
        for (; id + LANES <= vocabSize; id += LANES) {
            VectorOps.exp(FloatVector.fromArray(FLOATS, values, at + id)
                            .sub(max)
                            .mul(inverse))
                    .intoArray(weights, 0);
            for (int lane = 0; lane < LANES; lane++) {
                total += mass(weights[lane]);
            }
        }
        for (; id < vocabSize; id++) {
            total += mass(FloatMath.exp((values[at + id] - max) * inverse));
        }
        return total;
    }

    private long topMass(float[] values, int at, float max, float inverse, int count) {
        heap.fill(values, at, max, inverse);
        long total = 0;
        for (int i = 0; i < count; i++) {
            total += mass(FloatMath.exp((values[at + heap.pop()] - max) * inverse));
        }
        return total;
    }
}
