package basalt.bench;

import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;

/** Answers every connection with the same bytes and closes it. */
final class CannedServer implements AutoCloseable {
    private final ServerSocket listener;
    private final Runnable onRequest;
    private volatile byte[] answer;

    CannedServer(String answer) throws IOException {
        this(answer, () -> {});
    }

    /** Tells of every request before it is answered. */
    CannedServer(String answer, Runnable onRequest) throws IOException {
        this.onRequest = onRequest;
        this.answer = answer.getBytes(StandardCharsets.UTF_8);
        listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        Thread.ofVirtual().start(this::acceptAll);
    }

    /** Events as one chunked answer, each event a chunk of its own cut in two. */
    static String chunked(String... events) {
        var text = new StringBuilder("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (var event : events) {
            var data = "data: " + event + "\n\n";
            int cut = data.length() / 2;
            appendChunk(text, data.substring(0, cut));
            appendChunk(text, data.substring(cut));
        }
        return text.append("0\r\n\r\n").toString();
    }

    private static void appendChunk(StringBuilder text, String chunk) {
        int length = chunk.getBytes(StandardCharsets.UTF_8).length;
        text.append(Integer.toHexString(length)).append("\r\n").append(chunk).append("\r\n");
    }

    /** Changes the answer to later connections. */
    void answer(String newAnswer) {
        answer = newAnswer.getBytes(StandardCharsets.UTF_8);
    }

    URI uri() {
        return URI.create("http://127.0.0.1:" + listener.getLocalPort());
    }

    private void acceptAll() {
        while (!listener.isClosed()) {
            try (var socket = listener.accept()) {
                readRequest(socket);
                onRequest.run();
                socket.getOutputStream().write(answer);
            } catch (IOException e) {
                // The client went away, or the test is over.
            }
        }
    }

    /** Reads as much as is announced, so that closing does not reset the connection. */
    private static void readRequest(Socket socket) throws IOException {
        var in = socket.getInputStream();
        int length = 0;
        for (var line = readLine(in); !line.isEmpty(); line = readLine(in)) {
            if (line.startsWith("Content-Length: ")) {
                length = Integer.parseInt(line.substring("Content-Length: ".length()));
            }
        }
        in.readNBytes(length);
    }

    private static String readLine(InputStream in) throws IOException {
        var line = new StringBuilder();
        for (int next = in.read(); next >= 0 && next != '\n'; next = in.read()) {
            if (next != '\r') {
                line.append((char) next);
            }
        }
        return line.toString();
    }

    @Override
    public void close() throws IOException {
        listener.close();
    }
}
