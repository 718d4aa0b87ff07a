package basalt.server;

import basalt.engine.Engine;
import basalt.engine.EngineStats;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.model.ModelConfig;
import basalt.engine.text.Tokenizer;
import basalt.server.api.ServedModel;
import basalt.server.chat.PlainTemplate;
import basalt.server.fixture.Contract;
import basalt.server.fixture.WordTokenizer;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;

/** A real server on a free port over a fake device, and a client that holds every answer against the contract. */
final class TestServer implements AutoCloseable {
    static final int VOCAB_SIZE = 4_096;
    static final ObjectMapper JSON = new ObjectMapper();
    private static final Contract CONTRACT = new Contract();
    private static final Duration PATIENCE = Duration.ofSeconds(60);
    private static final Duration POLL = Duration.ofNanos(200_000);

    private final Application application;
    private final HttpClient client = HttpClient.newHttpClient();

    /** An answer that the contract allows. */
    record Answer(int status, Map<String, String> headers, String body) {
        JsonNode json() {
            return parse(body);
        }

        /** A header by its name in lower case, empty if it is not there. */
        String header(String name) {
            return headers.getOrDefault(name, "");
        }

        JsonNode error() {
            return json().path("error");
        }

        /** The chunks of a stream, without comments and the mark of its end. */
        List<JsonNode> chunks() {
            var chunks = new ArrayList<JsonNode>();
            for (String event : body.split("\n\n", -1)) {
                String data = event.substring(event.lastIndexOf('\n') + 1);
                if (data.startsWith("data: {")) {
                    chunks.add(parse(data.substring("data: ".length())));
                }
            }
            return chunks;
        }
    }

    private TestServer(Application application) {
        this.application = application;
    }

    /** With a fake device in no time and the word tokenizer. */
    static TestServer start(String... args) {
        return start(FakeBackend.Options.DEFAULT, Optional.of(new WordTokenizer(VOCAB_SIZE)), args);
    }

    static TestServer start(FakeBackend.Options options, Optional<Tokenizer> tokenizer, String... args) {
        return start(new FakeBackend(options), tokenizer, args);
    }

    static TestServer start(FakeBackend backend, Optional<Tokenizer> tokenizer, String... args) {
        ModelConfig model = FakeBackend.modelConfig(VOCAB_SIZE, 0, WordTokenizer.END_OF_TEXT);
        return start(config -> loaded(config, model, backend, tokenizer), args);
    }

    static LoadedModel loaded(
            ServerConfig config, ModelConfig model, FakeBackend backend, Optional<Tokenizer> tokenizer) {
        Engine engine = Engine.start(model, tokenizer, List.of(backend), config.engine());
        var served = new ServedModel(
                config.modelName(),
                "fp_test",
                1,
                model,
                tokenizer,
                new PlainTemplate(),
                1_000,
                4_000,
                backend.layout().bytes());
        return new LoadedModel(engine, served, Optional.empty(), Duration.ZERO);
    }

    static TestServer start(LoadedModel.Loader loader, String... args) {
        var all = new ArrayList<>(List.of("--port", "0", "--model-name", "test", "--warm-up", "0s"));
        for (int i = 0; i < args.length; i += 2) {
            int at = all.indexOf(args[i]);
            if (at >= 0) {
                all.subList(at, at + 2).clear();
            }
            all.addAll(List.of(args[i], args[i + 1]));
        }
        try {
            return new TestServer(Application.start(ServerConfig.load(all, Map.of(), Path.of(".")), loader));
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    Application application() {
        return application;
    }

    EngineStats stats() {
        return application.model().engine().stats();
    }

    int port() {
        return application.port();
    }

    Answer get(String path) {
        return send("GET", path, "", Map.of());
    }

    /** A completion, whole or streamed. */
    Answer complete(String body) {
        return send("POST", "/v1/completions", body, Map.of("Content-Type", "application/json"));
    }

    /** An answer in a chat, whole or streamed. */
    Answer chat(String body) {
        return send("POST", "/v1/chat/completions", body, Map.of("Content-Type", "application/json"));
    }

    Answer send(String method, String path, String body, Map<String, String> headers) {
        return send(port(), method, path, body, headers);
    }

    Answer send(int port, String method, String path, String body, Map<String, String> headers) {
        var request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + path))
                .version(HttpClient.Version.HTTP_1_1)
                .timeout(PATIENCE)
                .method(
                        method,
                        body.isEmpty()
                                ? HttpRequest.BodyPublishers.noBody()
                                : HttpRequest.BodyPublishers.ofString(body));
        headers.forEach(request::header);
        try {
            HttpResponse<String> response = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
            var answered = new HashMap<String, String>();
            response.headers().map().forEach((name, values) -> answered.put(name, values.getFirst()));
            CONTRACT.check(method, path, response.statusCode(), answered, response.body());
            if (response.statusCode() == 200) {
                CONTRACT.checkRequest(method, path, body);
            }
            return new Answer(response.statusCode(), answered, response.body());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Sends bytes as they are and returns what comes back until the server closes. */
    String raw(String request) {
        try (var socket = connect()) {
            socket.getOutputStream().write(request.getBytes(StandardCharsets.ISO_8859_1));
            return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A connection that gives up after a while. */
    Socket connect() throws IOException {
        var socket = new Socket(InetAddress.getLoopbackAddress(), port());
        socket.setSoTimeout((int) PATIENCE.toMillis());
        socket.setTcpNoDelay(true);
        return socket;
    }

    /** A request of a completion as it goes over the wire. */
    static String wire(String body) {
        return "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
                + body.getBytes(StandardCharsets.UTF_8).length + "\r\n\r\n" + body;
    }

    static JsonNode parse(String json) {
        try {
            return JSON.readTree(json);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Waits for something that must come to pass. Returns after how many milliseconds it did. */
    static long await(String what, BooleanSupplier condition) {
        long began = System.nanoTime();
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() - began > PATIENCE.toNanos()) {
                throw new AssertionError("not within " + PATIENCE + ": " + what);
            }
            LockSupport.parkNanos(POLL.toNanos());
        }
        return (System.nanoTime() - began) / 1_000_000;
    }

    /** Waits until no slot is held and no request is on its way to one. */
    long awaitFree() {
        return await("all slots free", () -> stats().isIdle());
    }

    @Override
    public void close() {
        application.close();
        client.close();
    }
}
