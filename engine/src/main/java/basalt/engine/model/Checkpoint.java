package basalt.engine.model;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.JsonFields;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A model in a directory: {@code config.json}, its weights ({@code model.safetensors}, the files of
 * {@code model.safetensors.index.json}, or {@code pytorch_model.bin}) and perhaps a {@code tokenizer.json}.
 *
 * <p>The weights are mapped, not read: opening costs milliseconds, and the first use of a page reads it. Nothing of
 * them may be used after {@link #close}. Safe for use by any number of threads.
 */
public final class Checkpoint implements AutoCloseable {
    private static final long CONFIG_BYTES_MAX = 1 << 20;

    private final Path directory;
    private final ModelConfig config;
    private final List<String> unknownFields;
    private final Weights weights;
    private final List<Tensor> tensors;
    private final Arena arena;
    private volatile @Nullable String fingerprint;

    private Checkpoint(
            Path directory,
            ModelConfig config,
            List<String> unknownFields,
            Weights weights,
            List<Tensor> tensors,
            Arena arena) {
        this.directory = directory;
        this.config = config;
        this.unknownFields = unknownFields;
        this.weights = weights;
        this.tensors = tensors;
        this.arena = arena;
    }

    /**
     * Opens a checkpoint and checks its configuration and the shape of every tensor.
     *
     * @throws InvalidCheckpoint naming the file, field or tensor that is wrong or that cannot be served exactly
     */
    @SuppressWarnings("MustBeClosedChecker") // the checkpoint owns the arena
    public static Checkpoint open(Path directory) {
        if (!Files.isDirectory(directory)) {
            throw new InvalidCheckpoint(directory + ": is not a directory");
        }
        Path configFile = directory.resolve("config.json");
        if (!Files.exists(configFile)) {
            throw new InvalidCheckpoint(directory + ": has no config.json");
        }
        var fields = JsonFields.read(configFile, CONFIG_BYTES_MAX);
        var arena = Arena.ofShared();
        boolean isOpen = false;
        try {
            TensorSet set = WeightFiles.map(directory, arena).withCleanNames();
            ModelConfig config = ConfigReader.read(fields, set);
            Weights weights = WeightsReader.read(config, set);
            var tensors = ParameterShapes.of(config).keySet().stream()
                    .map(name -> set.tensor(name).orElseThrow())
                    .toList();
            var checkpoint = new Checkpoint(directory, config, ConfigNames.unknown(fields), weights, tensors, arena);
            isOpen = true;
            return checkpoint;
        } finally {
            if (!isOpen) {
                arena.close();
            }
        }
    }

    /** Where it is. */
    public Path directory() {
        return directory;
    }

    /** What {@code config.json} means. */
    public ModelConfig config() {
        return config;
    }

    /** Names of fields of {@code config.json} that are not known, and so without effect. */
    public List<String> unknownFields() {
        return unknownFields;
    }

    /** The weights by their place, valid until {@link #close}. */
    public Weights weights() {
        return weights;
    }

    /** All parameters, each once: a tied head is the embedding. */
    public List<Tensor> tensors() {
        return tensors;
    }

    /** The {@code tokenizer.json}, where there is one. */
    public Optional<Path> tokenizerFile() {
        return Optional.of(directory.resolve("tokenizer.json")).filter(Files::exists);
    }

    /** Numbers in the model, each counted once. */
    public long parameterCount() {
        return tensors.stream().mapToLong(Tensor::elementCount).sum();
    }

    /** Size of the weights as stored. */
    public long weightBytes() {
        return tensors.stream().mapToLong(tensor -> tensor.data().byteSize()).sum();
    }

    /**
     * Identifies the model, whatever the format of its files: 64 hexadecimal digits. States made by one model are of
     * no use to another.
     *
     * @see Fingerprint
     */
    public String fingerprint() {
        String known = fingerprint;
        if (known == null) {
            known = Fingerprint.of(config, tensors);
            fingerprint = known;
        }
        return known;
    }

    /** Unmaps the weights. */
    @Override
    public void close() {
        arena.close();
    }
}
