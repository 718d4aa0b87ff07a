package basalt.server;

import basalt.engine.Engine;
import basalt.engine.EngineException;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.Tensor;
import basalt.engine.text.Tokenizer;
import basalt.engine.text.Tokenizers;
import basalt.server.api.ServedModel;
import basalt.server.chat.ChatTemplate;
import basalt.server.chat.ChatTemplates;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;

/** A running engine with the model it serves, and what both hold. */
record LoadedModel(Engine engine, ServedModel served, Optional<Checkpoint> checkpoint) implements AutoCloseable {
    /** Bytes of each tensor that tell models apart in the fingerprint that clients see. */
    private static final int FINGERPRINT_BYTES_PER_TENSOR = 1_024;

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
        boolean isLoaded = false;
        try {
            Optional<Tokenizer> tokenizer =
                    Tokenizers.open(directory, checkpoint.config()).map(PooledTokenizer::new);
            ChatTemplate chat = ChatTemplates.open(directory, checkpoint.config(), tokenizer);
            Engine engine = Engine.start(
                    checkpoint.config(), tokenizer, Backends.open(checkpoint, config.compute()), config.engine());
            isLoaded = true;
            return new LoadedModel(
                    engine, served(config.modelName(), directory, checkpoint, chat, engine), Optional.of(checkpoint));
        } catch (EngineException e) {
            throw new StartException(String.valueOf(e.getMessage()), e);
        } finally {
            if (!isLoaded) {
                checkpoint.close();
            }
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
            String name, Path directory, Checkpoint checkpoint, ChatTemplate chat, Engine engine) {
        return new ServedModel(
                name,
                fingerprint(checkpoint),
                createdSeconds(directory),
                checkpoint.config(),
                engine.tokenizer(),
                chat,
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

    /** Of the shape and the first bytes of each tensor, so that a large model starts at once. */
    private static String fingerprint(Checkpoint checkpoint) {
        try {
            var digest = MessageDigest.getInstance("SHA-256");
            digest.update(checkpoint.config().toString().getBytes(StandardCharsets.UTF_8));
            for (Tensor tensor : checkpoint.tensors()) {
                long bytes =
                        Math.min(FINGERPRINT_BYTES_PER_TENSOR, tensor.data().byteSize());
                digest.update(tensor.data().asSlice(0, bytes).toArray(ValueLayout.JAVA_BYTE));
            }
            return "fp_" + HexFormat.of().formatHex(digest.digest()).substring(0, FINGERPRINT_DIGITS);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
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
