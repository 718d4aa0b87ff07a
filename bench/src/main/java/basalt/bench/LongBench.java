package basalt.bench;

import basalt.engine.Engine;
import basalt.engine.EngineConfig;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import basalt.engine.TokenEvent;
import basalt.engine.backend.cpu.CpuBackend;
import basalt.engine.model.Checkpoint;
import basalt.engine.text.Tokenizer;
import basalt.engine.text.Tokenizers;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;

/**
 * {@code basalt bench long}: memory and speed of one very long prompt and one very long answer, and the loss on a text
 * against the position in it.
 */
final class LongBench {
    static final String USAGE = """
            basalt bench long: one long prompt, one long answer, and loss against position

              --text FILE            text for the prompt and the loss, best not one of the training; must be given
              --model DIR            checkpoint (models/based-10m)
              --threads N            workers (all processors)
              --tokens N             tokens of the prompt, and of the answer (200000)
              --loss-tokens N        tokens of each scored piece of the text (32000)
              --pieces N             pieces that the loss is the mean of (4)
              --recent-tokens N      also scores each token of them with N to 2 N - 1 tokens of past alone (1000)
              --interval N           tokens between two readings (10000)
              --csv FILE             also writes the readings there
              --plot FILE            also draws them there, as SVG
            """;

    private static final Set<String> FLAGS = Set.of(
            "model", "text", "threads", "tokens", "loss-tokens", "pieces", "recent-tokens", "interval", "csv", "plot");
    /** Tokens whose losses are averaged for one point. */
    private static final int LOSS_BUCKET_TOKENS = 500;

    private final Flags flags;
    private final PrintStream out;
    private final int tokenCount;
    private final int interval;
    private final List<Reading> readings = new ArrayList<>();

    /** What was seen at one position: resident memory, and the speed since the reading before. */
    record Reading(String stage, long position, double residentMegabytes, double tokensPerSecond) {}

    LongBench(String[] arguments, PrintStream out) {
        flags = Flags.parse(arguments, FLAGS);
        this.out = out;
        tokenCount = flags.number("tokens", 200_000, 1);
        interval = flags.number("interval", 10_000, 1);
    }

    void run() throws IOException {
        try (var checkpoint = Checkpoint.open(modelDirectory())) {
            Tokenizer tokenizer = Tokenizers.open(checkpoint.directory(), checkpoint.config())
                    .orElseThrow(() -> new BenchException("the model has no tokenizer for --text"));
            String file = flags.text("text").orElseThrow(() -> new BenchException("--text FILE is needed"));
            int[] text = tokenizer.encode(Files.readString(Path.of(file)));
            int threads = flags.number("threads", Runtime.getRuntime().availableProcessors(), 1);
            var backend = CpuBackend.open(checkpoint.config(), checkpoint.weights(), 2, 2, 128, threads);
            try (var engine = Engine.start(
                    checkpoint.config(),
                    Optional.of(tokenizer),
                    List.of(backend),
                    new EngineConfig(
                            2, 128, 50, 4, 4L * tokenCount + text.length, EngineConfig.DEFAULT.slowReaderTimeout()))) {
                Losses losses = losses(engine, text);
                generate(engine, text);
                writeCsv(losses);
                writePlot(losses);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new BenchException("interrupted", e);
        }
    }

    private Path modelDirectory() {
        return flags.text("model")
                .map(Path::of)
                .orElseGet(() -> Path.of(System.getProperty("basalt.home", "."), "models", "based-10m"));
    }

    /**
     * Mean loss in nats of each bucket of positions, over the pieces of the text.
     *
     * @param whole of tokens that have all of the piece before them as their past
     * @param recent of the same tokens with a short past, so that what differs between places of the text is in both;
     *     those without so much past are left out
     */
    private record Losses(double[] whole, double[] recent) {
        Losses(int bucketCount) {
            this(new double[bucketCount], new double[bucketCount]);
        }
    }

    private Losses losses(Engine engine, int[] text) throws InterruptedException {
        int length = flags.number("loss-tokens", 32_000, LOSS_BUCKET_TOKENS);
        int recent = flags.number("recent-tokens", 1_000, 1);
        int pieces = Math.min(flags.number("pieces", 4, 1), text.length / length);
        if (pieces == 0) {
            throw new BenchException("the text has " + text.length + " tokens, fewer than --loss-tokens " + length);
        }
        var losses = new Losses(length / LOSS_BUCKET_TOKENS);
        for (int piece = 0; piece < pieces; piece++) {
            int[] ids = Arrays.copyOfRange(text, piece * length, (piece + 1) * length);
            score(engine, ids, 0, 0, losses.whole);
            for (int start = 0; start + 2 * recent <= length; start += recent) {
                score(engine, Arrays.copyOfRange(ids, start, start + 2 * recent), start, recent, losses.recent);
            }
        }
        for (int bucket = 0; bucket < losses.whole.length; bucket++) {
            losses.whole[bucket] /= (double) pieces * LOSS_BUCKET_TOKENS;
            losses.recent[bucket] /= (double) pieces * LOSS_BUCKET_TOKENS;
            out.printf(
                    Locale.ROOT,
                    "loss positions %6d..: %.4f nats, with %d to %d tokens of past %.4f%n",
                    bucket * LOSS_BUCKET_TOKENS,
                    losses.whole[bucket],
                    recent,
                    2 * recent - 1,
                    losses.recent[bucket]);
        }
        return losses;
    }

    /**
     * Adds up the losses of a text's tokens.
     *
     * @param start position of the first one in its piece
     * @param skipped tokens that are read and not counted
     */
    private static void score(Engine engine, int[] ids, int start, int skipped, double[] sums)
            throws InterruptedException {
        var request = new GenerationRequest(
                ids, 0, SamplingParams.GREEDY, 0, 1, List.of(), new int[0], true, 0, 0, true, 0, Optional.empty());
        try (var generation = engine.submit(request)) {
            for (var event = generation.next(); event.isPresent(); event = generation.next()) {
                if (event.get() instanceof TokenEvent.Scored scored
                        && scored.index() >= skipped
                        && (start + scored.index()) / LOSS_BUCKET_TOKENS < sums.length
                        && scored.logprobs().isPresent()) {
                    sums[(start + scored.index()) / LOSS_BUCKET_TOKENS] -=
                            scored.logprobs().get().chosen();
                }
            }
        }
    }

    private void generate(Engine engine, int[] text) throws InterruptedException, IOException {
        var prompt = new int[tokenCount];
        for (int i = 0; i < prompt.length; i++) {
            prompt[i] = text[i % text.length];
        }
        var request = new GenerationRequest(
                prompt,
                tokenCount,
                SamplingParams.DEFAULT,
                1,
                1,
                List.of(),
                new int[0],
                true,
                0,
                -1,
                false,
                0,
                Optional.empty());
        read("start", 0, 0);
        long start = System.nanoTime();
        long promptBefore = engine.stats().promptTokenCount();
        try (var generation = engine.submit(request)) {
            long reached = 0;
            while (reached + interval < tokenCount) {
                long consumed = engine.stats().promptTokenCount() - promptBefore;
                if (consumed - reached >= interval) {
                    long now = System.nanoTime();
                    read("prompt", consumed, 1e9 * (consumed - reached) / (now - start));
                    reached = consumed;
                    start = now;
                }
                Thread.sleep(5);
            }
            long sampled = 0;
            for (var event = generation.next(); event.isPresent(); event = generation.next()) {
                if (event.get() instanceof TokenEvent.Sampled) {
                    sampled++;
                    if (sampled == 1) {
                        start = System.nanoTime();
                    } else if (sampled % interval == 0) {
                        long now = System.nanoTime();
                        read("answer", tokenCount + sampled, 1e9 * interval / (now - start));
                        start = now;
                    }
                }
            }
            out.printf("sampled %,d tokens%n", sampled);
        }
    }

    private void read(String stage, long position, double tokensPerSecond) throws IOException {
        var reading = new Reading(stage, position, residentMegabytes(), tokensPerSecond);
        readings.add(reading);
        out.printf(
                Locale.ROOT,
                "%-7s position %7d  %6.1f MB resident  %8.1f tokens/s%n",
                reading.stage(),
                reading.position(),
                reading.residentMegabytes(),
                reading.tokensPerSecond());
    }

    private static double residentMegabytes() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmRSS:")) {
                return Long.parseLong(line.replaceAll("\\D", "")) / 1024.0;
            }
        }
        return 0;
    }

    private void writeCsv(Losses losses) throws IOException {
        if (flags.text("csv").isEmpty()) {
            return;
        }
        var lines = new ArrayList<String>();
        lines.add("stage,position,resident_mb,tokens_per_second,loss_nats,loss_of_recent_nats");
        for (var r : readings) {
            lines.add(String.format(
                    Locale.ROOT,
                    "%s,%d,%.1f,%.1f,,",
                    r.stage(),
                    r.position(),
                    r.residentMegabytes(),
                    r.tokensPerSecond()));
        }
        for (int bucket = 0; bucket < losses.whole.length; bucket++) {
            lines.add(String.format(
                    Locale.ROOT,
                    "loss,%d,,,%.4f,%.4f",
                    bucket * LOSS_BUCKET_TOKENS,
                    losses.whole[bucket],
                    losses.recent[bucket]));
        }
        Files.write(Path.of(flags.text("csv").get()), lines);
    }

    private void writePlot(Losses losses) throws IOException {
        if (flags.text("plot").isEmpty()) {
            return;
        }
        var memory = new LinePlot("Resident memory, MB", "position in the sequence, tokens");
        var speed = new LinePlot("Speed, tokens/s (prompt, then answer)", "position in the sequence, tokens");
        for (var r : readings) {
            memory.add(0, (double) r.position(), r.residentMegabytes());
            if (r.tokensPerSecond() > 0) {
                speed.add(0, (double) r.position(), r.tokensPerSecond());
            }
        }
        int recent = flags.number("recent-tokens", 1_000, 1);
        var loss = new LinePlot(
                "Loss, nats per token; ochre: with " + recent + " to " + (2 * recent - 1) + " tokens of past alone",
                "position in the text, tokens");
        for (int bucket = 0; bucket < losses.whole.length; bucket++) {
            double middle = (bucket + 0.5) * LOSS_BUCKET_TOKENS;
            loss.add(0, middle, losses.whole[bucket]);
            if (bucket * LOSS_BUCKET_TOKENS >= recent) {
                loss.add(1, middle, losses.recent[bucket]);
            }
        }
        Files.writeString(Path.of(flags.text("plot").get()), LinePlot.svg(List.of(memory, speed, loss)));
    }
}
