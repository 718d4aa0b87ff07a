package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineException.InvalidCheckpoint;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CheckpointCommandTest {
    private static final String BUNDLED = "../models/based-10m";

    private final ByteArrayOutputStream printed = new ByteArrayOutputStream();

    @TempDir
    private Path directory;

    @Test
    void inspectSaysWhatIsInACheckpoint() {
        assertEquals(0, run("inspect", BUNDLED, "--tensors"));

        assertPrinted("parameters      10,241,280");
        assertPrinted("weights         20,482,560 bytes of bf16");
        assertPrinted("layers          12: 4 Taylor attention, 4 convolution, 4 window attention");
        assertPrinted("tokenizer       tokenizer.json");
        assertPrinted("transformer.layers.11.mlp.fc2.weight");
    }

    @Test
    void slotsOfTheLargestModelAreThoseThatWereMeasured() {
        assertEquals(0, run("slots", "based-1b"));

        assertPrinted("a slot          18,837,126 bytes on a GPU");
        long printedSlots = printed.toString(StandardCharsets.UTF_8)
                .lines()
                .filter(line -> line.startsWith(" 80 GiB"))
                .mapToLong(line ->
                        Long.parseLong(line.substring(8).replace(",", "").strip()))
                .sum();
        // 4,273 on a card that is called so and has 79.6 GiB.
        assertTrue(Math.abs(printedSlots - 4_273) < 40, "slots: " + printedSlots);
    }

    @Test
    void slotsOfTheDocumentAreThoseThatArePrinted() throws IOException {
        String document = Files.readString(Path.of("..", "docs", "OPERATIONS.md"));
        assertEquals(0, run("slots", "based-1b"));
        assertEquals(0, run("slots", "based-360m"));
        assertEquals(0, run("slots", BUNDLED));
        var rows = new TreeMap<String, StringBuilder>();
        printed.toString(StandardCharsets.UTF_8)
                .lines()
                .filter(line -> line.contains(" GiB "))
                .forEach(line -> {
                    String[] cells = line.strip().split(" GiB +", -1);
                    rows.computeIfAbsent(cells[0], memory -> new StringBuilder("| " + memory + " GiB |"))
                            .append(' ')
                            .append(cells[1])
                            .append(" |");
                });

        assertEquals(8, rows.size());
        rows.values().forEach(row -> assertTrue(document.contains(row), "docs/OPERATIONS.md lacks " + row));
    }

    @Test
    void randomMakesACheckpointOfAConfig() {
        String made = directory.resolve("made").toString();

        assertEquals(0, run("random", BUNDLED, made, "--type", "f16", "--seed", "7"));

        assertPrinted("parameters      10,241,280");
        assertPrinted("bytes of f16");
        assertThrows(InvalidCheckpoint.class, () -> run("random", BUNDLED + "/config.json", made));
    }

    @Test
    void convertWritesSafetensors() {
        assertEquals(0, run("convert", BUNDLED, directory.toString()));

        assertTrue(Files.exists(directory.resolve("model.safetensors")));
        assertTrue(Files.exists(directory.resolve("tokenizer.json")));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "inspect",
                "inspect a b",
                "random based-360m",
                "convert",
                "melt a",
                "random based-360m a --type",
                "random based-360m a --type f64",
                "random based-360m a --seed x"
            })
    void wrongUseIsExplained(String line) {
        assertEquals(2, run(line.split(" ")));

        assertTrue(printed.size() > 0);
        assertTrue(Files.notExists(Path.of("a")));
    }

    @Test
    void helpIsNoFailure() {
        assertEquals(0, run("--help"));

        assertPrinted("Usage: basalt checkpoint inspect");
    }

    @Test
    void whatIsNotThereIsNamed() {
        assertThrows(
                InvalidCheckpoint.class,
                () -> run("inspect", directory.resolve("x").toString()));
        assertThrows(InvalidCheckpoint.class, () -> run("random", "based-2b", directory.toString()));
    }

    @Test
    void whatCannotBeWrittenSaysWhy() throws IOException {
        Path file = Files.writeString(directory.resolve("file"), "");

        var failure = assertThrows(StartException.class, () -> run("convert", BUNDLED, file.toString()));

        assertEquals("the checkpoint cannot be written: " + file + " is a file", failure.getMessage());
    }

    private int run(String... args) {
        return CheckpointCommand.run(List.of(args), new PrintStream(printed, true, StandardCharsets.UTF_8));
    }

    private void assertPrinted(String text) {
        String all = printed.toString(StandardCharsets.UTF_8);
        assertTrue(all.contains(text), all);
    }
}
