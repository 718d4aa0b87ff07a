package basalt.server;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.CheckpointWriter;
import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Tensor;
import basalt.engine.state.StateLayout;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** {@code basalt checkpoint}: inspects a checkpoint, makes one with random weights, converts one to safetensors. */
final class CheckpointCommand {
    private static final String USAGE = """
            Usage: basalt checkpoint inspect DIR [--tensors]
                       what is in a checkpoint; --tensors lists every tensor
                   basalt checkpoint slots CONFIG
                       how many sequences a GPU holds at once, by its memory;
                       CONFIG as below, or a checkpoint's directory
                   basalt checkpoint random CONFIG DIR [--type bf16|f16|f32] [--seed N]
                       makes one with random weights, of bf16 and seed 0 unless told otherwise;
                       CONFIG is based-360m, based-1b or a config.json
                   basalt checkpoint convert FROM [TO]
                       writes model.safetensors, into FROM unless told otherwise""";

    /** Memory of the cards that are in use. */
    private static final int[] GPU_GIBIBYTES = {16, 24, 40, 48, 80, 96, 141, 180};

    private CheckpointCommand() {}

    /**
     * Runs it and returns the exit code.
     *
     * @throws InvalidCheckpoint if a checkpoint cannot be read or is not to be overwritten
     * @throws StartException if it cannot be written
     */
    static int run(List<String> args, PrintStream out) {
        var plain = new ArrayList<>(args);
        boolean listsTensors = plain.remove("--tensors");
        try {
            Optional<String> type = takeOption(plain, "--type");
            Optional<String> seed = takeOption(plain, "--seed");
            String command = plain.isEmpty() ? "" : plain.removeFirst();
            if (command.equals("inspect") && plain.size() == 1) {
                inspect(Path.of(plain.getFirst()), listsTensors, out);
            } else if (command.equals("slots") && plain.size() == 1) {
                slots(plain.getFirst(), out);
            } else if (command.equals("random") && plain.size() == 2) {
                random(plain.getFirst(), Path.of(plain.getLast()), type(type), seed(seed), out);
            } else if (command.equals("convert") && !plain.isEmpty() && plain.size() <= 2) {
                convert(Path.of(plain.getFirst()), Path.of(plain.getLast()), out);
            } else {
                out.println(USAGE);
                return args.contains("--help") ? 0 : 2;
            }
            return 0;
        } catch (IllegalArgumentException e) { // a number or a type that is none, or a path with odd characters
            out.println("basalt checkpoint: " + e.getMessage());
            return 2;
        } catch (IOException e) {
            throw new StartException("the checkpoint cannot be written: " + reason(e), e);
        }
    }

    /** Where the message of the JDK is the file's name alone, why. */
    private static String reason(IOException failure) {
        return switch (failure) {
            case NoSuchFileException missing -> missing.getFile() + " cannot be made there";
            case AccessDeniedException denied -> denied.getFile() + " may not be written by this user";
            case FileAlreadyExistsException exists -> exists.getFile() + " is a file";
            default -> String.valueOf(failure.getMessage());
        };
    }

    private static Optional<String> takeOption(List<String> args, String name) {
        int at = args.indexOf(name);
        if (at < 0) {
            return Optional.empty();
        }
        if (at + 1 == args.size()) {
            throw new IllegalArgumentException(name + " needs a value");
        }
        args.remove(at);
        return Optional.of(args.remove(at));
    }

    private static ElementType type(Optional<String> name) {
        return switch (name.orElse("bf16")) {
            case "bf16" -> ElementType.BF16;
            case "f16" -> ElementType.F16;
            case "f32" -> ElementType.F32;
            default -> throw new IllegalArgumentException("--type must be bf16, f16 or f32");
        };
    }

    private static long seed(Optional<String> text) {
        try {
            return Long.parseLong(text.orElse("0"));
        } catch (NumberFormatException e) {
            throw new IllegalArgumentException("--seed must be a whole number", e);
        }
    }

    private static void random(String config, Path directory, ElementType type, long seed, PrintStream out)
            throws IOException {
        CheckpointWriter.writeRandom(directory, configJson(config), type, seed);
        inspect(directory, false, out);
    }

    private static byte[] configJson(String config) throws IOException {
        return CheckpointWriter.NAMED_CONFIGS.contains(config)
                ? CheckpointWriter.namedConfig(config)
                : Files.readAllBytes(configFile(Path.of(config)));
    }

    private static void slots(String name, PrintStream out) throws IOException {
        ModelConfig config = ModelConfig.read(configJson(name));
        out.printf(Locale.ROOT, "weights         %,d bytes of bf16%n", Short.BYTES * config.parameterCount());
        out.printf(Locale.ROOT, "a slot          %,d bytes on a GPU%n%n", Backends.gpuBytesPerSlot(config));
        out.println("memory     slots");
        for (int gibibytes : GPU_GIBIBYTES) {
            out.printf(Locale.ROOT, "%3d GiB %,8d%n", gibibytes, Backends.gpuSlots(config, (long) gibibytes << 30));
        }
    }

    private static Path configFile(Path path) {
        Path file = Files.isDirectory(path) ? path.resolve("config.json") : path;
        if (!Files.exists(file)) {
            throw new InvalidCheckpoint(file + ": is not there; name a config.json or one of "
                    + String.join(", ", CheckpointWriter.NAMED_CONFIGS));
        }
        return file;
    }

    private static void convert(Path from, Path to, PrintStream out) throws IOException {
        try (var checkpoint = Checkpoint.open(from)) {
            CheckpointWriter.convert(checkpoint, to);
        }
        inspect(to, false, out);
    }

    private static void inspect(Path directory, boolean listsTensors, PrintStream out) {
        try (var checkpoint = Checkpoint.open(directory)) {
            ModelConfig config = checkpoint.config();
            out.printf(Locale.ROOT, "directory       %s%n", directory);
            out.printf(Locale.ROOT, "parameters      %,d%n", checkpoint.parameterCount());
            out.printf(Locale.ROOT, "weights         %,d bytes of %s%n", checkpoint.weightBytes(), types(checkpoint));
            out.printf(Locale.ROOT, "layers          %d: %s%n", config.layerCount(), mixers(config));
            out.printf(
                    Locale.ROOT,
                    "width           %,d, MLP %,d%n",
                    config.width(),
                    config.mlp().innerWidth());
            out.printf(
                    Locale.ROOT, "vocabulary      %,d, padded to %,d%n", config.vocabSize(), config.paddedVocabSize());
            out.printf(
                    Locale.ROOT,
                    "state           %,d bytes a slot on the CPU, %,d on a GPU%n",
                    StateLayout.of(config, ElementType.F32).bytes(),
                    StateLayout.of(config, ElementType.BF16).bytes());
            out.printf(Locale.ROOT, "tokenizer       %s%n", tokenizer(checkpoint));
            out.printf(Locale.ROOT, "fingerprint     %s%n", checkpoint.fingerprint());
            if (listsTensors) {
                out.println();
                checkpoint.tensors().forEach(tensor -> printTensor(tensor, out));
            }
        }
    }

    private static void printTensor(Tensor tensor, PrintStream out) {
        out.printf(
                Locale.ROOT,
                "%-52s %-4s %-16s %,15d bytes%n",
                tensor.name(),
                lower(tensor.type()),
                tensor.shape(),
                tensor.data().byteSize());
    }

    private static String types(Checkpoint checkpoint) {
        return checkpoint.tensors().stream()
                .map(tensor -> lower(tensor.type()))
                .distinct()
                .collect(Collectors.joining(" and "));
    }

    private static String lower(ElementType type) {
        return type.name().toLowerCase(Locale.ROOT);
    }

    private static String mixers(ModelConfig config) {
        var counts = new TreeMap<String, Integer>();
        for (Mixer mixer : config.mixers()) {
            String name = switch (mixer) {
                case Mixer.Convolution m -> "convolution";
                case Mixer.TaylorAttention m -> "Taylor attention";
                case Mixer.WindowAttention m -> "window attention";
            };
            counts.merge(name, 1, Integer::sum);
        }
        return counts.entrySet().stream()
                .map(entry -> entry.getValue() + " " + entry.getKey())
                .collect(Collectors.joining(", "));
    }

    private static String tokenizer(Checkpoint checkpoint) {
        return checkpoint.tokenizerFile().map(file -> "tokenizer.json").orElse("none of its own");
    }
}
