package basalt.server;

import basalt.server.http.Gate;
import basalt.server.http.HttpConfig;
import basalt.server.http.HttpServer;
import basalt.server.http.Serving;
import basalt.server.observe.Metrics;
import basalt.server.observe.Tracing;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.OptionalInt;
import java.util.Random;

/**
 * Sends requests before others may, so that the first ones meet compiled code and weights in memory. They go through
 * all of HTTP, to a listener of their own, so that metrics know nothing of it. At the end of the time the one that runs
 * is left.
 */
final class WarmUp {
    private static final System.Logger LOG = System.getLogger(WarmUp.class.getName());
    private static final long BODY_BYTES_MAX = 1 << 16;
    private static final int PROMPT_TOKENS_MAX = 48;
    private static final int TOKENS_MAX = 16;
    /** Of the first request: a few rows of every kind, so that all kernels wait for the compiler at once. */
    private static final int PROMPT_TOKENS_FIRST = 7;

    private static final int TOKENS_FIRST = 2;
    private static final int CHOICES_MAX = 4;
    private static final byte[] OK = "HTTP/1.1 200".getBytes(StandardCharsets.US_ASCII);
    private static final Duration PATIENCE = Duration.ofSeconds(10);
    private static final Duration POLL = Duration.ofMillis(1);

    private WarmUp() {}

    /**
     * Takes about so long, and a quarter of it at least: the way through HTTP is as long as the kernels'.
     *
     * @param warmed how much of it has passed
     */
    static void run(Serving serving, Duration length, Duration warmed) throws InterruptedException {
        if (!length.isPositive()) {
            return;
        }
        long nanos = length.toNanos();
        long endNanos = System.nanoTime() + Math.max(nanos - warmed.toNanos(), nanos / 4);
        var gate = new Gate(PATIENCE);
        gate.open(serving.withoutPrefixes());
        String loopback = InetAddress.getLoopbackAddress().getHostAddress();
        var timeouts = new HttpConfig.Timeouts(PATIENCE, PATIENCE, PATIENCE, PATIENCE, PATIENCE);
        var limits = new HttpConfig.Limits(BODY_BYTES_MAX, BODY_BYTES_MAX, 1);
        var resume = new HttpConfig.Resume(PATIENCE, BODY_BYTES_MAX, 0);
        var access = HttpConfig.Access.OPEN;
        var config = new HttpConfig(loopback, 0, OptionalInt.empty(), limits, timeouts, access, resume, PATIENCE);
        var random = new Random(0);
        int round = 0;
        try (var metrics = new Metrics("warm-up");
                var http = HttpServer.start(config, gate, metrics, Tracing.off())) {
            for (; System.nanoTime() - endNanos < 0; round++) {
                exchange(http.port(), body(serving, random, round), endNanos);
            }
        } catch (IOException e) {
            LOG.log(System.Logger.Level.WARNING, "event=warm_up_failed reason=\"{0}\"", e.getMessage());
        }
        // What was left is cancelled, and must not count as a client's.
        while (!serving.engine().stats().isIdle() && System.nanoTime() - endNanos < PATIENCE.toNanos()) {
            Thread.sleep(POLL);
        }
        LOG.log(System.Logger.Level.DEBUG, "event=warm_up requests={0}", Integer.toString(round));
    }

    /** A read that begins now ends with the time. */
    private static void limit(Socket socket, long endNanos) throws IOException {
        long left = Duration.ofNanos(endNanos - System.nanoTime()).toMillis();
        if (left <= 0) {
            throw new SocketTimeoutException();
        }
        socket.setSoTimeout((int) left);
    }

    /** Longer from one to the next; streamed and whole, greedy and drawn, text and ids, one choice and several. */
    private static String body(Serving serving, Random random, int round) {
        int promptTokens = Math.min(PROMPT_TOKENS_FIRST << Math.min(round, 3), PROMPT_TOKENS_MAX);
        int maxTokens = Math.min(TOKENS_FIRST << Math.min(round, 3), TOKENS_MAX);
        boolean isText = round % 4 == 1 && serving.model().tokenizer().isPresent();
        String prompt = isText
                ? "\"Once upon a time there was a house at the end of the lane.\""
                : Arrays.toString(
                        random.ints(promptTokens, 0, serving.model().config().vocabSize())
                                .toArray());
        int choices =
                Math.min(1 + round / 2 % CHOICES_MAX, serving.engine().stats().slotCount());
        return "{\"prompt\":" + prompt + ",\"max_tokens\":" + maxTokens + ",\"ignore_eos\":true,\"n\":" + choices
                + ",\"stream\":" + (round % 2 == 0) + ",\"temperature\":" + (round % 4 < 2 ? 0 : 1)
                + ",\"top_k\":40,\"top_p\":0.9}";
    }

    private static void exchange(int port, String body, long endNanos) throws IOException {
        try (var socket = new Socket()) {
            socket.connect(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), (int) PATIENCE.toMillis());
            String head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                    + "Content-Type: application/json\r\nContent-Length: " + body.length() + "\r\n\r\n";
            socket.getOutputStream().write((head + body).getBytes(StandardCharsets.US_ASCII));
            var answer = new byte[OK.length];
            limit(socket, endNanos);
            socket.getInputStream().readNBytes(answer, 0, answer.length);
            if (!Arrays.equals(answer, OK)) {
                throw new IOException("a request was refused: " + body);
            }
            var rest = new byte[1 << 13];
            do {
                limit(socket, endNanos);
            } while (socket.getInputStream().read(rest) >= 0);
        } catch (SocketTimeoutException e) {
            LOG.log(System.Logger.Level.DEBUG, "event=warm_up_over");
        }
    }
}
