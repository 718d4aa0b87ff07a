package basalt.bench;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** Flags, their bounds and their messages. */
class FlagsTest {
    private static final Set<String> KNOWN = Set.of("batches", "threads", "cancel-share");

    @Test
    void valuesAndWordsAreTold() {
        var flags = parse("here", "--threads", "2", "--batches", "1, 16", "--cancel-share", "0.25");

        assertEquals(List.of("here"), flags.words());
        assertEquals(2, flags.number("threads", 1, 1));
        assertArrayEquals(new int[] {1, 16}, flags.numbers("batches", new int[0], 1));
        assertEquals(0.25, flags.share("cancel-share", 0));
    }

    @Test
    void absentFlagsHaveTheirDefaults() {
        assertEquals(3, parse().number("threads", 3, 1));
    }

    @Test
    void unknownAndBadFlagsAreNamed() {
        assertMessage("unknown flag --thread", () -> parse("--thread", "2"));
        assertMessage("--threads needs a value", () -> parse("--threads"));
        assertMessage(
                "--threads must be a whole number of at least 1, not 0",
                () -> parse("--threads", "0").number("threads", 3, 1));
        assertMessage(
                "--cancel-share must be in [0, 1], not 2",
                () -> parse("--cancel-share", "2").share("cancel-share", 0));
    }

    private static Flags parse(String... arguments) {
        return Flags.parse(arguments, KNOWN);
    }

    private static void assertMessage(String message, org.junit.jupiter.api.function.Executable call) {
        assertEquals(message, assertThrows(BenchException.class, call).getMessage());
    }
}
