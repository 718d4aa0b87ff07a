package basalt.bench;

import java.io.IOException;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.OptionalDouble;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Polls the server's {@code /metrics} on a thread of its own while a run lasts: mean busy slots, and rows a step. A
 * server without them is measured all the same.
 */
final class ServerMetrics implements AutoCloseable {
    /** Long: making the answer costs the server 5 ms, which at four a second was 2 % of a core. */
    private static final long PERIOD_NANOS = 1_000_000_000;

    static final String SLOTS_BUSY = "basalt_slots_busy";
    private static final String STEPS = "basalt_steps_total";
    private static final String STEP_ROWS = "basalt_step_rows_total";

    private final URI server;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition closing = lock.newCondition();
    private final Reading first;
    private Reading last;
    private double busySum;
    private int busyCount;
    private boolean isClosed;

    private record Reading(OptionalDouble slotsBusy, OptionalDouble steps, OptionalDouble stepRows) {
        private static final Reading NONE =
                new Reading(OptionalDouble.empty(), OptionalDouble.empty(), OptionalDouble.empty());
    }

    ServerMetrics(URI server) {
        this.server = server;
        first = read();
        last = first;
        Thread.ofVirtual().name("metrics").start(this::poll);
    }

    private void poll() {
        lock.lock();
        try {
            while (!isClosed) {
                var reading = read();
                if (!reading.equals(Reading.NONE)) {
                    last = reading;
                }
                if (reading.slotsBusy().isPresent()) {
                    busySum += reading.slotsBusy().getAsDouble();
                    busyCount++;
                }
                long ignored = closing.awaitNanos(PERIOD_NANOS);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            lock.unlock();
        }
    }

    /** Mean of the busy slots over all readings so far. */
    OptionalDouble slotsBusyMean() {
        lock.lock();
        try {
            return busyCount == 0 ? OptionalDouble.empty() : OptionalDouble.of(busySum / busyCount);
        } finally {
            lock.unlock();
        }
    }

    /** Rows of the steps since the start, by their number. */
    OptionalDouble rowsPerStep() {
        lock.lock();
        try {
            if (first.steps().isEmpty()
                    || last.steps().isEmpty()
                    || last.stepRows().isEmpty()) {
                return OptionalDouble.empty();
            }
            double steps = last.steps().getAsDouble() - first.steps().getAsDouble();
            double rows = last.stepRows().getAsDouble() - first.stepRows().orElse(0);
            return steps > 0 ? OptionalDouble.of(rows / steps) : OptionalDouble.empty();
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void close() {
        lock.lock();
        try {
            isClosed = true;
            closing.signalAll();
        } finally {
            lock.unlock();
        }
    }

    private Reading read() {
        try {
            var text = text(server);
            return new Reading(value(text, SLOTS_BUSY), value(text, STEPS), value(text, STEP_ROWS));
        } catch (IOException e) {
            return Reading.NONE;
        }
    }

    /** One metric of a server now. */
    static double value(URI server, String name) {
        try {
            return value(text(server), name).orElseThrow(() -> new BenchException(server + " has no metric " + name));
        } catch (IOException e) {
            throw new BenchException("cannot reach " + server + ": " + e.getMessage(), e);
        }
    }

    private static String text(URI server) throws IOException {
        try (var socket = new Socket(server.getHost(), server.getPort() < 0 ? 80 : server.getPort())) {
            var head = "GET /metrics HTTP/1.1\r\nHost: " + server.getAuthority() + "\r\nConnection: close\r\n\r\n";
            socket.getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
            var response = new HttpResponse(socket.getInputStream());
            if (response.status() != 200) {
                throw new IOException("GET /metrics: " + response.status());
            }
            return response.rest();
        }
    }

    /** Sum over all label values of one metric in Prometheus' text format. */
    static OptionalDouble value(String text, String name) {
        double sum = 0;
        boolean isFound = false;
        for (var line : text.lines().toList()) {
            boolean isMetric = line.startsWith(name)
                    && line.length() > name.length()
                    && (line.charAt(name.length()) == ' ' || line.charAt(name.length()) == '{');
            if (isMetric) {
                sum += Double.parseDouble(line.substring(line.lastIndexOf(' ') + 1));
                isFound = true;
            }
        }
        return isFound ? OptionalDouble.of(sum) : OptionalDouble.empty();
    }
}
