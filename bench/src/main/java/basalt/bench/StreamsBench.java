package basalt.bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/**
 * {@code basalt bench streams URL}: thousands of endless streams at a time, read by one thread that does as little as
 * can be, as it shares the processors with the server.
 */
final class StreamsBench {
    static final String USAGE = """
            basalt bench streams URL: many endless streams of a running server, or of "basalt bench bare"

              --streams N            streams at a time (5000)
              --seconds N            measured so long, once all streams have begun (30)
              --pid N                process of the server on this machine, whose memory is told
            """;

    private static final Set<String> FLAGS = Set.of("streams", "seconds", "pid");
    private static final int PROMPT_TOKENS = 8;
    private static final long BEGIN_SECONDS_MAX = 300;
    private static final long SELECT_MILLIS = 100;
    /** Begins an event. */
    private static final byte[] EVENT = "data: {".getBytes(StandardCharsets.US_ASCII);
    /** Begins the tokens of an event. */
    private static final byte[] IDS = "\"token_ids\":[".getBytes(StandardCharsets.US_ASCII);

    private static final int GAPS_KEPT_OF = 16; // one stream of so many tells its gaps

    private final URI server;
    private final int streamCount;
    private final int seconds;
    private final int pid;
    private final PrintStream out;
    private final ByteBuffer buffer = ByteBuffer.allocateDirect(256 * 1_024);
    private final Samples gaps = new Samples();
    private long eventCount;
    private long tokenCount;
    private long byteCount;
    private int begunCount;
    private int lostCount;
    private boolean isMeasuring;

    /** One connection. */
    private static final class Stream {
        final boolean keepsGaps;
        long lastEventNanos; // 0 before the first
        int matched; // bytes of EVENT at the end of what was read
        int idsMatched; // bytes of IDS there
        boolean isInIds;

        Stream(boolean keepsGaps) {
            this.keepsGaps = keepsGaps;
        }
    }

    StreamsBench(String[] arguments, PrintStream out) {
        var flags = Flags.parse(arguments, FLAGS);
        server = ServeBench.server(flags);
        streamCount = flags.number("streams", 5_000, 1);
        seconds = flags.number("seconds", 30, 1);
        pid = flags.number("pid", 0, 1);
        this.out = out;
    }

    /** A request whose answer has so many tokens. */
    static byte[] body(String model, int seed, int maxTokens) {
        var request = new ObjectMapper().createObjectNode();
        request.put("model", model);
        var prompt = request.putArray("prompt");
        for (int i = 0; i < PROMPT_TOKENS; i++) {
            prompt.add((seed + i) % 1_000);
        }
        return request.put("max_tokens", maxTokens)
                .put("seed", seed)
                .put("stream", true)
                .put("ignore_eos", true)
                .put("return_token_ids", true)
                .toString()
                .getBytes(StandardCharsets.UTF_8);
    }

    /** Runs; false if a stream ended. */
    boolean run() {
        String model = ServeBench.modelName(server);
        long memoryBefore = residentKilobytes();
        var channels = new ArrayList<SocketChannel>();
        try (var selector = Selector.open()) {
            begin(model, selector, channels);
            await(selector);
            long memory = residentKilobytes();
            double elapsed = measure(selector);
            print(elapsed, Math.max(memory, residentKilobytes()) - memoryBefore);
        } catch (IOException e) {
            throw new BenchException("streams of " + server + ": " + e.getMessage(), e);
        } finally {
            close(channels);
        }
        return lostCount == 0;
    }

    private void begin(String model, Selector selector, List<SocketChannel> channels) throws IOException {
        var address = new InetSocketAddress(server.getHost(), server.getPort());
        for (int i = 0; i < streamCount; i++) {
            var channel = SocketChannel.open(address);
            channels.add(channel);
            channel.write(ByteBuffer.wrap(Completion.request(server, body(model, i, Integer.MAX_VALUE))));
            channel.configureBlocking(false);
            channel.register(selector, SelectionKey.OP_READ, new Stream(i % GAPS_KEPT_OF == 0));
            if (i % 50 == 0) {
                selector.select(this::read, 1);
            }
        }
    }

    /** Until every stream has had an event. */
    private void await(Selector selector) throws IOException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(BEGIN_SECONDS_MAX);
        while (begunCount < streamCount && lostCount == 0) {
            selector.select(this::read, SELECT_MILLIS);
            if (System.nanoTime() - end > 0) {
                throw new BenchException("only " + begunCount + " streams began in " + BEGIN_SECONDS_MAX + " s");
            }
        }
    }

    private double measure(Selector selector) throws IOException {
        eventCount = 0;
        tokenCount = 0;
        byteCount = 0;
        isMeasuring = true;
        long began = System.nanoTime();
        long end = began + TimeUnit.SECONDS.toNanos(seconds);
        while (System.nanoTime() - end < 0) {
            selector.select(this::read, SELECT_MILLIS);
        }
        return (System.nanoTime() - began) / 1e9;
    }

    private void read(SelectionKey key) {
        var stream = (Stream) key.attachment();
        int count;
        try {
            buffer.clear();
            count = ((SocketChannel) key.channel()).read(buffer);
        } catch (IOException e) {
            count = -1;
        }
        if (count < 0) {
            lostCount++;
            key.cancel();
            return;
        }
        int events = count(stream, count);
        if (events == 0) {
            return;
        }
        long now = System.nanoTime();
        if (stream.lastEventNanos == 0) {
            begunCount++;
        } else if (stream.keepsGaps && isMeasuring) {
            gaps.add(now - stream.lastEventNanos);
        }
        stream.lastEventNanos = now;
        eventCount += events;
        byteCount += count;
    }

    /** Events that begin in the buffer, whose tokens it counts; one may have begun in the bytes read before. */
    private int count(Stream stream, int length) {
        int events = 0;
        for (int i = 0; i < length; i++) {
            byte next = buffer.get(i);
            if (stream.isInIds) {
                tokenCount += next == ',' || next == ']' ? 1 : 0;
                stream.isInIds = next != ']';
                continue;
            }
            stream.matched = matched(EVENT, stream.matched, next);
            stream.idsMatched = matched(IDS, stream.idsMatched, next);
            if (stream.matched == EVENT.length) {
                events++;
                stream.matched = 0;
            } else if (stream.idsMatched == IDS.length) {
                stream.isInIds = true;
                stream.idsMatched = 0;
            }
        }
        return events;
    }

    /** Bytes of a pattern that are there after one more. */
    private static int matched(byte[] pattern, int before, byte next) {
        if (next == pattern[before]) {
            return before + 1;
        }
        return next == pattern[0] ? 1 : 0;
    }

    private void print(double elapsed, long memoryKilobytes) {
        out.printf(
                Locale.ROOT,
                "%d streams, %d lost: %.0f tokens/s in %.0f events/s, %.1f MB/s, %.0f B an event%n",
                streamCount,
                lostCount,
                tokenCount / elapsed,
                eventCount / elapsed,
                byteCount / elapsed / 1e6,
                byteCount / (double) Math.max(1, eventCount));
        out.printf(
                Locale.ROOT,
                "gaps between reads of a stream, ms: p50 %.1f  p99 %.1f  longest %.1f%n",
                gaps.millisAt(0.5),
                gaps.millisAt(0.99),
                gaps.millisAt(1));
        if (pid > 0) {
            out.printf(
                    Locale.ROOT,
                    "resident memory of the server: %.1f KB a stream%n",
                    (double) memoryKilobytes / streamCount);
        }
    }

    private long residentKilobytes() {
        if (pid == 0) {
            return 0;
        }
        try {
            return Files.readAllLines(Path.of("/proc/" + pid + "/status")).stream()
                    .filter(line -> line.startsWith("VmRSS:"))
                    .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")))
                    .findFirst()
                    .orElseThrow(() -> new BenchException("process " + pid + " has no memory"));
        } catch (IOException e) {
            throw new BenchException("no process " + pid, e);
        }
    }

    private static void close(List<SocketChannel> channels) {
        for (var channel : channels) {
            try {
                channel.close();
            } catch (IOException e) {
                // It is gone, as it was to be.
            }
        }
    }
}
