package basalt.engine.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineException.InvalidCheckpoint;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CheckpointTest {
    private static final Path BUNDLED = Path.of("../models/based-10m");
    private static final Path GOLDEN = Path.of("src/test/resources/golden/p5_positions_layernorm");

    @TempDir
    private Path directory;

    private Path weights = Path.of("");

    @BeforeEach
    void copyGolden() throws IOException {
        weights = directory.resolve("model.safetensors");
        Files.copy(GOLDEN.resolve("config.json"), directory.resolve("config.json"));
        Files.copy(GOLDEN.resolve("model.safetensors"), weights);
    }

    @Test
    void bundledModelOpens() {
        try (var checkpoint = Checkpoint.open(BUNDLED)) {
            assertEquals(10_241_280, checkpoint.parameterCount());
            assertEquals(12, checkpoint.config().layerCount());
            assertEquals(0, checkpoint.config().endOfSequence());
            assertEquals(64, checkpoint.fingerprint().length());
            assertTrue(checkpoint.tokenizerFile().isPresent());
        }
    }

    @Test
    void fingerprintChangesWithAnyNumberOfASmallTensorAndWithTheConfig() throws IOException {
        String fingerprint = fingerprint(directory);

        assertEquals(fingerprint, fingerprint(GOLDEN));
        replaceIn(directory.resolve("config.json"), "\"glu\"", "\"geglu\"");
        assertNotEquals(fingerprint, fingerprint(directory));
        replaceIn(directory.resolve("config.json"), "\"geglu\"", "\"glu\"");
        byte[] file = Files.readAllBytes(weights);
        file[file.length - 1] ^= 1;
        Files.write(weights, file);
        assertNotEquals(fingerprint, fingerprint(directory));
    }

    @Test
    void nothingOfTheWeightsIsReadableOnceClosed() {
        var checkpoint = Checkpoint.open(directory);
        Tensor embedding = checkpoint.weights().embedding();
        checkpoint.close();

        assertThrows(IllegalStateException.class, () -> embedding.at(0));
    }

    @ParameterizedTest(name = "{2}")
    @CsvSource(delimiter = '|', textBlock = """
            layers.0.norm1.weight | layers.0.norm3.weight | norm3.weight is not a parameter of the model
            layers.0.norm1.weight | layers.0.metrics_more | tensor transformer.layers.0.norm1.weight [12] is missing
            layers.0.norm1.weight | layer.0.g_norm.weight | belongs to the ThunderKittens variant
            """)
    void tensorsOfOtherModelsAreNamed(String name, String other, String message) throws IOException {
        changeHeader(header -> header.replace(name, other));
        assertRefused(message);
    }

    @Test
    void untiedHeadMustBeThere() throws IOException {
        replaceIn(directory.resolve("config.json"), "{", "{\"tie_word_embeddings\":false,");

        assertRefused("tensor lm_head.weight [29, 12] is missing");
    }

    @Test
    void misshapenTensorsAndOtherTypesAreNamed() throws IOException {
        changeHeader(header -> header.replace("[29, 12]", "[12, 29]"));
        assertRefused("tensor transformer.embeddings.word_embeddings.weight: shape [12, 29], "
                + "but config.json asks for [29, 12]");

        changeHeader(header -> header.replace("\"F32\", \"shape\": [12, 29]", "\"I32\", \"shape\": [29, 12]"));
        assertRefused("tensor transformer.embeddings.word_embeddings.weight: type I32 is not supported");
    }

    @Test
    void namesMayHaveThePrefixOfATrainer() throws IOException {
        changeHeader(header -> header.replace("\"transformer.", "\"model.transformer."));

        try (var prefixed = Checkpoint.open(directory);
                var plain = Checkpoint.open(GOLDEN)) {
            assertEquals(plain.parameterCount(), prefixed.parameterCount());
            assertEquals(plain.fingerprint(), prefixed.fingerprint());
            assertEquals(
                    plain.weights().embedding().at(3),
                    prefixed.weights().embedding().at(3));
        }
    }

    @Test
    void tiedHeadMayBeStoredTwiceButMustBeTheEmbedding() throws IOException {
        writeWithHead(0);
        try (var checkpoint = Checkpoint.open(directory)) {
            assertEquals(
                    checkpoint.weights().embedding(),
                    checkpoint.weights().head().weight());
        }

        writeWithHead(1);
        assertRefused("tensor lm_head.weight differs from the embedding, but tie_word_embeddings is true");
    }

    @Test
    void tiedHeadMayBeStoredAlone() throws IOException {
        changeHeader(header -> header.replace("transformer.embeddings.word_embeddings.weight", "lm_head.weight"));

        try (var checkpoint = Checkpoint.open(directory)) {
            assertEquals(List.of(29, 12), checkpoint.weights().embedding().shape());
            assertEquals(fingerprint(GOLDEN), checkpoint.fingerprint());
        }
    }

    @Test
    void shardsAreReadThroughTheirIndex() throws IOException {
        writeShards("b.safetensors");

        assertEquals(fingerprint(GOLDEN), fingerprint(directory));
    }

    @ParameterizedTest
    @CsvSource({"../b.safetensors", "/etc/b.safetensors", "c/b.safetensors", "b.bin", "..", "c\\b.safetensors"})
    void shardsOutsideTheDirectoryAreRefused(String file) throws IOException {
        writeShards(file);

        assertRefused("must name a .safetensors file of the same directory");
    }

    @Test
    void shardsThatDisagreeWithTheIndexAreRefused() throws IOException {
        writeShards("b.safetensors");
        Path index = directory.resolve("model.safetensors.index.json");
        String good = Files.readString(index);

        Files.writeString(index, good.replaceFirst("a.safetensors", "b.safetensors"));
        assertRefused("is not in b.safetensors");
        Files.writeString(index, good.replaceFirst("\"[^\"]*\":\"a.safetensors\",", ""));
        assertRefused("is not assigned to this file by model.safetensors.index.json");
        Files.writeString(index, good.replaceAll("a.safetensors", "z.safetensors"));
        assertRefused("z.safetensors: is not there");
        Files.writeString(index, "{}");
        assertRefused("model.safetensors.index.json: weight_map is missing");
    }

    @Test
    void whatIsMissingIsNamed() throws IOException {
        Files.delete(weights);
        assertRefused("has no weights: none of model.safetensors");
        Files.delete(directory.resolve("config.json"));
        assertRefused("has no config.json");
        var nowhere = directory.resolve("nowhere");
        var thrown = assertThrows(InvalidCheckpoint.class, () -> Checkpoint.open(nowhere));
        assertEquals(nowhere + ": is not a directory", thrown.getMessage());
    }

    @Test
    void hostileConfigsAreRefusedUnread() throws IOException {
        Path config = directory.resolve("config.json");

        Files.writeString(config, " ".repeat(2 << 20));
        assertRefused("config.json: 2097152 bytes, at most 1048576 are read");
        Files.writeString(config, "{\"a\":".repeat(1000));
        assertRefused("nesting depth");
        Files.writeString(config, "{\"vocab_size\":" + "9".repeat(10_000) + "}");
        assertRefused("config.json: is no valid JSON");
        Files.write(config, new byte[] {'{', '"', (byte) 0xC3, '"', ':', '1', '}'});
        assertRefused("config.json: is no valid JSON");
        Files.writeString(config, "");
        assertRefused("config.json: is no valid JSON: there is no value");
    }

    private void assertRefused(String message) {
        var thrown = assertThrows(InvalidCheckpoint.class, () -> Checkpoint.open(directory));
        String found = String.valueOf(thrown.getMessage());
        assertTrue(found.contains(message), found);
    }

    private static String fingerprint(Path directory) {
        try (var checkpoint = Checkpoint.open(directory)) {
            return checkpoint.fingerprint();
        }
    }

    private static void replaceIn(Path file, String good, String bad) throws IOException {
        String text = Files.readString(file);
        assertTrue(text.contains(good), good);
        int at = text.indexOf(good);
        Files.writeString(file, text.substring(0, at) + bad + text.substring(at + good.length()));
    }

    /** Rewrites the header of the weights, keeping the elements. */
    private void changeHeader(UnaryOperator<String> change) throws IOException {
        byte[] file = Files.readAllBytes(weights);
        int length = (int) ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN).getLong();
        String header = change.apply(new String(file, 8, length, StandardCharsets.UTF_8));
        byte[] changed = TestFiles.safetensors(header, file.length - 8 - length);
        System.arraycopy(
                file, 8 + length, changed, changed.length - (file.length - 8 - length), file.length - 8 - length);
        Files.write(weights, changed);
    }

    private void writeWithHead(int change) throws IOException {
        try (var checkpoint = Checkpoint.open(GOLDEN)) {
            var sources = sources(checkpoint.tensors());
            Tensor embedding = checkpoint.weights().embedding();
            sources.add(new SafetensorsWriter.Source("lm_head.weight", embedding.type(), embedding.shape(), buffer -> {
                buffer.put(embedding.data().asByteBuffer());
                buffer.put(0, (byte) (buffer.get(0) ^ change));
            }));
            SafetensorsWriter.write(weights, sources);
        }
    }

    /** Half of the tensors in a.safetensors, half in b.safetensors, which the index calls by another name. */
    private void writeShards(String secondName) throws IOException {
        Files.delete(weights);
        var index = new ArrayList<String>();
        TensorSet set = SafetensorsFile.map(GOLDEN.resolve("model.safetensors"), Arena.ofAuto());
        var tensors = List.copyOf(set.tensors().values());
        int half = tensors.size() / 2;
        SafetensorsWriter.write(directory.resolve("a.safetensors"), sources(tensors.subList(0, half)));
        SafetensorsWriter.write(directory.resolve("b.safetensors"), sources(tensors.subList(half, tensors.size())));
        for (int i = 0; i < tensors.size(); i++) {
            String file = i < half ? "a.safetensors" : secondName.replace("\\", "\\\\");
            index.add("\"" + tensors.get(i).name() + "\":\"" + file + "\"");
        }
        Files.writeString(
                directory.resolve("model.safetensors.index.json"),
                "{\"metadata\":{},\"weight_map\":{" + String.join(",", index) + "}}");
    }

    private static List<SafetensorsWriter.Source> sources(List<Tensor> tensors) {
        var sources = new ArrayList<SafetensorsWriter.Source>();
        for (Tensor tensor : tensors) {
            sources.add(new SafetensorsWriter.Source(
                    tensor.name(),
                    tensor.type(),
                    tensor.shape(),
                    buffer -> buffer.put(tensor.data().asByteBuffer())));
        }
        return sources;
    }
}
