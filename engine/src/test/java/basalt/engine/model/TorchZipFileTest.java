package basalt.engine.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineException.InvalidCheckpoint;
import java.lang.foreign.Arena;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.ZipEntry;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TorchZipFileTest {
    @Test
    void stridedTensorsAreCopiedToRowMajorOrder() {
        byte[] pickle = dict(new PickleBytes()
                .opcodes('}', '(')
                .text("whole")
                .tensor(6, 0, new int[] {2, 3}, new int[] {3, 1})
                .text("transposed")
                .tensor(6, 0, new int[] {3, 2}, new int[] {1, 3})
                .text("column")
                .tensor(6, 2, new int[] {2}, new int[] {3})
                .text("row")
                .tensor(6, 3, new int[] {1, 3}, new int[] {99, 1})
                .text("scalar")
                .tensor(6, 5, new int[] {}, new int[] {}));

        TensorSet set = read(pickle);

        assertArrayEquals(new float[] {0, 1, 2, 3, 4, 5}, floats(set, "whole"));
        assertArrayEquals(new float[] {0, 3, 1, 4, 2, 5}, floats(set, "transposed"));
        assertArrayEquals(new float[] {2, 5}, floats(set, "column"));
        assertArrayEquals(new float[] {3, 4, 5}, floats(set, "row"));
        assertArrayEquals(new float[] {5}, floats(set, "scalar"));
        assertEquals(List.of(3, 2), set.tensor("transposed").orElseThrow().shape());
    }

    @Test
    void attributesOfADictionaryAndParametersAreAccepted() {
        byte[] pickle = new PickleBytes()
                .global("collections", "OrderedDict")
                .opcodes(')', 'R', '(')
                .text("p")
                .global("torch._utils", "_rebuild_parameter")
                .opcodes('(')
                .tensor(6, 0, new int[] {6}, new int[] {1})
                .opcodes(0x88, '}', 't', 'R', 'u', '}')
                .text("_metadata")
                .opcodes('}', 's', 'b')
                .stop();

        assertArrayEquals(new float[] {0, 1, 2, 3, 4, 5}, floats(read(pickle), "p"));
    }

    @ParameterizedTest
    @CsvSource({
        "os, system",
        "posix, system",
        "builtins, eval",
        "__builtin__, getattr",
        "subprocess, Popen",
        "torch, load",
        "torch, UntypedStorage",
        "torch._utils, _rebuild_sparse_tensor",
        "collections, Counter",
        "numpy.core.multiarray, _reconstruct"
    })
    void everyOtherGlobalIsRefused(String module, String name) {
        byte[] byLine = new PickleBytes()
                .global(module, name)
                .opcodes('(')
                .text("echo pwned")
                .opcodes('t', 'R')
                .stop();
        byte[] byStack = new PickleBytes().text(module).text(name).opcodes(0x93).stop();

        assertRefused(byLine, "global " + module + "." + name + " is refused");
        assertRefused(byStack, "global " + module + "." + name + " is refused");
    }

    @ParameterizedTest(name = "opcode {0}")
    @CsvSource({"i", "o", "P", "I", "S", "V", "0", "2", "1", "\u0081", "\u0092", "\u0098", "B", "\u008e", "L"})
    void opcodesThatNoStateDictionaryHasAreRefused(String opcode) {
        assertRefused(
                new PickleBytes().opcodes('}', opcode.charAt(0), 0, 0, 0, 0).stop(),
                "is not one of a state dictionary");
    }

    @Test
    void valuesThatAreNoTensorsAreRefused() {
        assertRefused(dict(new PickleBytes().opcodes('}', '(').text("epoch").number(3)), "entry epoch is no tensor");
        assertRefused(new PickleBytes().number(3).stop(), "where a dictionary belongs");
        assertRefused(
                dict(new PickleBytes().opcodes('}', '(').number(1).tensor(6, 0, new int[] {6}, new int[] {1})),
                "a name that is no string");
        assertRefused(new PickleBytes().global("collections", "OrderedDict").stop(), "where a dictionary belongs");
    }

    @ParameterizedTest(name = "{0} {1} {2} {3}")
    @CsvSource({
        "6, 1, 6, 1", // ends outside
        "6, 7, 1, 1",
        "6, -1, 2, 1",
        "6, 0, -2, 1",
        "6, 0, 2, -1",
        "6, 0, 2, 6",
        "6, 0, 7, 0", // one element many times
        "6, 0, 2147483647, 0",
        "6, 5, 2, 2147483647"
    })
    void tensorsThatDoNotFitIntoTheirStorageAreRefused(int count, int offset, int length, int stride) {
        byte[] pickle =
                dict(new PickleBytes().opcodes('}', '(').text("w").tensor(count, offset, new int[] {length}, new int[] {
                    stride
                }));

        assertRefused(pickle, "does not fit into a storage of 6");
    }

    @Test
    void storagesThatLieAreRefused() {
        int[] one = {1};

        assertRefused(
                dict(new PickleBytes().opcodes('}', '(').text("w").tensor(7, 0, one, one)),
                "its storage has 24 bytes, not 7 elements of F32");
        assertRefused(
                dict(new PickleBytes().opcodes('}', '(').text("w").tensor(-1, 0, one, one)), "its storage has 24");
        byte[] pickle = dict(new PickleBytes().opcodes('}', '(').text("w").tensor(6, 0, one, one));
        var entries = new LinkedHashMap<>(entries(pickle));
        entries.remove("m/data/0");
        assertZipRefused(TestFiles.zip(ZipEntry.STORED, entries), "tensor w: its storage is missing");
    }

    @Test
    void manyCopiesOfOneStorageAreRefused() {
        var pickle = new PickleBytes().opcodes('}', '(');
        for (int i = 0; i < 1000; i++) {
            pickle.text("w" + i).opcodes('h', i == 0 ? 'x' : 0);
        }
        assertRefused(dict(pickle), "memo 120 is not there");

        var bomb = new PickleBytes().opcodes('}', '(');
        bomb.text("w").tensor(6, 0, new int[] {3, 2}, new int[] {1, 3}).opcodes('q', 0);
        for (int i = 0; i < 5000; i++) {
            bomb.text("" + i).opcodes('h', 0);
        }
        assertRefused(dict(bomb), "the tensors that are not row-major are larger than the file");
    }

    @Test
    void bombsTakeNeitherTimeNorMemory() {
        // A list of two times the list before, forty times over: a million million items if it were copied.
        var laughs = new PickleBytes().opcodes(']', 'q', 0);
        for (int i = 1; i < 40; i++) {
            laughs.opcodes('(', 'h', i - 1, 'h', i - 1, 't', 'q', i);
        }
        var deep = new PickleBytes();
        for (int i = 0; i < 1_000_000; i++) {
            deep.opcodes('(');
        }
        for (int i = 0; i < 1_000_000; i++) {
            deep.opcodes('t');
        }
        var claims = new PickleBytes().opcodes(0x8d).int64(Long.MAX_VALUE);
        var longClaim = new PickleBytes().opcodes('X').int32(Integer.MAX_VALUE);
        var memo = new PickleBytes().opcodes('}', 'r').int32(Integer.MAX_VALUE);

        assertTimeoutPreemptively(Duration.ofSeconds(60), () -> {
            assertRefused(laughs.stop(), "where a dictionary belongs");
            assertRefused(deep.stop(), "where a dictionary belongs");
            assertRefused(claims.stop(), "is truncated: a string of 9223372036854775807 bytes");
            assertRefused(longClaim.stop(), "is truncated: a string of 2147483647 bytes");
            assertRefused(memo.stop(), "memo 2147483647 is out of order");
        });
    }

    @Test
    void damagedPicklesAreRefused() {
        assertRefused(new byte[] {(byte) 0x80, 2, '}'}, "is truncated");
        assertRefused(new byte[0], "is truncated");
        assertRefused(new byte[] {(byte) 0x80, 9, '}', '.'}, "pickle protocol 9 is not supported");
        assertRefused(new PickleBytes().stop(), "takes from an empty stack");
        assertRefused(new PickleBytes().opcodes('t').stop(), "has no mark");
        assertRefused(new PickleBytes().opcodes('}', '}', 'R').stop(), "where a list belongs");
        assertRefused(new PickleBytes().opcodes('}', ')', 'R').stop(), "calls what is no constructor");
        assertRefused(new PickleBytes().opcodes(')', 'Q').stop(), "refers to something that is no storage");
        assertRefused(new PickleBytes().opcodes('}', '(').text("a").opcodes('u').stop(), "a key has no value");
        assertRefused(
                dict(new PickleBytes()
                        .opcodes('}', '(')
                        .text("a")
                        .opcodes('N')
                        .text("a")
                        .opcodes('N')),
                "has two entries a");
    }

    @Test
    void zipFilesThatTorchDoesNotWriteAreRefused() {
        byte[] pickle = dict(new PickleBytes().opcodes('}', '('));
        byte[] good = TestFiles.zip(ZipEntry.STORED, entries(pickle));

        assertZipRefused(TestFiles.zip(ZipEntry.DEFLATED, entries(pickle)), "is compressed or encrypted");
        assertZipRefused(new byte[0], "is no zip file");
        assertZipRefused("PK not at all".getBytes(StandardCharsets.UTF_8), "is no zip file");
        assertZipRefused(Arrays.copyOf(good, good.length - 30), "is no zip file, or truncated");
        assertZipRefused(
                TestFiles.zip(ZipEntry.STORED, Map.of("a/b", new byte[3])), "must have one entry */data.pkl, has 0");
        assertZipRefused(
                TestFiles.zip(ZipEntry.STORED, Map.of("a/data.pkl", pickle, "b/data.pkl", pickle)),
                "must have one entry */data.pkl, has 2");
        assertZipRefused(
                TestFiles.zip(
                        ZipEntry.STORED,
                        Map.of("m/data.pkl", pickle, "m/byteorder", "big".getBytes(StandardCharsets.UTF_8))),
                "byteorder is not little");
    }

    @Test
    void entryOutsideTheFileIsRefused() {
        byte[] zip = TestFiles.zip(ZipEntry.STORED, entries(dict(new PickleBytes().opcodes('}', '('))));
        var buffer = ByteBuffer.wrap(zip).order(ByteOrder.LITTLE_ENDIAN);
        int directory = buffer.getInt(zip.length - 22 + 16);
        buffer.putInt(directory + 24, 0x7FFF_FFFF); // size of the first entry

        assertZipRefused(zip, "entry m/data.pkl lies outside the file");
    }

    @Test
    void sixtyFourBitFormsAreRead() {
        byte[] name = "m/data.pkl".getBytes(StandardCharsets.UTF_8);
        byte[] pickle = dict(new PickleBytes().opcodes('}', '('));
        var zip = ByteBuffer.allocate(1000).order(ByteOrder.LITTLE_ENDIAN);
        zip.putInt(0x04034b50).position(26).putShort((short) name.length).putShort((short) 0);
        zip.put(name).put(pickle);
        int directory = zip.position();
        zip.putInt(0x02014b50).position(directory + 20).putInt(-1).putInt(-1);
        zip.putShort((short) name.length)
                .putShort((short) 32)
                .position(directory + 42)
                .putInt(-1);
        zip.put(name).putShort((short) 9).putShort((short) 0); // an extra field to skip
        zip.putShort((short) 1).putShort((short) 24);
        zip.putLong(pickle.length).putLong(pickle.length).putLong(0);
        int end = zip.position();
        zip.putInt(0x06064b50).position(end + 32).putLong(1).putLong(0).putLong(directory);
        zip.putInt(0x07064b50).putInt(0).putLong(end).putInt(1);
        zip.putInt(0x06054b50)
                .putInt(0)
                .putShort((short) -1)
                .putShort((short) -1)
                .putInt(-1)
                .putInt(-1);
        byte[] file = Arrays.copyOf(zip.array(), zip.position() + 2); // no comment

        assertEquals(Map.of(), readZip(file).tensors());
    }

    private static byte[] dict(PickleBytes open) {
        return open.opcodes('u').stop();
    }

    private static Map<String, byte[]> entries(byte[] pickle) {
        var storage = ByteBuffer.allocate(24).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < 6; i++) {
            storage.putFloat(i);
        }
        var entries = new LinkedHashMap<String, byte[]>();
        entries.put("m/data.pkl", pickle);
        entries.put("m/data/0", storage.array());
        return entries;
    }

    private static TensorSet read(byte[] pickle) {
        return readZip(TestFiles.zip(ZipEntry.STORED, entries(pickle)));
    }

    private static TensorSet readZip(byte[] zip) {
        return TorchZipFile.read("pytorch_model.bin", TestFiles.segment(zip), Arena.ofAuto());
    }

    private static float[] floats(TensorSet set, String name) {
        return set.tensor(name).orElseThrow().toFloats();
    }

    private static void assertRefused(byte[] pickle, String message) {
        assertZipRefused(TestFiles.zip(ZipEntry.STORED, entries(pickle)), message);
    }

    private static void assertZipRefused(byte[] zip, String message) {
        var thrown = assertThrows(InvalidCheckpoint.class, () -> readZip(zip));
        String found = String.valueOf(thrown.getMessage());
        assertTrue(found.startsWith("pytorch_model.bin") && found.contains(message), found);
    }
}
