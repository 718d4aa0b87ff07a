package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.state.TokenHistory;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReentrantLock;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Many sessions on few slots with small budgets, clients that vanish, and a server that is killed in between. The size
 * is small for CI; {@code -Dsessions=10000 -Dseconds=60} is the whole proof.
 */
class SessionSoakIT {
    private static final int SESSIONS = Integer.getInteger("sessions", 40);
    private static final int SECONDS = Integer.getInteger("seconds", 6);
    private static final int CLIENTS = 8;
    private static final int CHECKED = 12; // sessions whose continuation is compared
    private static final long PATIENCE_SECONDS = 300;

    @TempDir
    private Path folder;

    private final HttpClient client = HttpClient.newHttpClient();
    private final AtomicInteger committed = new AtomicInteger();
    private final AtomicInteger vanished = new AtomicInteger();
    private volatile int port;

    /** A session and what its client knows of it. Guarded by its lock. */
    private static final class Known {
        final ReentrantLock lock = new ReentrantLock();
        String id = "";
        List<Integer> tokens = new ArrayList<>();
        List<Integer> unsure = List.of(); // a prompt whose answer was lost with the server
        int unsureMax;
    }

    private ServerProcess start() throws IOException {
        var server = ServerProcess.start(
                folder.resolve("log"),
                "--backend",
                "cpu",
                "--slots",
                "32",
                "--sessions-memory-max",
                "16MiB",
                "--sessions-disk-max",
                "32MiB",
                "--sessions-dir",
                folder.resolve("sessions").toString());
        port = server.port();
        return server;
    }

    private HttpResponse<String> send(String method, String path, String body) throws IOException {
        return send(port, method, path, body);
    }

    private HttpResponse<String> send(int to, String method, String path, String body) throws IOException {
        var request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + to + path))
                .header("Content-Type", "application/json")
                .timeout(Duration.ofSeconds(PATIENCE_SECONDS))
                .method(method, HttpRequest.BodyPublishers.ofString(body));
        try {
            return client.send(request.build(), HttpResponse.BodyHandlers.ofString());
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private JsonNode ok(String method, String path, String body) throws IOException {
        var response = send(method, path, body);
        assertEquals(200, response.statusCode(), response.body());
        return TestServer.parse(response.body());
    }

    private static String turn(String start, int maxTokens) {
        return "{" + start + ",\"max_tokens\":" + maxTokens
                + ",\"temperature\":0,\"ignore_eos\":true,\"return_token_ids\":true}";
    }

    private static List<Integer> ids(JsonNode answer) {
        var ids = new ArrayList<Integer>();
        answer.path("choices").path(0).path("token_ids").forEach(id -> ids.add(id.asInt()));
        return ids;
    }

    private List<Integer> alone(List<Integer> history, int maxTokens) throws IOException {
        return ids(ok("POST", "/v1/completions", turn("\"prompt\":" + history, maxTokens)));
    }

    @Test
    void everyCommittedTurnIsThereAndNoSessionShowsAnothers() throws Exception {
        var known = new ArrayList<Known>();
        ServerProcess server = start();
        try {
            for (int i = 0; i < SESSIONS; i++) {
                var one = new Known();
                one.id = ok("POST", "/v1/sessions", "{}").path("id").asText();
                known.add(one);
            }
            run(known, 1);
            server = killed(server);
            resolve(known);
            run(known, 2);
            server = killed(server);
            resolve(known);

            assertTrue(committed.get() > SESSIONS / 4, "turns " + committed);
            assertTrue(vanished.get() > 0, "nobody vanished");
            check(known);
        } finally {
            server.close();
            client.close();
        }
    }

    /** Kills the server while clients are busy, and starts another. */
    private ServerProcess killed(ServerProcess server) throws IOException, InterruptedException {
        server.kill();
        return start();
    }

    private void run(List<Known> known, int seed) throws Exception {
        var runs = new ArrayList<Future<Void>>();
        long end = System.nanoTime() + Duration.ofSeconds(SECONDS).toNanos() / 2;
        try (var clients = Executors.newVirtualThreadPerTaskExecutor()) {
            for (int i = 0; i < CLIENTS; i++) {
                var random = new Random(31L * seed + i);
                runs.add(clients.submit(() -> {
                    for (int n = 0; System.nanoTime() < end || n < 3; n++) {
                        var one = known.get(random.nextInt(known.size()));
                        if (one.lock.tryLock()) {
                            try {
                                act(one, random, n % 4 == 1);
                            } finally {
                                one.lock.unlock();
                            }
                        }
                    }
                    return null;
                }));
            }
        }
        for (var run : runs) {
            run.get();
        }
        // One more each, during which the server is killed; one that comes late must not reach the next server.
        int killed = port;
        for (int i = 0; i < CLIENTS; i++) {
            var one = known.get(i);
            one.unsure = List.of(11, 12, 13);
            one.unsureMax = 8;
            String body = turn(session(one, one.unsure), one.unsureMax);
            Thread.ofVirtual().start(() -> {
                try {
                    send(killed, "POST", "/v1/completions", body);
                } catch (IOException e) {
                    return; // as expected: the server is gone
                }
            });
        }
    }

    private static String session(Known one, List<Integer> prompt) {
        return "\"session\":\"" + one.id + "\",\"prompt\":" + prompt;
    }

    private void act(Known one, Random random, boolean vanishes) throws IOException {
        var prompt = random.ints(1 + random.nextInt(8), 0, 4_000).boxed().toList();
        if (vanishes) {
            try (var socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
                String endless = turn(session(one, prompt) + ",\"stream\":true,\"session_wait\":60", 1_000_000);
                socket.getOutputStream().write(TestServer.wire(endless).getBytes(StandardCharsets.UTF_8));
                socket.getInputStream().readNBytes(random.nextInt(1_500));
            }
            vanished.incrementAndGet();
            return;
        }
        int count = 1 + random.nextInt(12);
        String body = turn(session(one, prompt) + ",\"session_wait\":60", count);
        var answer = ids(ok("POST", "/v1/completions", body));
        assertEquals(count, answer.size());
        one.tokens.addAll(prompt);
        one.tokens.addAll(answer);
        committed.incrementAndGet();
    }

    /** Finds out whether the turns that the kill interrupted were committed. */
    private void resolve(List<Known> known) throws IOException {
        for (var one : known) {
            int count = ok("GET", "/v1/sessions/" + one.id, "").path("tokens").asInt();
            if (!one.unsure.isEmpty() && count > one.tokens.size()) {
                one.tokens.addAll(one.unsure);
                one.tokens.addAll(alone(one.tokens, one.unsureMax));
            }
            one.unsure = List.of();
            assertEquals(one.tokens.size(), count, one.id);
        }
    }

    private void check(List<Known> known) throws IOException {
        for (int i = 0; i < known.size(); i++) {
            var one = known.get(i);
            int[] tokens = one.tokens.stream().mapToInt(Integer::intValue).toArray();
            var session = ok("GET", "/v1/sessions/" + one.id, "");
            assertEquals(
                    TokenHistory.EMPTY.append(tokens).digestText(),
                    session.path("digest").asText());
            if (i < CHECKED && tokens.length > 0) {
                var next = ids(ok("POST", "/v1/completions", turn("\"session\":\"" + one.id + "\"", 10)));
                assertEquals(alone(one.tokens, 10), next);
            }
            ok("DELETE", "/v1/sessions/" + one.id, "");
        }
        try (var files = Files.list(folder.resolve("sessions"))) {
            assertEquals(
                    List.of("lock", "secret"),
                    files.map(path -> path.getFileName().toString()).sorted().toList());
        }
    }
}
