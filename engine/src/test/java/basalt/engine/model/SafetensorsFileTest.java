package basalt.engine.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineException.InvalidCheckpoint;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SafetensorsFileTest {
    private static final String A = "\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}";

    @Test
    void tensorsAreFoundWithShapesAndElements() {
        byte[] file = TestFiles.safetensors(
                "{\"__metadata__\":{\"format\":\"pt\"},"
                        + "\"b\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[16,18]},"
                        + A + ",\"s\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[18,20]}}",
                20);
        ByteBuffer.wrap(file)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putFloat(file.length - 16, 2.5f)
                .putShort(file.length - 4, (short) 0x3FC0)
                .putShort(file.length - 2, Float.floatToFloat16(-3));

        TensorSet set = SafetensorsFile.read("f", TestFiles.segment(file));

        assertEquals(List.of(2, 2), set.tensor("a").orElseThrow().shape());
        assertArrayEquals(
                new float[] {0, 2.5f, 0, 0}, set.tensor("a").orElseThrow().toFloats());
        assertEquals(1.5f, set.tensor("b").orElseThrow().at(0));
        assertEquals(-3, set.tensor("s").orElseThrow().at(0));
    }

    @Test
    void typesThatNoModelUsesAreNamed() {
        byte[] file = TestFiles.safetensors("{\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8);

        assertEquals(
                Map.of("i", "I64"),
                SafetensorsFile.read("f", TestFiles.segment(file)).otherTypes());
    }

    @ParameterizedTest(name = "{3}")
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            [0,16]    | [0,20]   | 16 | tensor a: offsets hold 20 bytes, shape [2, 2] of F32 needs 16
            [0,16]    | [16,32]  | 32 | has a gap of 16 bytes before tensor a
            [0,16]    | [0,16]   | 12 | is truncated: tensor a ends at byte 16 of 12
            [0,16]    | [0,16]   | 17 | has 1 bytes after its last tensor
            [0,16]    | [16,0]   | 16 | a.data_offsets must be two ascending offsets
            [0,16]    | [0]      | 16 | a.data_offsets must be two ascending offsets
            [0,16]    | [-1,15]  | 16 | a.data_offsets = -1 is outside
            [0,16]    | ["0",16] | 16 | a.data_offsets must be a whole number
            [0,16]    | 16       | 16 | a.data_offsets must be a list
            [2,2]     | [2,3]    | 16 | tensor a: offsets hold 16 bytes, shape [2, 3] of F32 needs 24
            [2,2]     | [2147483647,2147483647,2147483647] | 16 | of F32 needs more than there are
            [2,2]     | [2147483648] | 16 | a.shape = 2147483648 is outside
            [2,2]     | [1,1,1,1,1,1,1,2,2] | 16 | a.shape has 9 dimensions
            "F32"     | "F31"    | 16 | a.dtype = F31 is not a known type
            "F32"     | 32       | 16 | a.dtype must be a string
            "dtype"   | "type"   | 16 | a.dtype is missing
            "shape"   | "shapes" | 16 | a.shape is missing
            {"dtype"  | [{"dtype" | 16 | is no valid JSON
            """)
    void aLyingHeaderIsRefused(String good, String bad, int bodyBytes, String message) {
        String header = "{" + A + "}";
        assertTrue(header.contains(good), good);

        assertRefused(TestFiles.safetensors(header.replace(good, bad), bodyBytes), message);
    }

    @Test
    void overlapsDuplicatesAndNestingAreRefused() {
        String overlapping = "{" + A + ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}";

        assertRefused(TestFiles.safetensors(overlapping, 16), "tensor b overlaps tensor a");
        assertRefused(TestFiles.safetensors("{" + A + "," + A + "}", 16), "Duplicate field 'a'");
        assertRefused(TestFiles.safetensors("{\"a\":" + "[".repeat(100_000), 0), "nesting depth");
        assertRefused(TestFiles.safetensors("[1]", 0), "the top must be an object");
        assertRefused(TestFiles.safetensors("{\"a\":3}", 0), "a must be an object");
        assertRefused(TestFiles.safetensors("{} {}", 0), "is no valid JSON");
    }

    @Test
    void impossibleHeaderLengthsAreRefused() {
        byte[] file = TestFiles.safetensors("{" + A + "}", 16);

        assertRefused(new byte[7], "is truncated: 7 bytes");
        assertRefused(Arrays.copyOf(file, 20), "is truncated: header of");
        assertRefused(withHeaderLength(file, -1), "header length 18446744073709551615 is over the limit");
        assertRefused(withHeaderLength(file, SafetensorsFile.HEADER_BYTES_MAX + 1L), "is over the limit");
        assertRefused(withHeaderLength(file, file.length), "is truncated");
    }

    private static byte[] withHeaderLength(byte[] file, long length) {
        return ByteBuffer.wrap(file.clone())
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(0, length)
                .array();
    }

    private static void assertRefused(byte[] file, String message) {
        var thrown = assertThrows(
                InvalidCheckpoint.class, () -> SafetensorsFile.read("model.safetensors", TestFiles.segment(file)));
        String found = String.valueOf(thrown.getMessage());
        assertTrue(found.startsWith("model.safetensors") && found.contains(message), found);
    }
}
