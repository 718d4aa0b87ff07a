package basalt.bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.io.IOException;
import java.io.PrintStream;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Set;

/** {@code basalt bench serve URL}: concurrent streams against a running server. */
final class ServeBench {
    static final String USAGE = """
            basalt bench serve URL: concurrent streamed completions against a running server

              --streams N            streams at a time (16)
              --requests N           ends after so many requests (4 times the streams)
              --seconds N            or ends so long after the start, and then lets open streams finish
              --prompt-tokens N      length of each prompt (50)
              --max-tokens N         length of each answer (256)
              --temperature T        0 to 1 (0)
              --top-p P              0 to 1 (1)
              --prompts N            different prompts (8)
              --vocab N              prompts draw their ids from [0, N) (1000)
              --cancel-share P       share of requests that this side closes half-way (0)
              --arrivals N           other prompts that arrive a second, each answered by one token (0)
              --arrival-tokens N     length of each of those (2,000)
              --check true|false     whether every stream must equal the same request run alone (true)
              --json FILE            also writes the figures there
            """;

    /** Until a prompt that arrives is one that came before, which a server might know. */
    private static final int ARRIVAL_SECONDS = 60;

    private static final Set<String> FLAGS = Set.of(
            "streams",
            "requests",
            "seconds",
            "prompt-tokens",
            "max-tokens",
            "temperature",
            "top-p",
            "prompts",
            "vocab",
            "cancel-share",
            "arrivals",
            "arrival-tokens",
            "check",
            "json");

    private final Flags flags;
    private final PrintStream out;
    private final URI server;

    ServeBench(String[] arguments, PrintStream out) {
        this.flags = Flags.parse(arguments, FLAGS);
        this.out = out;
        server = server(flags);
    }

    /** The one URL that is given. */
    static URI server(Flags flags) {
        if (flags.words().size() != 1) {
            throw new BenchException("name one URL, such as http://127.0.0.1:8080");
        }
        String text = flags.words().getFirst();
        try {
            var server = URI.create(text);
            if ("http".equals(server.getScheme()) && server.getHost() != null) {
                return server;
            }
        } catch (IllegalArgumentException e) {
            // Falls through to the one message.
        }
        throw new BenchException("not a URL of the form http://host:port: " + text);
    }

    /** Runs; false if a stream failed. */
    boolean run() {
        int streamCount = flags.number("streams", 16, 1);
        int seconds = flags.number("seconds", 0, 1);
        int requestCount = seconds > 0 ? Integer.MAX_VALUE : flags.number("requests", 4 * streamCount, 1);
        var prompts = new PromptSet(
                modelName(server),
                flags.number("prompts", 8, 1),
                flags.number("prompt-tokens", 50, 1),
                flags.number("max-tokens", 256, 1),
                flags.number("vocab", 1_000, 1),
                new PromptSet.Sampling(flags.share("temperature", 0), flags.share("top-p", 1)));
        boolean checks = Boolean.parseBoolean(flags.text("check").orElse("true"));
        var run = new LoadRun(server, prompts, streamCount, requestCount, seconds, flags.share("cancel-share", 0));
        out.printf(
                Locale.ROOT,
                "model %s, %d streams, prompts of %d tokens, answers of %d%n",
                prompts.model(),
                streamCount,
                prompts.promptTokens(),
                prompts.maxTokens());
        run.warmUp(checks);
        var report = measure(run, prompts.model());
        print(report);
        writeJson(report);
        return report.failedCount() == 0 && report.differentCount() == 0;
    }

    /** With the other prompts that were asked for beside it. */
    private LoadReport measure(LoadRun run, String model) {
        int perSecond = flags.number("arrivals", 0, 1);
        if (perSecond == 0) {
            return run.measure();
        }
        int tokens = flags.number("arrival-tokens", 2_000, 1);
        var prompts = new PromptSet(
                model,
                perSecond * ARRIVAL_SECONDS,
                tokens,
                1,
                flags.number("vocab", 1_000, 1),
                PromptSet.Sampling.GREEDY);
        var arrivals = new PromptArrivals(server, prompts, perSecond);
        LoadReport report;
        try (arrivals) {
            report = run.measure();
        }
        var others = arrivals.report();
        out.printf(
                Locale.ROOT,
                "beside them %d prompts of %d tokens, %d a second, %d answered, first token, ms: p50 %.1f  p99 %.1f%n",
                others.sentCount(),
                tokens,
                perSecond,
                others.completeCount(),
                others.firstTokenMillis().p50(),
                others.firstTokenMillis().p99());
        return report;
    }

    /** The name of the model that a server has. */
    static String modelName(URI server) {
        try (var socket = new Socket(server.getHost(), server.getPort() < 0 ? 80 : server.getPort())) {
            var head = "GET /v1/models HTTP/1.1\r\nHost: " + server.getAuthority() + "\r\nConnection: close\r\n\r\n";
            socket.getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
            var response = new HttpResponse(socket.getInputStream());
            var body = response.rest();
            if (response.status() != 200) {
                throw new BenchException("GET /v1/models: " + response.status() + " " + body.strip());
            }
            return new ObjectMapper()
                    .readTree(body)
                    .path("data")
                    .path(0)
                    .path("id")
                    .asText();
        } catch (IOException e) {
            throw new BenchException("cannot reach " + server + ": " + e.getMessage(), e);
        }
    }

    private void print(LoadReport report) {
        out.printf(
                Locale.ROOT,
                "%d complete, %d cancelled, %d refused, %d failed, %d different from the same request alone%n",
                report.completeCount(),
                report.cancelledCount(),
                report.refusedCount(),
                report.failedCount(),
                report.differentCount());
        for (var failure : report.failures()) {
            out.printf(Locale.ROOT, "  failed: %s%n", failure);
        }
        out.printf(
                Locale.ROOT,
                "%.0f tokens/s in all, %d tokens in %.1f s%n",
                report.tokensPerSecond(),
                report.tokens(),
                report.seconds());
        out.printf(
                Locale.ROOT,
                "time to first token, ms:   p50 %.2f  p90 %.2f  p99 %.2f%n",
                report.firstTokenMillis().p50(),
                report.firstTokenMillis().p90(),
                report.firstTokenMillis().p99());
        out.printf(
                Locale.ROOT,
                "inter-token latency, ms:   p50 %.2f  p90 %.2f  p99 %.2f%n",
                report.gapMillis().p50(),
                report.gapMillis().p90(),
                report.gapMillis().p99());
        if (!Double.isNaN(report.slotsBusyMean())) {
            out.printf(
                    Locale.ROOT,
                    "the server: %.1f slots busy on average, %.1f rows a step%n",
                    report.slotsBusyMean(),
                    report.rowsPerStep());
        }
    }

    private void writeJson(LoadReport report) {
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
}
