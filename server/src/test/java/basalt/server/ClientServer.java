package basalt.server;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** The shipped model behind a key, with four slots and one place to wait, for clients that others wrote. */
final class ClientServer implements AutoCloseable {
    static final String MODEL = "based-10m";
    static final String KEY = "key-of-the-tests";
    static final int SLOTS = 4;

    private final TestServer server = TestServer.start(
            LoadedModel::load,
            "--model",
            "../models/based-10m",
            "--model-name",
            MODEL,
            "--backend",
            "cpu",
            "--slots",
            Integer.toString(SLOTS),
            "--queue-requests-max",
            "1",
            "--api-keys",
            KEY);

    String url() {
        return "http://127.0.0.1:" + server.port() + "/v1";
    }

    void awaitFree() {
        server.awaitFree();
    }

    void awaitBusy(int slots, int waiting) {
        TestServer.await(
                slots + " slots busy and " + waiting + " requests waiting",
                () -> server.stats().busySlotCount() >= slots && server.stats().waitingRequestCount() >= waiting);
    }

    /** Takes every slot and the place to wait until it is closed, so that the next request is refused. */
    Occupation occupy() {
        var sockets = new ArrayList<Socket>();
        try {
            for (int i = 0; i < 2; i++) {
                String body = "{\"prompt\":\"a\",\"ignore_eos\":true,\"max_tokens\":1000000,\"stream\":true,\"n\":"
                        + SLOTS + "}";
                Socket socket = server.connect();
                sockets.add(socket);
                socket.getOutputStream()
                        .write(TestServer.wire(body)
                                .replace("Host:", "Authorization: Bearer " + KEY + "\r\nHost:")
                                .getBytes(StandardCharsets.UTF_8));
                var in = socket.getInputStream();
                Thread.startVirtualThread(() -> drain(in));
                awaitBusy(SLOTS, i);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return new Occupation(sockets);
    }

    private static void drain(InputStream in) {
        try {
            in.transferTo(OutputStream.nullOutputStream());
        } catch (IOException e) {
            // Closed by the test, which is how it ends.
        }
    }

    /** Held slots. */
    record Occupation(List<Socket> sockets) implements AutoCloseable {
        @Override
        public void close() {
            for (var socket : sockets) {
                try {
                    socket.close();
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }
        }
    }

    /** Text of a completion of the raw API, to compare what a client makes of it. */
    String text(String fields) {
        var answer = server.send(
                "POST",
                "/v1/completions",
                "{" + fields + "}",
                Map.of("Content-Type", "application/json", "Authorization", "Bearer " + KEY));
        return answer.json().path("choices").get(0).path("text").asText();
    }

    @Override
    public void close() {
        server.awaitFree();
        server.close();
    }
}
