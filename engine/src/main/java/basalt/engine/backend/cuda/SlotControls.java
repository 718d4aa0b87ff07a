package basalt.engine.backend.cuda;

import basalt.engine.Checks;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import basalt.engine.backend.RowSampling;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * What the device knows of each slot besides its state: {@code SlotControl} of {@code common.cuh}, stop ids, biases and
 * counts of tokens. Writes go through mapped staging memory, in stream order.
 */
final class SlotControls {
    /** Size of the device's record. */
    static final int BYTES = 96;
    /** Stop ids a slot may have. */
    static final int STOPS_MAX = GenerationRequest.STOP_TOKEN_COUNT_MAX + 1; // and the end of sequence
    /** Biased ids a slot may have. */
    static final int BIASES_MAX = SamplingParams.LOGIT_BIASES_MAX;

    private static final int LAST_TOKEN = 8;
    private static final int CONFIGURED = 16; // first byte that configure writes; a copy takes those before
    private static final int STAGED_BYTES = 16_384;
    private static final int STAGED_COUNT = 64;
    private static final int STOPS_AT = 128;
    private static final int BIAS_IDS_AT = STOPS_AT + STOPS_MAX * 4;
    private static final int BIAS_VALUES_AT = BIAS_IDS_AT + BIASES_MAX * 4;
    private static final int IN_PROMPT = 0x8000;

    private final Device device;
    private final int vocabSize;
    private final long controls; // SlotControl [S]
    private final long stops; // i32 [S, STOPS_MAX]
    private final long biasIds; // i32 [S, BIASES_MAX]
    private final long biasValues; // f32 [S, BIASES_MAX]
    private final long counts; // u16 [S, N]
    private final MemorySegment staging; // [STAGED_COUNT, STAGED_BYTES]
    private final MemorySegment stagedCounts; // u16 [N]
    private int stagedCount;

    SlotControls(Device device, int slotCount, int vocabSize) {
        this.device = device;
        this.vocabSize = vocabSize;
        controls = device.allocate((long) slotCount * BYTES);
        stops = device.allocate((long) slotCount * STOPS_MAX * 4);
        biasIds = device.allocate((long) slotCount * BIASES_MAX * 4);
        biasValues = device.allocate((long) slotCount * BIASES_MAX * 4);
        counts = device.allocate((long) slotCount * vocabSize * 2);
        staging = device.allocateMapped((long) STAGED_COUNT * STAGED_BYTES);
        stagedCounts = device.allocateMapped((long) vocabSize * 2);
        device.fill(controls, 0, (long) slotCount * BYTES);
    }

    /** Device memory that one slot needs here. */
    static long bytesPerSlot(int vocabSize) {
        return BYTES + STOPS_MAX * 4 + BIASES_MAX * 8 + vocabSize * 2L;
    }

    long controls() {
        return controls;
    }

    long stops() {
        return stops;
    }

    long biasIds() {
        return biasIds;
    }

    long biasValues() {
        return biasValues;
    }

    long counts() {
        return counts;
    }

    /** No tokens consumed, none sampled. */
    void zero(int slot) {
        device.fill(address(slot), 0, Long.BYTES);
        device.fill(address(slot) + LAST_TOKEN, 0xff, Integer.BYTES);
    }

    /** Position and last token of another slot. */
    void copy(int fromSlot, int toSlot) {
        device.copy(address(toSlot), address(fromSlot), CONFIGURED);
    }

    /** Sets the tokens consumed. */
    void position(int slot, long position, boolean keepsLastToken) {
        long at = stage();
        staging.set(ValueLayout.JAVA_LONG, at, position);
        staging.set(ValueLayout.JAVA_INT, at + LAST_TOKEN, -1);
        device.upload(address(slot), staging, at, keepsLastToken ? Long.BYTES : Long.BYTES + Integer.BYTES);
    }

    /** Sets how a slot samples, and thaws it. */
    void configure(int slot, RowSampling sampling) {
        var params = sampling.params();
        int[] stopIds = sampling.stopTokenIds();
        Checks.argument(stopIds.length <= STOPS_MAX, "stopTokenIds", stopIds.length);
        long at = stage();
        writeRecord(at, sampling);
        device.upload(address(slot) + CONFIGURED, staging, at + CONFIGURED, BYTES - CONFIGURED);
        if (stopIds.length > 0) {
            MemorySegment.copy(stopIds, 0, staging, ValueLayout.JAVA_INT, at + STOPS_AT, stopIds.length);
            device.upload(stops + 4L * slot * STOPS_MAX, staging, at + STOPS_AT, stopIds.length * 4L);
        }
        if (!params.logitBias().isEmpty()) {
            int i = 0;
            for (var entry : params.logitBias().entrySet()) {
                staging.set(ValueLayout.JAVA_INT, at + BIAS_IDS_AT + i * 4L, entry.getKey());
                staging.set(ValueLayout.JAVA_FLOAT, at + BIAS_VALUES_AT + i * 4L, entry.getValue());
                i++;
            }
            device.upload(biasIds + 4L * slot * BIASES_MAX, staging, at + BIAS_IDS_AT, i * 4L);
            device.upload(biasValues + 4L * slot * BIASES_MAX, staging, at + BIAS_VALUES_AT, i * 4L);
        }
        if (params.isPenalized()) {
            writeCounts(slot, sampling.penalizedPrompt());
        }
    }

    private void writeRecord(long at, RowSampling sampling) {
        var params = sampling.params();
        int[] words = {
            Float.floatToRawIntBits(params.temperature()),
            Float.floatToRawIntBits(params.topP()),
            Float.floatToRawIntBits(params.minP()),
            Float.floatToRawIntBits(params.frequencyPenalty()),
            Float.floatToRawIntBits(params.presencePenalty()),
            Float.floatToRawIntBits(params.repetitionPenalty()),
            params.topK(),
            sampling.choice(),
            (int) sampling.seed(),
            (int) (sampling.seed() >>> 32),
            sampling.minTokens(),
            sampling.maxTokens(),
            sampling.logprobCount(),
            sampling.stopTokenIds().length,
            params.logitBias().size(),
            params.isPenalized() ? 1 : 0,
            0, // sampled
            0, // frozen
            0,
            0
        };
        MemorySegment.copy(words, 0, staging, ValueLayout.JAVA_INT, at + CONFIGURED, words.length);
    }

    private void writeCounts(int slot, int[] prompt) {
        long to = counts + (long) slot * vocabSize * 2;
        if (prompt.length == 0) {
            device.fill(to, 0, vocabSize * 2L);
            return;
        }
        device.synchronize(); // the one staging area may still be read
        stagedCounts.fill((byte) 0);
        for (int id : prompt) {
            stagedCounts.setAtIndex(ValueLayout.JAVA_SHORT, id, (short) IN_PROMPT);
        }
        device.upload(to, stagedCounts, 0, vocabSize * 2L);
    }

    private long address(int slot) {
        return controls + (long) slot * BYTES;
    }

    /** Offset of a free part of the staging memory. */
    private long stage() {
        if (stagedCount == STAGED_COUNT) {
            device.synchronize();
            stagedCount = 0;
        }
        return (long) stagedCount++ * STAGED_BYTES;
    }
}
