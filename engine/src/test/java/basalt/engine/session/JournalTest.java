package basalt.engine.session;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import basalt.engine.EngineException.InvalidState;
import basalt.engine.session.Journal.Entry;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class JournalTest {
    private static final List<Entry> ENTRIES = List.of(
            new Entry.Head("model", "owner", 1, 2),
            new Entry.Base(9),
            new Entry.Turned(3, 1, new int[] {4, 5, 6}),
            new Entry.Rewound(7, 10));

    @Test
    void whatIsWrittenIsRead() {
        byte[] bytes = Journal.bytes(ENTRIES);

        var read = Journal.read(bytes);

        assertEquals(bytes.length, read.validBytes());
        assertEquals(ENTRIES.get(0), read.entries().get(0));
        assertEquals(ENTRIES.get(1), read.entries().get(1));
        assertEquals(ENTRIES.get(3), read.entries().get(3));
        assertArrayEquals(new int[] {4, 5, 6}, ((Entry.Turned) read.entries().get(2)).tokens());
    }

    @Test
    void tornEndIsLeftOut() {
        byte[] bytes = Journal.bytes(ENTRIES);
        int whole = Journal.bytes(ENTRIES.subList(0, 3)).length;

        for (int length = whole; length < bytes.length; length++) {
            var read = Journal.read(Arrays.copyOf(bytes, length));
            assertEquals(3, read.entries().size());
            assertEquals(whole, read.validBytes());
        }
    }

    /** A power failure leaves zeros where a file had grown and its content was not on the disk. */
    @Test
    void zerosAtTheEndAreLeftOut() {
        byte[] bytes = Journal.bytes(ENTRIES);
        for (int more = 1; more < 40; more++) {
            var read = Journal.read(Arrays.copyOf(bytes, bytes.length + more));
            assertEquals(ENTRIES.size(), read.entries().size());
            assertEquals(bytes.length, read.validBytes());
        }
        byte[] damaged = Arrays.copyOf(bytes, bytes.length + 20);
        damaged[bytes.length + 15] = 1;
        assertThrows(InvalidState.class, () -> Journal.read(damaged));
    }

    @Test
    void flippedBitIsRefusedOrCutsTheRestOff() {
        byte[] bytes = Journal.bytes(ENTRIES);

        for (int bit = 0; bit < 8 * bytes.length; bit++) {
            byte[] flipped = bytes.clone();
            flipped[bit / 8] ^= (byte) (1 << (bit % 8));
            try {
                // A length that became too long looks like a torn end.
                assertEquals(true, Journal.read(flipped).entries().size() < ENTRIES.size());
            } catch (InvalidState e) {
                assertEquals("invalid_state", e.code());
            }
        }
    }

    @Test
    void journalAddsUpToItsTokens() {
        var log = new SessionLog(ENTRIES);

        assertEquals(10, log.tokenCount());
        assertArrayEquals(new int[] {4}, log.tokens(9, 10));
        assertEquals(List.of(9L), log.ends());
        assertThrows(InvalidState.class, () -> new SessionLog(List.of(ENTRIES.get(0), new Entry.Rewound(1, 1))));
    }
}
