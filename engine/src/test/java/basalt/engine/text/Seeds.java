package basalt.engine.text;

import java.util.stream.LongStream;

/** Seeds of property tests; {@code -Dseed=N} runs one alone. */
final class Seeds {
    private Seeds() {}

    static LongStream of(int count) {
        Long only = Long.getLong("seed");
        return only == null ? LongStream.range(0, count) : LongStream.of(only);
    }
}
