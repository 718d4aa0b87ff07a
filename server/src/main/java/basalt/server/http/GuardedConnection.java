package basalt.server.http;

import io.helidon.common.buffers.BufferData;
import io.helidon.common.buffers.DataReader;
import io.helidon.common.buffers.DataWriter;
import io.helidon.common.concurrency.limits.Limit;
import io.helidon.common.socket.HelidonSocket;
import io.helidon.common.socket.PeerInfo;
import io.helidon.common.task.InterruptableTask;
import io.helidon.webserver.ConnectionContext;
import io.helidon.webserver.ListenerContext;
import io.helidon.webserver.ProxyProtocolData;
import io.helidon.webserver.Router;
import io.helidon.webserver.spi.ServerConnection;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * One connection: Helidon's own, with reading and writing that have time limits. Confined to the connection's thread,
 * but for {@link #interruptStuckWrite} and what Helidon's listener calls.
 */
final class GuardedConnection implements ServerConnection, InterruptableTask<Void> {
    private final Connections connections;
    private final Inbound inbound;
    private final Outbound outbound;
    private final ServerConnection delegate;

    GuardedConnection(
            ConnectionContext context,
            Connections connections,
            HttpConfig config,
            Function<ConnectionContext, ServerConnection> protocol) {
        this.connections = connections;
        inbound = new Inbound(context.dataReader(), config);
        outbound = new Outbound(context.dataWriter());
        delegate = protocol.apply(new Context(context, new StrictReader(inbound), outbound, this));
    }

    /** The connection of a context that {@link #GuardedConnection} made. */
    static GuardedConnection of(ConnectionContext context) {
        if (context instanceof Context own) {
            return own.connection;
        }
        throw new IllegalArgumentException("context = " + context);
    }

    Inbound inbound() {
        return inbound;
    }

    @Override
    public void handle(Limit limit) throws InterruptedException {
        Thread thread = Thread.currentThread();
        connections.add(thread, this);
        try {
            delegate.handle(limit);
        } finally {
            inbound.close();
            connections.remove(thread);
        }
    }

    /** Ends a write that began before this moment of {@link System#nanoTime}; the connection closes with it. */
    void interruptStuckWrite(long beforeNanos) {
        outbound.interruptIfBegan(beforeNanos);
    }

    @Override
    public boolean canInterrupt() {
        return delegate instanceof InterruptableTask<?> task && task.canInterrupt();
    }

    /** Idle connections are closed by {@link Inbound}; Helidon's clock also counts the time of a long answer. */
    @Override
    public Duration idleTime() {
        return inbound.isBusy() ? Duration.ZERO : delegate.idleTime();
    }

    @Override
    public void close(boolean interrupt) {
        delegate.close(interrupt);
    }

    /**
     * Does not take {@code +0} for the size of a chunk, as Helidon would: what a server and a proxy before it read
     * differently can hide a request. Ignores extensions of a chunk (RFC 9112, 7.1.1) that are one line of printable
     * ASCII, and drops the fields of a trailer (RFC 9112, 7.1.2), at most as large as headers may be. Requires the end
     * of line behind a chunk's data, which Helidon skips whatever it is. Lines are read of the framing of chunks alone:
     * the size of each, and the empty one behind the last.
     */
    private static final class StrictReader extends DataReader {
        private static final String NO_SIZE = "-1";
        private static final Pattern LAST_SIZE = Pattern.compile("0+");
        private static final Pattern FIELD =
                Pattern.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\\x00-\\x08\\x0a-\\x1f\\x7f]*");
        private static final Pattern EXTENDED_SIZE = Pattern.compile("([0-9A-Fa-f]+);[\\t -~]*");

        private static final int SIZE_LINE_BYTES_MAX = 1_024;

        private boolean isInChunk; // its size was read, and its data was not
        private boolean isBehindData; // of a chunk; the end of line that follows was not read
        private boolean isBehindChunks; // the last chunk's size was read, and what follows it was not

        @SuppressWarnings("removal") // create gives no class of our own; there is no other way in
        StrictReader(Inbound inbound) {
            super(inbound);
        }

        @Override
        public String readLine() {
            if (isBehindChunks) {
                isBehindChunks = false;
                return readTrailer();
            }
            String size = readSize();
            isBehindChunks = LAST_SIZE.matcher(size).matches();
            isInChunk = !isBehindChunks;
            return size;
        }

        @Override
        public BufferData readBuffer(int length) {
            var data = super.readBuffer(length);
            isBehindData = isInChunk;
            isInChunk = false;
            return data;
        }

        @Override
        public void skip(int count) {
            if (!isBehindData) {
                super.skip(count);
                return;
            }
            isBehindData = false;
            if (read() != '\r' || read() != '\n') {
                throw new IllegalArgumentException("a chunk's data is longer than its size");
            }
        }

        private String readLine(int bytesMax) {
            if (findNewLine(bytesMax + 1) > bytesMax) {
                throw new IllegalArgumentException("a line of more than " + bytesMax + " bytes");
            }
            return super.readLine();
        }

        private String readSize() {
            String line = readLine(SIZE_LINE_BYTES_MAX);
            Matcher extended = EXTENDED_SIZE.matcher(line);
            if (extended.matches()) {
                return extended.group(1);
            }
            return line.startsWith("+") ? NO_SIZE : line;
        }

        /** The empty line behind the fields, or the first one that is no field, which Helidon refuses. */
        private String readTrailer() {
            int left = Connections.HEADERS_BYTES_MAX;
            String line = readLine(left);
            while (FIELD.matcher(line).matches()) {
                left = Math.max(0, left - line.length() - 2);
                line = readLine(left);
            }
            return line;
        }
    }

    /** Writes, and knows since when. */
    private static final class Outbound implements DataWriter {
        private final DataWriter delegate;
        private volatile @Nullable Thread writer;
        private volatile long beganNanos;

        Outbound(DataWriter delegate) {
            this.delegate = delegate;
        }

        void interruptIfBegan(long beforeNanos) {
            Thread stuck = writer;
            if (stuck != null && beganNanos - beforeNanos < 0) {
                stuck.interrupt();
            }
        }

        private void begin() {
            beganNanos = System.nanoTime();
            writer = Thread.currentThread();
        }

        @Override
        public void write(BufferData... buffers) {
            begin();
            try {
                delegate.write(buffers);
            } finally {
                writer = null;
            }
        }

        @Override
        public void write(BufferData buffer) {
            begin();
            try {
                delegate.write(buffer);
            } finally {
                writer = null;
            }
        }

        @Override
        public void writeNow(BufferData... buffers) {
            begin();
            try {
                delegate.writeNow(buffers);
            } finally {
                writer = null;
            }
        }

        @Override
        public void writeNow(BufferData buffer) {
            begin();
            try {
                delegate.writeNow(buffer);
            } finally {
                writer = null;
            }
        }

        @Override
        public void flush() {
            delegate.flush();
        }

        @Override
        public void close() {
            delegate.close();
        }
    }

    /** Helidon's context with another reader and writer. */
    private static final class Context implements ConnectionContext {
        private final ConnectionContext delegate;
        private final DataReader reader;
        private final DataWriter writer;
        private final GuardedConnection connection;

        Context(ConnectionContext delegate, DataReader reader, DataWriter writer, GuardedConnection connection) {
            this.delegate = delegate;
            this.reader = reader;
            this.writer = writer;
            this.connection = connection;
        }

        @Override
        public DataReader dataReader() {
            return reader;
        }

        @Override
        public DataWriter dataWriter() {
            return writer;
        }

        @Override
        public ListenerContext listenerContext() {
            return delegate.listenerContext();
        }

        @Override
        public ExecutorService executor() {
            return delegate.executor();
        }

        @Override
        public Router router() {
            return delegate.router();
        }

        @Override
        public Optional<ProxyProtocolData> proxyProtocolData() {
            return delegate.proxyProtocolData();
        }

        @Override
        public HelidonSocket serverSocket() {
            return delegate.serverSocket();
        }

        @Override
        public PeerInfo remotePeer() {
            return delegate.remotePeer();
        }

        @Override
        public PeerInfo localPeer() {
            return delegate.localPeer();
        }

        @Override
        public boolean isSecure() {
            return delegate.isSecure();
        }

        @Override
        public String socketId() {
            return delegate.socketId();
        }

        @Override
        public String childSocketId() {
            return delegate.childSocketId();
        }
    }
}
