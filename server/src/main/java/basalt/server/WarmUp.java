package basalt.server;

import basalt.engine.Engine;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import basalt.server.http.Gate;
import basalt.server.http.HttpConfig;
import basalt.server.http.HttpServer;
import basalt.server.http.Serving;
import basalt.server.observe.Metrics;
import basalt.server.observe.Tracing;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Random;

/**
 * Runs engine and HTTP before requests are served, so that the first ones meet compiled code and weights in memory.
 * HTTP runs on a listener of its own, so that metrics know nothing of it.
 */
final class WarmUp {
    private static final System.Logger LOG = System.getLogger(WarmUp.class.getName());
    private static final long BODY_BYTES_MAX = 1 << 16;
    private static final int PROMPT_TOKENS = 48;
    private static final int MAX_TOKENS = 16;
    private static final int REQUESTS_AT_ONCE = 4;
    /** Of the time, for the engine alone. */
    private static final double ENGINE_SHARE = 0.7;

    private static final Duration PATIENCE = Duration.ofSeconds(10);

    private WarmUp() {}

    /** Takes about so long. */
    static void run(Serving serving, Duration length) throws InterruptedException {
        long beganNanos = System.nanoTime();
        runEngine(serving.engine(), beganNanos + (long) (length.toNanos() * ENGINE_SHARE));
        if (length.isPositive()) {
            runHttp(serving, beganNanos + length.toNanos());
        }
    }

    private static void runEngine(Engine engine, long endNanos) throws InterruptedException {
        var random = new Random(0);
        for (int round = 0; System.nanoTime() - endNanos < 0; round++) {
            int count = Math.min(1 + round % REQUESTS_AT_ONCE, engine.stats().slotCount());
            var requests = new ArrayList<GenerationRequest>();
            for (int i = 0; i < count; i++) {
                requests.add(request(engine, random, round % 2 == 0));
            }
            List<Generation> generations = engine.submit(requests);
            for (Generation generation : generations) {
                finish(generation, endNanos);
            }
        }
    }

    private static GenerationRequest request(Engine engine, Random random, boolean isGreedy) {
        int[] prompt = random.ints(PROMPT_TOKENS, 0, engine.model().vocabSize()).toArray();
        SamplingParams sampling = isGreedy ? SamplingParams.GREEDY : SamplingParams.DEFAULT.withFilters(40, 0.9f, 0);
        return new GenerationRequest(
                prompt,
                MAX_TOKENS,
                sampling,
                random.nextLong(),
                1,
                List.of(),
                new int[0],
                true,
                0,
                -1,
                false,
                0,
                Optional.empty());
    }

    private static void finish(Generation generation, long endNanos) throws InterruptedException {
        while (generation.next().isPresent()) {
            if (System.nanoTime() - endNanos >= 0) {
                generation.close();
            }
        }
    }

    private static void runHttp(Serving serving, long endNanos) {
        var gate = new Gate(PATIENCE);
        gate.open(serving.withoutPrefixes());
        String loopback = InetAddress.getLoopbackAddress().getHostAddress();
        var timeouts = new HttpConfig.Timeouts(PATIENCE, PATIENCE, PATIENCE, PATIENCE, PATIENCE);
        var limits = new HttpConfig.Limits(BODY_BYTES_MAX, BODY_BYTES_MAX, 1);
        var resume = new HttpConfig.Resume(PATIENCE, BODY_BYTES_MAX, 0);
        var access = HttpConfig.Access.OPEN;
        var config = new HttpConfig(loopback, 0, OptionalInt.empty(), limits, timeouts, access, resume, PATIENCE);
        try (var metrics = new Metrics("warm-up");
                var http = HttpServer.start(config, gate, metrics, Tracing.off())) {
            do {
                exchange(http.port(), body(serving, true));
                exchange(http.port(), body(serving, false));
            } while (System.nanoTime() - endNanos < 0);
        } catch (IOException e) {
            LOG.log(System.Logger.Level.WARNING, "event=warm_up_failed reason=\"{0}\"", e.getMessage());
        }
    }

    private static String body(Serving serving, boolean isStreamed) {
        String prompt = serving.model().tokenizer().isPresent() ? "\"Once upon a time\"" : "[0,0,0,0]";
        return "{\"prompt\":" + prompt + ",\"max_tokens\":4,\"stream\":" + isStreamed + "}";
    }

    private static void exchange(int port, String body) throws IOException {
        try (var socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
            socket.setSoTimeout(Math.toIntExact(PATIENCE.toMillis()));
            String head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                    + "Content-Type: application/json\r\nContent-Length: " + body.length() + "\r\n\r\n";
            socket.getOutputStream().write((head + body).getBytes(StandardCharsets.US_ASCII));
            socket.getInputStream().readAllBytes();
        }
    }
}
