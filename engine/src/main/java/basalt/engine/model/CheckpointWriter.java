package basalt.engine.model;

import basalt.engine.Checks;
import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.JsonFields;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Writes checkpoints: with random weights, or in the safetensors format from any that can be read. */
public final class CheckpointWriter {
    /** Shapes of published models that {@link #namedConfig} knows. */
    public static final List<String> NAMED_CONFIGS = List.of("based-360m", "based-1b");

    private static final double DEVIATION = 0.02;
    /** What a checkpoint may have beside its weights and {@code config.json}: the tokenizer and how it chats. */
    private static final List<String> TEXT_FILES =
            List.of("tokenizer.json", "tokenizer_config.json", "chat_template.jinja");

    private CheckpointWriter() {}

    /**
     * The {@code config.json} of a published model.
     *
     * @param name one of {@link #NAMED_CONFIGS}
     */
    public static byte[] namedConfig(String name) {
        Checks.argument(NAMED_CONFIGS.contains(name), "name", name);
        try (InputStream stream = CheckpointWriter.class.getResourceAsStream(name + ".json")) {
            if (stream == null) {
                throw new IllegalStateException("resource " + name + ".json is missing");
            }
            return stream.readAllBytes();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /**
     * Writes a checkpoint with random weights: the same bits for the same arguments. Activations stay in the range of a
     * trained model's: deviation 0.02, less where branches join the residual stream, norms 1, biases 0.
     *
     * @param directory made if it is not there
     * @param configJson of the model
     * @param type of all weights
     * @throws InvalidCheckpoint if the configuration cannot be served or a checkpoint is there already
     * @throws IOException if it cannot be written
     */
    public static void writeRandom(Path directory, byte[] configJson, ElementType type, long seed) throws IOException {
        ModelConfig config = ConfigReader.read(JsonFields.parse("config.json", configJson));
        Path configFile = directory.resolve("config.json");
        if (Files.exists(configFile)) {
            throw new InvalidCheckpoint(directory + ": has a checkpoint already");
        }
        var sources = new ArrayList<SafetensorsWriter.Source>();
        float[] normals = RandomElements.normals(seed);
        long tensorSeed = seed;
        for (Map.Entry<String, List<Integer>> entry : ParameterShapes.of(config).entrySet()) {
            String name = entry.getKey();
            var elements = new RandomElements(
                    type, isNorm(name) ? 1 : 0, deviation(name, entry.getValue(), config), normals, ++tensorSeed);
            sources.add(new SafetensorsWriter.Source(name, type, entry.getValue(), elements));
        }
        Files.createDirectories(directory);
        SafetensorsWriter.write(directory.resolve(WeightFiles.SAFETENSORS), sources);
        Files.write(configFile, configJson);
    }

    private static boolean isNorm(String name) {
        return name.endsWith(".weight") && (name.contains(".norm") || name.startsWith(ParameterShapes.FINAL_NORM));
    }

    private static double deviation(String name, List<Integer> shape, ModelConfig config) {
        if (isNorm(name) || name.endsWith(".bias")) {
            return 0;
        }
        if (name.endsWith("conv.conv.weight")) {
            return 1 / Math.sqrt(3.0 * shape.getLast()); // as torch initialises a convolution
        }
        boolean endsBranch = name.endsWith("out_proj.weight") || name.endsWith("fc2.weight");
        return endsBranch ? DEVIATION / Math.sqrt(2.0 * config.layerCount()) : DEVIATION;
    }

    /**
     * Writes a checkpoint as one {@code model.safetensors} with the names and types of the model, and copies
     * {@code config.json}, the tokenizer and the chat template.
     *
     * @param directory made if it is not there; may be that of the checkpoint, for one of {@code pytorch_model.bin}
     * @throws InvalidCheckpoint if there is a {@code model.safetensors} or another checkpoint already
     * @throws IOException if it cannot be written
     */
    public static void convert(Checkpoint from, Path directory) throws IOException {
        Path file = directory.resolve(WeightFiles.SAFETENSORS);
        if (Files.exists(file)) {
            throw new InvalidCheckpoint(file + ": is there already");
        }
        Files.createDirectories(directory);
        boolean isInPlace = Files.isSameFile(from.directory(), directory);
        if (!isInPlace && Files.exists(directory.resolve("config.json"))) {
            throw new InvalidCheckpoint(directory + ": has a checkpoint already");
        }
        var sources = from.tensors().stream().map(CheckpointWriter::source).toList();
        SafetensorsWriter.write(file, sources);
        if (!isInPlace) {
            for (String name : TEXT_FILES) {
                if (Files.exists(from.directory().resolve(name))) {
                    copy(name, from.directory(), directory);
                }
            }
            copy("config.json", from.directory(), directory);
        }
    }

    private static void copy(String name, Path from, Path to) throws IOException {
        Files.copy(from.resolve(name), to.resolve(name), StandardCopyOption.REPLACE_EXISTING);
    }

    private static SafetensorsWriter.Source source(Tensor tensor) {
        var left = new MemorySegment[] {tensor.data()};
        return new SafetensorsWriter.Source(tensor.name(), tensor.type(), tensor.shape(), buffer -> {
            int bytes = buffer.remaining();
            buffer.put(left[0].asSlice(0, bytes).asByteBuffer());
            left[0] = left[0].asSlice(bytes);
        });
    }
}
