package basalt.server;

import basalt.engine.Engine;
import basalt.engine.EngineException;
import basalt.engine.backend.Backend;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ModelConfig;
import basalt.engine.text.Tokenizer;
import basalt.engine.text.Tokenizers;
import basalt.server.api.ServedModel;
import basalt.server.chat.ChatTemplate;
import basalt.server.chat.ChatTemplates;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;

/**
 * A running engine with the model it serves, and what both hold.
 *
 * @param warmed how long its backend has computed already, so that its kernels are compiled
 */
record LoadedModel(Engine engine, ServedModel served, Optional<Checkpoint> checkpoint, Duration warmed)
        implements AutoCloseable {
    /** Of the checkpoint's fingerprint, in the one that clients see. */
    private static final int FINGERPRINT_DIGITS = 12;

    private static final int UNKNOWN_FIELDS_SHOWN = 20;
    private static final System.Logger LOG = System.getLogger(LoadedModel.class.getName());

    /** Makes the model that is to be served. */
    interface Loader {
        /**
         * Loads it and starts its engine.
         *
         * @throws StartException if it cannot
         */
        LoadedModel load(ServerConfig config) throws InterruptedException;
    }

    /** Loads a checkpoint from its directory, or from a hub first. */
    static LoadedModel load(ServerConfig config) throws InterruptedException {
        Path directory = config.model().directory();
        Checkpoint checkpoint;
        try {
            checkpoint = Checkpoint.open(directory);
        } catch (EngineException.InvalidCheckpoint e) {
            throw new StartException("model " + directory + " cannot be served: " + e.getMessage(), e);
        }
        warnOfUnknown(checkpoint);
        // Beside the packing of the weights and the first steps: each takes a tenth of a second.
        StartTask<Text> text = StartTask.start("text-start", () -> Text.open(directory, checkpoint.config()));
        StartTask<String> fingerprint = StartTask.start("fingerprint-start", checkpoint::fingerprint);
        List<Backend> backends = List.of();
        boolean isLoaded = false;
        try {
            backends = Backends.open(checkpoint, config.compute());
            Duration warmed = warm(backends, checkpoint, config, () -> text.isDone() && fingerprint.isDone());
            Text words = result(text);
            Engine engine = Engine.start(checkpoint.config(), words.tokenizer(), backends, config.engine());
            isLoaded = true;
            ServedModel served = served(config.modelName(), directory, checkpoint, result(fingerprint), words, engine);
            return new LoadedModel(engine, served, Optional.of(checkpoint), warmed);
        } catch (EngineException e) {
            throw new StartException(String.valueOf(e.getMessage()), e);
        } finally {
            if (!isLoaded) {
                backends.forEach(Backend::close);
                end(fingerprint);
                checkpoint.close();
            }
        }
    }

    /** What turns text into tokens. */
    private record Text(Optional<Tokenizer> tokenizer, ChatTemplate chat) {
        static Text open(Path directory, ModelConfig config) {
            Optional<Tokenizer> tokenizer = Tokenizers.open(directory, config).map(PooledTokenizer::new);
            return new Text(tokenizer, ChatTemplates.open(directory, config, tokenizer));
        }
    }

    private static Duration warm(
            List<Backend> backends, Checkpoint checkpoint, ServerConfig config, BooleanSupplier isOver) {
        long length = config.lifecycle().warmUp().toNanos();
        if (length == 0 || !Backends.areCompiled(backends)) {
            return Duration.ZERO;
        }
        long start = System.nanoTime();
        FirstSteps.run(
                backends.getFirst(),
                checkpoint.config().vocabSize(),
                () -> isOver.getAsBoolean() || System.nanoTime() - start >= length);
        return Duration.ofNanos(System.nanoTime() - start);
    }

    private static <T> T result(StartTask<T> task) throws InterruptedException {
        try {
            return task.get();
        } catch (OutOfMemoryError e) {
            throw new EngineException.InsufficientMemory(
                    "the heap does not hold what is loaded beside the weights: raise it (-Xmx)", e);
        } catch (ExecutionException e) {
            if (e.getCause() instanceof EngineException cause) {
                throw cause;
            }
            throw new IllegalStateException(e.getCause());
        }
    }

    /** Waits for what reads the weights, so that they can be unmapped. */
    private static void end(StartTask<?> task) throws InterruptedException {
        try {
            task.get();
        } catch (ExecutionException | OutOfMemoryError e) { // the start's own failure tells more
            LOG.log(System.Logger.Level.DEBUG, "event=start_cut reason=\"{0}\"", e.getMessage());
        }
    }

    private static void warnOfUnknown(Checkpoint checkpoint) {
        List<String> names = checkpoint.unknownFields();
        if (!names.isEmpty()) {
            LOG.log(
                    System.Logger.Level.WARNING,
                    "event=config_fields_unknown count={0} names=\"{1}\" message=\"they are ignored\"",
                    Integer.toString(names.size()),
                    names.stream()
                            .limit(UNKNOWN_FIELDS_SHOWN)
                            .map(name -> name.replaceAll("[^A-Za-z0-9_.-]", "?"))
                            .collect(Collectors.joining(",")));
        }
    }

    private static ServedModel served(
            String name, Path directory, Checkpoint checkpoint, String fingerprint, Text text, Engine engine) {
        return new ServedModel(
                name,
                "fp_" + fingerprint.substring(0, FINGERPRINT_DIGITS),
                createdSeconds(directory),
                checkpoint.config(),
                engine.tokenizer(),
                text.chat(),
                checkpoint.parameterCount(),
                checkpoint.weightBytes(),
                engine.stats().stateBytesPerSlot());
    }

    private static long createdSeconds(Path directory) {
        try {
            return Files.getLastModifiedTime(directory.resolve("config.json")).toMillis() / 1_000;
        } catch (IOException e) {
            return 0;
        }
    }

    /** Of the states: those of one model on whatever backend can be exchanged, but for the fake one's. */
    String stateFingerprint() {
        boolean isFake = engine.layout().tensors().size() == 1;
        return (isFake ? "fake " : "") + checkpoint.map(Checkpoint::fingerprint).orElse(served.fingerprint());
    }

    @Override
    public void close() {
        engine.close();
        checkpoint.ifPresent(Checkpoint::close);
    }
}
