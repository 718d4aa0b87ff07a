package basalt.engine.session;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineException.InvalidState;
import basalt.engine.model.ElementType;
import basalt.engine.state.SessionState;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import basalt.engine.state.StateLayout.Role;
import basalt.engine.state.StateLayout.StateTensor;
import basalt.engine.state.TokenHistory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.Test;

class StateFileTest {
    private static final int VOCAB_SIZE = 100;
    private static final String MODEL = "model";
    private static final int[] TOKENS = new Random(1).ints(70, 0, VOCAB_SIZE).toArray();

    private static StateLayout layout(ElementType ringType) {
        var tensors = List.of(
                new StateTensor(0, Role.CONVOLUTION_INPUTS, ringType, List.of(34, 3)),
                new StateTensor(1, Role.TAYLOR_SUMS, ElementType.F32, List.of(2, 6, 4)),
                new StateTensor(1, Role.TAYLOR_NORMS, ElementType.F32, List.of(2, 6)));
        return new StateLayout(
                tensors, tensors.stream().mapToLong(StateTensor::bytes).sum());
    }

    private static SessionState state(ElementType ringType) {
        var image = new StateImage(layout(ringType));
        var random = new Random(2);
        for (int i = 0; i < 3; i++) {
            for (int j = 0; j < image.tensor(i).length; j++) {
                image.tensor(i)[j] = random.nextInt(200) / 4f - 20; // exact in bf16
            }
        }
        image.tensor(2)[0] = 64;
        image.tensor(2)[6] = 64;
        image.tokenCount(68);
        return SessionState.of(Optional.of(image), new int[] {5, 6}, TokenHistory.EMPTY.append(TOKENS));
    }

    private static SessionState read(byte[] bytes) {
        return StateFile.read(bytes, MODEL, layout(ElementType.F32), VOCAB_SIZE);
    }

    private static void assertRefused(String reason, byte[] bytes) {
        var refusal = assertThrows(InvalidState.class, () -> read(bytes));
        assertTrue(String.valueOf(refusal.getMessage()).contains(reason), refusal.getMessage());
    }

    /** As somebody would who can compute a checksum. */
    private static byte[] signed(byte[] bytes) {
        var crc = new CRC32C();
        crc.update(bytes, 0, bytes.length - 4);
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putInt(bytes.length - 4, (int) crc.getValue());
        return bytes;
    }

    @Test
    void whatIsWrittenIsRead() {
        for (var type : List.of(ElementType.F32, ElementType.BF16)) {
            var state = state(type);

            var read = read(StateFile.bytes(state, MODEL));

            assertEquals(state.history(), read.history());
            assertArrayEquals(state.pending(), read.pending());
            assertEquals(68, read.consumedCount());
            for (int i = 0; i < 3; i++) {
                assertArrayEquals(
                        state.saved().orElseThrow().image().tensor(i),
                        read.saved().orElseThrow().image().tensor(i));
            }
        }
    }

    @Test
    void ringsAreWrittenInTheTypeOfTheirBackend() {
        int more = StateFile.bytes(state(ElementType.F32), MODEL).length
                - StateFile.bytes(state(ElementType.BF16), MODEL).length;

        assertEquals(34 * 3 * 2, more);
    }

    @Test
    void stateWithoutAnImageIsRead() {
        var state = SessionState.EMPTY.append(TOKENS);

        var read = read(StateFile.bytes(state, MODEL));

        assertEquals(state.history(), read.history());
        assertTrue(read.saved().isEmpty());
    }

    @Test
    void everyTruncationAndEveryFlippedBitIsRefused() {
        byte[] bytes = StateFile.bytes(state(ElementType.F32), MODEL);

        for (int length = 0; length < bytes.length; length++) {
            byte[] shorter = Arrays.copyOf(bytes, length);
            assertThrows(InvalidState.class, () -> read(shorter));
            if (length >= 4) {
                assertThrows(InvalidState.class, () -> read(signed(shorter)));
            }
        }
        for (int bit = 0; bit < 8 * bytes.length; bit++) {
            byte[] flipped = bytes.clone();
            flipped[bit / 8] ^= (byte) (1 << (bit % 8));
            assertThrows(InvalidState.class, () -> read(flipped));
        }
    }

    @Test
    void flippedBitsWithARightChecksumNeverFailOtherwise() {
        byte[] bytes = StateFile.bytes(state(ElementType.F32), MODEL);
        int refused = 0;

        for (int bit = 0; bit < 8 * (bytes.length - 4); bit++) {
            byte[] flipped = bytes.clone();
            flipped[bit / 8] ^= (byte) (1 << (bit % 8));
            try {
                assertEquals(70, read(signed(flipped)).tokenCount());
            } catch (InvalidState e) {
                refused++;
            }
        }

        assertTrue(refused > 1_000, "refused " + refused);
    }

    /** From 2^24 on an f32 does not count by one. */
    @Test
    void normsOfVeryLongSequencesCountAsFarAsTheyCan() {
        long consumed = (1L << 24) + 999_972; // a multiple of 32, and 4
        for (float norm : new float[] {1 << 24, consumed - 4}) {
            assertEquals(
                    consumed + 2,
                    read(StateFile.bytes(counted(consumed, norm), MODEL)).tokenCount());
        }
        for (float norm : new float[] {(1 << 24) - 1, consumed + 28}) {
            assertRefused("has summed", StateFile.bytes(counted(consumed, norm), MODEL));
        }
        assertRefused("tokens are consumed", StateFile.bytes(counted((1L << 48) + 1, 1 << 24), MODEL));
    }

    private static SessionState counted(long consumed, float norm) {
        var image = new StateImage(layout(ElementType.F32));
        image.tensor(2)[0] = norm;
        image.tensor(2)[6] = norm;
        image.tokenCount(consumed);
        var history = TokenHistory.of(consumed + 2, new byte[TokenHistory.DIGEST_BYTES], new int[] {1});
        return SessionState.of(Optional.of(image), new int[] {5, 6}, history);
    }

    @Test
    void whatIsNotOfThisModelIsRefused() {
        byte[] bytes = StateFile.bytes(state(ElementType.F32), MODEL);

        assertRefused("another model", StateFile.bytes(state(ElementType.F32), "other"));
        bytes[8] = 1;
        assertRefused("version 1", signed(bytes));
    }

    @Test
    void whatCannotBeAStateIsRefused() {
        var image = new StateImage(layout(ElementType.F32));
        image.tokenCount(68);
        var history = TokenHistory.EMPTY.append(TOKENS);
        var counted = SessionState.of(Optional.of(image), new int[] {5, 6}, history);
        assertRefused("has summed 0.0 tokens, not 64", StateFile.bytes(counted, MODEL));

        var infinite = state(ElementType.F32);
        infinite.saved().orElseThrow().image().tensor(1)[3] = Float.POSITIVE_INFINITY;
        assertRefused("holds Infinity", StateFile.bytes(infinite, MODEL));

        var foreign = SessionState.EMPTY.append(1, VOCAB_SIZE);
        assertRefused("id 100 is not in the vocabulary", StateFile.bytes(foreign, MODEL));
    }
}
