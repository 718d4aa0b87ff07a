package basalt.engine.backend.cuda;

import java.util.Locale;

/** The kernels of {@code native/kernels}, each with the shared memory it may be given beyond its own. */
enum Kernel {
    BEGIN(0),
    ADD_BIAS(0),
    ADD_LOGITS_BIAS(0),
    GATHER(0),
    GATHER_TAILS(0),
    WRITE_RING(0),
    READ_PROBE(0),
    NORMALIZE(0),
    CONVOLUTION(0),
    GATE(0),
    TAYLOR_STEP_32(0),
    TAYLOR_STEP_64(0),
    TAYLOR_STEP_112(0),
    TAYLOR_STEP_ANY(0),
    WINDOW_STEP_32(16_384),
    WINDOW_STEP_64(32_768),
    WINDOW_STEP_112(57_344),
    WINDOW_STEP_ANY(65_536),
    TAYLOR_STATES(0),
    TAYLOR_OUTPUTS(110_080),
    ROTATE(0),
    WINDOW_PREFILL_32(0),
    WINDOW_PREFILL_64(0),
    WINDOW_PREFILL_112(0),
    SAMPLE(0),
    SCORE(0),
    PROJECT_8(101_888),
    PROJECT_16(110_592),
    PROJECT_32(106_496),
    PROJECT_BATCH_8(107_832),
    PROJECT_BATCH_16(108_928),
    PROJECT_BATCH_32(111_096),
    PROJECT_BATCH_64(115_480),
    PROJECT_BATCH_128(115_488),
    PROJECT_PAIR(115_712), // half of a multiprocessor's, but for what the system takes of each block
    ADD_SUMS(0);

    private final int sharedBytesMax;

    Kernel(int sharedBytesMax) {
        this.sharedBytesMax = sharedBytesMax;
    }

    /** Name of the function. */
    String symbol() {
        return name().toLowerCase(Locale.ROOT);
    }

    /** Dynamic shared memory a launch may ask for. */
    int sharedBytesMax() {
        return sharedBytesMax;
    }

    /** Whether it streams weights or states through shared memory, and so needs all that a multiprocessor has. */
    boolean isStreaming() {
        return switch (this) {
            case TAYLOR_STEP_32, TAYLOR_STEP_64, TAYLOR_STEP_112 -> true;
            case WINDOW_STEP_32, WINDOW_STEP_64, WINDOW_STEP_112 -> true;
            default -> isProjection();
        };
    }

    private boolean isProjection() {
        return switch (this) {
            case PROJECT_8, PROJECT_16, PROJECT_32, PROJECT_PAIR -> true;
            case PROJECT_BATCH_8, PROJECT_BATCH_16, PROJECT_BATCH_32, PROJECT_BATCH_64, PROJECT_BATCH_128 -> true;
            default -> false;
        };
    }

    /** Whether it exists for bf16 only. */
    boolean isBf16Only() {
        return switch (this) {
            case WINDOW_PREFILL_32, WINDOW_PREFILL_64, WINDOW_PREFILL_112, ADD_SUMS -> true;
            default -> isProjection();
        };
    }
}
