package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.server.fixture.RedisServer;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Servers in processes of their own that share a Redis, killed and replaced. */
class SharedServersIT {
    private static final int TURNS = 50;
    private static final int TURN_TOKENS = 12;
    private static final int CLIENTS = 8;

    @TempDir
    private Path folder;

    private final List<ServerProcess> started = new ArrayList<>();
    private RedisServer redis;

    @BeforeEach
    void start() throws IOException {
        assumeTrue(RedisServer.isInstalled(), RedisServer.whyNot());
        redis = RedisServer.start(folder);
    }

    @AfterEach
    void stop() {
        started.forEach(ServerProcess::close);
        if (redis != null) {
            redis.close();
        }
    }

    private ServerProcess serve(String... args) throws IOException {
        var all = new ArrayList<>(List.of(args));
        all.addAll(List.of("--redis-timeout", "20s")); // a machine that stands still is no Redis that is away
        var server = ServerProcess.start(folder.resolve("log"), all.toArray(String[]::new));
        started.add(server);
        return server;
    }

    private String create(ServerProcess server) throws Exception {
        return server.send("POST", "/v1/sessions", "{}").path("id").asText();
    }

    private String turn(ServerProcess server, String id, int turn) throws Exception {
        String prompt = "\\nChapter " + turn + ". The";
        return server.send("POST", "/v1/completions", turn(id, prompt, TURN_TOKENS, turn))
                .path("choices")
                .path(0)
                .path("text")
                .asText();
    }

    private static String turn(String id, String prompt, int maxTokens, int seed) {
        return "{\"session\":\"" + id + "\",\"prompt\":\"" + prompt + "\",\"max_tokens\":" + maxTokens
                + ",\"temperature\":0.8,\"seed\":" + seed + ",\"ignore_eos\":true}";
    }

    @Test
    void conversationOfFiftyTurnsAlternatesThroughAKillAndReadsLikeThatOfOneServer() throws Exception {
        String[] shared = {"--backend", "cpu", "--slots", "2", "--redis-url", redis.url()};
        ServerProcess one = serve(shared);
        ServerProcess other = serve(shared);
        String id = create(one);
        var texts = new ArrayList<String>();
        for (int i = 0; i < TURNS; i++) {
            if (i == TURNS / 2) {
                try (var socket = new Socket(InetAddress.getLoopbackAddress(), one.port())) {
                    String endless = turn(id, "lost", 1_000_000, 0).replace("{", "{\"stream\":true,");
                    socket.getOutputStream().write(TestServer.wire(endless).getBytes(StandardCharsets.UTF_8));
                    socket.getInputStream().readNBytes(2_000); // in the middle of the answer
                    one.kill();
                }
                texts.add(turn(other, id, i));
                one = serve(shared);
            } else {
                texts.add(turn(i % 2 == 0 ? one : other, id, i));
            }
        }
        assertEquals(
                TURNS, one.send("GET", "/v1/sessions/" + id, "").path("turns").asInt());
        one.close();
        other.close();

        ServerProcess alone = serve("--backend", "cpu", "--slots", "2");
        String same = create(alone);
        for (int i = 0; i < TURNS; i++) {
            assertEquals(turn(alone, same, i), texts.get(i), "turn " + i);
        }
    }

    @Test
    void responseWhoseServerWasKilledHasFailed() throws Exception {
        String[] fake = {"--backend", "fake", "--fake-step-time", "10ms", "--redis-url", redis.url()};
        ServerProcess one = serve(fake);
        ServerProcess other = serve(fake);
        String endless = "{\"input\":\"a\",\"background\":true,\"max_output_tokens\":10000000,\"ignore_eos\":true}";
        String path = "/v1/responses/"
                + one.send("POST", "/v1/responses", endless).path("id").asText();
        assertEquals("in_progress", other.send("GET", path, "").path("status").asText());

        one.kill();

        assertEquals("in_progress", other.send("GET", path, "").path("status").asText());
        var response = new AtomicReference<JsonNode>();
        TestServer.await("the end of it", () -> {
            LockSupport.parkNanos(Duration.ofMillis(200).toNanos());
            try {
                response.set(other.send("GET", path, ""));
            } catch (IOException | InterruptedException e) {
                throw new AssertionError(e);
            }
            return response.get().path("status").asText().equals("failed");
        });
        assertTrue(response.get().path("error").path("message").asText().contains("send its request again"));
        assertEquals(
                "a",
                other.send("GET", path + "/input_items", "")
                        .path("data")
                        .path(0)
                        .path("content")
                        .path(0)
                        .path("text")
                        .asText());
        other.send("DELETE", path, "");
        assertTrue(other.send("GET", "/v1/sessions", "").path("data").isEmpty());
    }

    @Test
    void rollingUpdateUnderLoadLosesNoStreamAndNoCommittedTurn() throws Exception {
        String[] fake = {
            "--backend", "fake", "--fake-step-time", "10ms", "--drain-delay", "200ms", "--redis-url", redis.url()
        };
        var servers = new AtomicReferenceArray<>(new ServerProcess[] {serve(fake), serve(fake)});
        var ids = new ArrayList<String>();
        for (int i = 0; i < CLIENTS; i++) {
            ids.add(create(servers.get(i % 2)));
        }
        var load = TurnLoad.start(
                ids,
                TURN_TOKENS,
                2,
                (turn, attempt) -> servers.get((turn + attempt) % 2).port());

        for (int i = 0; i < 2; i++) {
            load.awaitMore();
            ServerProcess old = servers.get(i);
            old.terminate();
            assertEquals(0, old.awaitExit());
            servers.set(i, serve(fake));
        }
        load.awaitMore();

        assertEquals(List.of(), load.stop(), load.toString());
        for (int i = 0; i < CLIENTS; i++) {
            var session = servers.get(0).send("GET", "/v1/sessions/" + ids.get(i), "");
            assertEquals(load.texts(i).size(), session.path("turns").asInt());
            assertEquals(
                    load.texts(i).size() * (1 + TURN_TOKENS),
                    session.path("tokens").asInt());
        }
    }
}
