package basalt.engine.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.JsonFields;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class CheckpointWriterTest {
    @TempDir
    private Path directory;

    @Test
    void namedConfigsHaveTheParametersOfThePublishedModels() {
        assertEquals(362_620_928, parameterCount("based-360m"));
        assertEquals(1_349_453_056, parameterCount("based-1b"));
    }

    @Test
    void namedConfigsHaveTheShapesOfThePublishedModels() {
        Map<String, List<Integer>> shapes = shapes("based-1b");

        assertEquals(List.of(50_264, 1792), shapes.get("transformer.embeddings.word_embeddings.weight"));
        assertEquals(List.of(7168, 1792), shapes.get("transformer.layers.0.mixer.in_proj.weight"));
        assertEquals(List.of(3584, 1, 3), shapes.get("transformer.layers.0.mixer.conv.conv.weight"));
        assertEquals(List.of(256, 1792), shapes.get("transformer.layers.33.mixer.proj_k.weight"));
        assertEquals(List.of(5376, 1792), shapes.get("transformer.layers.34.mixer.Wqkv.weight"));
        assertEquals(List.of(7168, 1792), shapes.get("transformer.layers.35.mlp.fc1.weight"));
        assertEquals(List.of(1792, 3584), shapes.get("transformer.layers.35.mlp.fc2.weight"));
        assertEquals(299 - 1, shapes.size()); // the published file has the tied head too
    }

    @ParameterizedTest
    @EnumSource(ElementType.class)
    void randomCheckpointHasTheAskedDistribution(ElementType type) throws IOException {
        CheckpointWriter.writeRandom(directory, config("g03_deep"), type, 7);

        try (var checkpoint = Checkpoint.open(directory)) {
            var layer = checkpoint.weights().layers().getFirst();
            Tensor embedding = checkpoint.weights().embedding();
            assertEquals(type, embedding.type());
            assertEquals(0, mean(embedding), 0.001);
            assertEquals(0.02, deviation(embedding), 0.001);
            assertEquals(0.02 / Math.sqrt(12), deviation(layer.mlp().fc2().weight()), 0.0003);
            assertEquals(1, layer.norm1().weight().at(5));
            assertTrue(checkpoint.tensors().stream()
                    .flatMap(tensor ->
                            IntStream.range(0, (int) tensor.elementCount()).mapToObj(tensor::at))
                    .allMatch(Float::isFinite));
        }
    }

    @Test
    void sameSeedGivesTheSameModel() throws IOException {
        CheckpointWriter.writeRandom(directory.resolve("a"), config("g05_fla"), ElementType.BF16, 7);
        CheckpointWriter.writeRandom(directory.resolve("b"), config("g05_fla"), ElementType.BF16, 7);
        CheckpointWriter.writeRandom(directory.resolve("c"), config("g05_fla"), ElementType.BF16, 8);

        assertEquals(fingerprint(directory.resolve("a")), fingerprint(directory.resolve("b")));
        assertNotEquals(fingerprint(directory.resolve("a")), fingerprint(directory.resolve("c")));
        assertEquals(
                -1, Files.mismatch(directory.resolve("a/model.safetensors"), directory.resolve("b/model.safetensors")));
    }

    @Test
    void learnedPositionsAreWrittenAsConfigured() throws IOException {
        CheckpointWriter.writeRandom(directory, config("p5_positions_layernorm"), ElementType.F32, 7);

        try (var checkpoint = Checkpoint.open(directory)) {
            assertEquals(96, checkpoint.config().positionCount());
        }
    }

    @Test
    void existingCheckpointIsNotOverwritten() throws IOException {
        CheckpointWriter.writeRandom(directory, config("g05_fla"), ElementType.F32, 7);

        assertThrows(
                InvalidCheckpoint.class,
                () -> CheckpointWriter.writeRandom(directory, config("g05_fla"), ElementType.F32, 7));
    }

    @Test
    void configThatCannotBeServedIsNotWritten() {
        byte[] config = new String(config("g05_fla"), StandardCharsets.UTF_8)
                .replace("swiglu", "relu")
                .getBytes(StandardCharsets.UTF_8);

        assertThrows(
                InvalidCheckpoint.class,
                () -> CheckpointWriter.writeRandom(directory.resolve("new"), config, ElementType.F32, 7));
        assertTrue(Files.notExists(directory.resolve("new")));
    }

    @ParameterizedTest
    @ValueSource(strings = {"g08_bin_lightning", "p4_bin_plain", "p3_bf16_wide_head", "p6_biases"})
    void convertedCheckpointIsTheSameModel(String name) throws IOException {
        Path original = Golden.open(name).directory();
        try (var from = Checkpoint.open(original)) {
            CheckpointWriter.convert(from, directory);
        }

        try (var from = Checkpoint.open(original);
                var to = Checkpoint.open(directory)) {
            assertEquals(from.config(), to.config());
            assertEquals(from.fingerprint(), to.fingerprint());
            for (int i = 0; i < from.tensors().size(); i++) {
                assertEquals(
                        -1,
                        from.tensors()
                                .get(i)
                                .data()
                                .mismatch(to.tensors().get(i).data()));
            }
        }
    }

    @Test
    void conversionWritesTheNamesOfTheModel() throws IOException {
        try (var from = Checkpoint.open(Golden.open("g08_bin_lightning").directory())) {
            CheckpointWriter.convert(from, directory);
        }

        try (var to = Checkpoint.open(directory)) {
            var names = to.tensors().stream().map(Tensor::name).toList();
            assertEquals(List.copyOf(ParameterShapes.of(to.config()).keySet()), names);
        }
        var header =
                new String(Files.readAllBytes(directory.resolve("model.safetensors")), StandardCharsets.ISO_8859_1);
        assertTrue(header.contains("\"transformer.ln_f.weight\""));
        assertFalse(header.contains("\"model.transformer"));
    }

    @Test
    void conversionCopiesTheTokenizer() throws IOException {
        try (var from = Checkpoint.open(Path.of("../models/based-10m"))) {
            CheckpointWriter.convert(from, directory);

            assertEquals(
                    -1,
                    Files.mismatch(
                            directory.resolve("tokenizer.json"),
                            from.tokenizerFile().orElseThrow()));
            assertThrows(InvalidCheckpoint.class, () -> CheckpointWriter.convert(from, directory));
        }
    }

    @Test
    void whatCannotBeWrittenWholeIsNotThere() throws IOException {
        Path file = directory.resolve("model.safetensors");
        var source = new SafetensorsWriter.Source("a", ElementType.F32, List.of(4), buffer -> {
            throw new IllegalStateException("no more");
        });

        assertThrows(IllegalStateException.class, () -> SafetensorsWriter.write(file, List.of(source)));

        try (var left = Files.list(directory)) {
            assertEquals(List.of(), left.toList());
        }
    }

    @Test
    void conversionCopiesHowTheModelChats() throws IOException {
        Path original = directory.resolve("original");
        CheckpointWriter.writeRandom(original, config("g05_fla"), ElementType.F32, 7);
        Files.writeString(original.resolve("chat_template.jinja"), "{{ messages }}");
        Files.writeString(original.resolve("tokenizer_config.json"), "{}");

        try (var from = Checkpoint.open(original)) {
            CheckpointWriter.convert(from, directory.resolve("converted"));
        }

        assertEquals("{{ messages }}", Files.readString(directory.resolve("converted/chat_template.jinja")));
        assertEquals("{}", Files.readString(directory.resolve("converted/tokenizer_config.json")));
    }

    @Test
    void conversionOverwritesNoOtherCheckpoint() throws IOException {
        Path other = directory.resolve("other");
        Files.createDirectories(other);
        Files.writeString(other.resolve("config.json"), "{\"of\":\"another\"}");

        try (var from = Checkpoint.open(Path.of("../models/based-10m"))) {
            assertThrows(InvalidCheckpoint.class, () -> CheckpointWriter.convert(from, other));
        }

        assertEquals("{\"of\":\"another\"}", Files.readString(other.resolve("config.json")));
        assertTrue(Files.notExists(other.resolve("model.safetensors")));
    }

    private static long parameterCount(String name) {
        return shapes(name).values().stream()
                .mapToLong(shape -> shape.stream().mapToLong(Integer::longValue).reduce(1, (a, b) -> a * b))
                .sum();
    }

    private static Map<String, List<Integer>> shapes(String name) {
        return ParameterShapes.of(ConfigReader.read(JsonFields.parse(name, CheckpointWriter.namedConfig(name))));
    }

    private static byte[] config(String golden) {
        try {
            return Files.readAllBytes(Golden.open(golden).directory().resolve("config.json"));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String fingerprint(Path directory) {
        try (var checkpoint = Checkpoint.open(directory)) {
            return checkpoint.fingerprint();
        }
    }

    private static double mean(Tensor tensor) {
        double sum = 0;
        for (float value : tensor.toFloats()) {
            sum += value;
        }
        return sum / tensor.elementCount();
    }

    private static double deviation(Tensor tensor) {
        double mean = mean(tensor);
        double sum = 0;
        for (float value : tensor.toFloats()) {
            sum += (value - mean) * (value - mean);
        }
        return Math.sqrt(sum / tensor.elementCount());
    }
}
