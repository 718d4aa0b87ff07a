package basalt.engine.model;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.JsonFields;
import basalt.engine.state.StateLayout;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Whatever bytes of a file are changed, it is read or refused; nothing else is thrown. */
class HostileFilesPropertyTest {
    private static final String[] WORDS = {
        "null",
        "-1",
        "0",
        "1",
        "3",
        "1e999",
        "2147483648",
        "9223372036854775807",
        "18446744073709551616",
        "\"x\"",
        "[]",
        "{}",
        "true",
        "false",
        "0.5",
        "[1,2]",
        "16777216",
        "NaN"
    };

    static LongStream seeds() {
        Long only = Long.getLong("seed");
        return only == null ? LongStream.range(0, 400) : LongStream.of(only);
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void changedSafetensorsAreReadOrRefused(long seed) throws Throwable {
        var random = new Random(seed);
        byte[] file = golden("p5_positions_layernorm", "model.safetensors");
        int header = 8 + (file[0] & 0xFF) + 256 * (file[1] & 0xFF);
        byte[] changed = change(random, file, header);

        readOrRefuse(() -> touch(SafetensorsFile.read("f", TestFiles.segment(changed))));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void changedZipFilesAreReadOrRefused(long seed) throws Throwable {
        var random = new Random(seed);
        byte[] file = golden("p4_bin_plain", "pytorch_model.bin");
        // The pickle is at the start, the directory of the zip file at the end.
        byte[] changed = random.nextBoolean() ? change(random, file, 4000) : changeEnd(random, file);

        readOrRefuse(() -> touch(TorchZipFile.read("f", TestFiles.segment(changed), Arena.ofAuto())));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void changedConfigsAreReadOrRefused(long seed) throws Throwable {
        var random = new Random(seed);
        String name = Golden.NAMES.get(random.nextInt(Golden.NAMES.size()));
        String config = new String(golden(name, "config.json"), StandardCharsets.UTF_8);
        for (int i = random.nextInt(3); i >= 0; i--) {
            config = changeValue(random, config);
        }
        byte[] changed = config.getBytes(StandardCharsets.UTF_8);

        readOrRefuse(() -> {
            var read = ConfigReader.read(JsonFields.parse("config.json", changed));
            ParameterShapes.of(read);
            StateLayout.of(read, ElementType.F32);
        });
    }

    private static void readOrRefuse(Executable reading) throws Throwable {
        try {
            reading.execute();
        } catch (InvalidCheckpoint e) {
            // Refused: as good as read.
        }
    }

    /** Reads the first and the last element of every tensor. */
    private static void touch(TensorSet set) {
        set.withCleanNames().tensors().values().forEach(tensor -> {
            if (tensor.elementCount() > 0) {
                tensor.at(0);
                tensor.at(tensor.elementCount() - 1);
            }
        });
    }

    /** Changes some of the first bytes, mostly digits to other digits, and perhaps cuts the file. */
    private static byte[] change(Random random, byte[] file, int length) {
        byte[] changed = file.clone();
        for (int i = random.nextInt(4); i >= 0; i--) {
            int at = random.nextInt(length);
            boolean isDigit = changed[at] >= '0' && changed[at] <= '9';
            changed[at] = (byte) (isDigit ? '0' + random.nextInt(10) : random.nextInt(256));
        }
        return random.nextInt(10) == 0 ? Arrays.copyOf(changed, random.nextInt(changed.length)) : changed;
    }

    private static byte[] changeEnd(Random random, byte[] file) {
        byte[] changed = file.clone();
        for (int i = random.nextInt(4); i >= 0; i--) {
            int value = random.nextBoolean() ? 0xFF : random.nextInt(256);
            changed[changed.length - 1 - random.nextInt(300)] = (byte) value;
        }
        return changed;
    }

    /** Replaces the value of one line of the config. */
    private static String changeValue(Random random, String config) {
        String[] lines = config.split("\n", -1);
        for (int tries = 0; tries < 20; tries++) {
            int at = random.nextInt(lines.length);
            int colon = lines[at].indexOf(':');
            if (colon > 0 && !lines[at].endsWith("{") && !lines[at].endsWith("[")) {
                String end = lines[at].endsWith(",") ? "," : "";
                lines[at] = lines[at].substring(0, colon + 1) + WORDS[random.nextInt(WORDS.length)] + end;
                break;
            }
        }
        return String.join("\n", lines);
    }

    private static byte[] golden(String name, String file) throws IOException {
        return Files.readAllBytes(
                Path.of("src/test/resources/golden").resolve(name).resolve(file));
    }
}
