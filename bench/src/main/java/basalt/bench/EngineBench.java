package basalt.bench;

import basalt.engine.backend.Backend;
import basalt.engine.backend.cpu.CpuBackend;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.ModelConfig;
import basalt.engine.state.StateLayout;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/** {@code basalt bench engine}: decode and prefill of a backend beside the read bandwidth of the same machine. */
final class EngineBench {
    static final String USAGE = """
            basalt bench engine: tokens/s of prefill and decode beside the memory bandwidth of the same run

              --model DIR            checkpoint (models/based-10m)
              --threads N            workers (all processors)
              --batches N,N,...      rows of a decode step (1,4,16,32)
              --state-memory MIB     or as many rows as have room for their states
              --positions N,N,...    tokens consumed before the decode (100,100000)
              --prompts N,N,...      lengths of prefilled prompts (512,2048)
              --chunk N              tokens of a prefill step (128)
              --repeats N            repeats, of which the median is shown (5)
              --streams N            the load of "bench serve" without HTTP as well: so many streams
              --seconds N            for so long (30)
              --prompt-tokens N      with prompts of so many tokens (50)
              --max-tokens N         and answers of so many (256)
              --json FILE            also writes the figures there
            """;

    private static final Set<String> FLAGS = Set.of(
            "model",
            "threads",
            "batches",
            "state-memory",
            "positions",
            "prompts",
            "chunk",
            "repeats",
            "streams",
            "seconds",
            "prompt-tokens",
            "max-tokens",
            "json");
    private static final long MEMORY_PROBE_BYTES = 1L << 30;
    private static final long CACHE_PROBE_BYTES = 21L << 20;

    private final Flags flags;
    private final PrintStream out;
    private final int threadCount;
    private final int repeatCount;
    private final List<Row> rows = new ArrayList<>();

    EngineBench(String[] arguments, PrintStream out) {
        this.flags = Flags.parse(arguments, FLAGS);
        this.out = out;
        threadCount = flags.number("threads", Runtime.getRuntime().availableProcessors(), 1);
        repeatCount = flags.number("repeats", 5, 1);
    }

    void run() {
        var positions = flags.numbers("positions", new int[] {100, 100_000}, 2);
        var prompts = flags.numbers("prompts", new int[] {512, 2_048}, 1);
        int chunk = flags.number("chunk", 128, 1);
        var probe = new ReadProbe();
        double gigabytes = probe.gigabytesPerSecond(MEMORY_PROBE_BYTES, threadCount);
        double cachedGigabytes = probe.gigabytesPerSecond(CACHE_PROBE_BYTES, threadCount);
        try (var checkpoint = Checkpoint.open(modelDirectory())) {
            int[] batches = batches(checkpoint.config());
            int rowCountMax = Arrays.stream(batches).max().orElse(1);
            var backend = CpuBackend.open(
                    checkpoint.config(),
                    checkpoint.weights(),
                    rowCountMax,
                    rowCountMax,
                    chunk + rowCountMax,
                    threadCount);
            long weightBytes = checkpoint.weightBytes();
            printHead(checkpoint, backend, gigabytes, cachedGigabytes);
            var driver = new BackendDriver(backend, checkpoint.config().vocabSize());
            for (int position : positions) {
                for (int batch : batches) {
                    var rate = driver.decode(batch, position, repeatCount);
                    print(decodeRow("decode", batch, position, rate, weightBytes, gigabytes));
                }
            }
            for (int prompt : prompts) {
                print(new Row("prefill", chunk, prompt, driver.prefill(prompt, chunk, repeatCount), 0, 0));
            }
            int streamCount = flags.number("streams", 0, 1);
            try (var engine = new EngineDriver(checkpoint.config(), backend, chunk, streamCount)) {
                for (int batch : batches) {
                    var rate = engine.decode(batch, repeatCount);
                    print(decodeRow("engine", batch, EngineDriver.PROMPT_TOKENS, rate, weightBytes, gigabytes));
                }
                if (streamCount > 0) {
                    print(loadRow(engine, streamCount));
                }
            }
            double gigabytesAfter = probe.gigabytesPerSecond(MEMORY_PROBE_BYTES, threadCount);
            out.printf(Locale.ROOT, "read probe again at the end: %.1f GB/s over 1 GiB%n", gigabytesAfter);
            writeJson(new Report(
                    checkpoint.directory().toString(),
                    backend.name(),
                    threadCount,
                    weightBytes,
                    backend.layout().bytes(),
                    gigabytes,
                    gigabytesAfter,
                    cachedGigabytes,
                    rows));
        }
    }

    private int[] batches(ModelConfig config) {
        int mebibytes = flags.number("state-memory", 0, 1);
        if (mebibytes == 0) {
            return flags.numbers("batches", new int[] {1, 4, 16, 32}, 1);
        }
        if (flags.text("batches").isPresent()) {
            throw new BenchException("--state-memory and --batches both say how many rows a step has: give one");
        }
        long stateBytes = StateLayout.of(config, ElementType.F32).bytes();
        long slots = ((long) mebibytes << 20) / stateBytes;
        if (slots == 0) {
            throw new BenchException("--state-memory: the state of one sequence takes " + stateBytes + " bytes");
        }
        return new int[] {Math.toIntExact(slots)};
    }

    private Row loadRow(EngineDriver engine, int streamCount) {
        int promptTokens = flags.number("prompt-tokens", 50, 1);
        double rate = engine.load(
                streamCount, promptTokens, flags.number("max-tokens", 256, 1), flags.number("seconds", 30, 1));
        return new Row("streams", streamCount, promptTokens, new Rate(rate, rate, rate), 0, 0);
    }

    private static Row decodeRow(
            String kind, int rowCount, long position, Rate rate, long weightBytes, double probeGigabytes) {
        double read = rate.median() / rowCount * weightBytes / 1e9;
        return new Row(kind, rowCount, position, rate, read, 100 * read / probeGigabytes);
    }

    private Path modelDirectory() {
        return flags.text("model")
                .map(Path::of)
                .orElseGet(() -> Path.of(System.getProperty("basalt.home", "."), "models", "based-10m"));
    }

    private void printHead(Checkpoint checkpoint, Backend backend, double gigabytes, double cachedGigabytes) {
        out.printf(
                Locale.ROOT,
                "%s: %,d parameters, %.1f MB of weights, %.2f MB of state a sequence%n",
                checkpoint.directory().getFileName(),
                checkpoint.parameterCount(),
                checkpoint.weightBytes() / 1e6,
                backend.layout().bytes() / 1e6);
        out.printf(Locale.ROOT, "%s, %d threads%n", backend.name(), threadCount);
        out.printf(
                Locale.ROOT, "read probe: %.1f GB/s over 1 GiB, %.1f GB/s over 21 MiB%n", gigabytes, cachedGigabytes);
        out.printf(
                Locale.ROOT,
                "%-8s %6s %9s %12s %10s %10s  %s%n",
                "",
                "rows",
                "position",
                "tokens/s",
                "min",
                "max",
                "weights read");
    }

    private void print(Row row) {
        rows.add(row);
        var read = row.readGigabytesPerSecond() == 0
                ? ""
                : String.format(
                        Locale.ROOT,
                        "%.1f GB/s, %.0f%% of the probe",
                        row.readGigabytesPerSecond(),
                        row.percentOfProbe());
        out.printf(
                Locale.ROOT,
                "%-8s %6d %9d %12.1f %10.1f %10.1f  %s%n",
                row.kind(),
                row.stepRows(),
                row.tokens(),
                row.tokensPerSecond().median(),
                row.tokensPerSecond().min(),
                row.tokensPerSecond().max(),
                read);
    }

    private void writeJson(Report report) {
        flags.text("json").ifPresent(file -> {
            try {
                new ObjectMapper()
                        .enable(SerializationFeature.INDENT_OUTPUT)
                        .writeValue(Path.of(file).toFile(), report);
            } catch (IOException e) {
                throw new BenchException("cannot write " + file + ": " + e.getMessage(), e);
            }
        });
    }

    /**
     * One line of the table.
     *
     * @param kind decode or prefill of the backend alone, engine for whole generations, streams for one after another
     * @param stepRows rows of a decode step, tokens of a prefill step, or generations or streams at a time
     * @param tokens tokens consumed before, or length of the prompt
     * @param readGigabytesPerSecond weights read, once a step; 0 for prefill, which is bound by arithmetic
     * @param percentOfProbe of the reading over 1 GiB
     */
    record Row(
            String kind,
            int stepRows,
            long tokens,
            Rate tokensPerSecond,
            double readGigabytesPerSecond,
            double percentOfProbe) {}

    /** All figures of a run, as written to the JSON file. */
    record Report(
            String model,
            String backend,
            int threads,
            long weightBytes,
            long stateBytes,
            double probeGigabytesPerSecond,
            double probeGigabytesPerSecondAtEnd,
            double cachedProbeGigabytesPerSecond,
            List<Row> rows) {}
}
