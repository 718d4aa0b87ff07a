package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.CutProxy;
import basalt.server.fixture.RedisServer;
import basalt.server.fixture.WordTokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Two servers and one Redis, in one process; the first server's network to Redis can be cut. */
class SharedSessionsIT {
    private static final Map<String, String> JSON = Map.of("Content-Type", "application/json");
    private static final String PATIENT = "20s";

    @TempDir
    private Path folder;

    private RedisServer redis;
    private CutProxy proxy;
    private TestServer one;
    private TestServer other;
    private FakeBackend backendOfOne;

    @BeforeEach
    void start() throws IOException {
        assumeTrue(RedisServer.isInstalled(), RedisServer.whyNot());
        redis = RedisServer.start(folder);
        proxy = new CutProxy(redis.port());
        backendOfOne = slow();
        one = serve(RedisServer.url(proxy.port()), backendOfOne, PATIENT);
        other = serve(redis.url());
    }

    @AfterEach
    void stop() throws IOException {
        if (redis != null) {
            one.close();
            other.close();
            proxy.close();
            redis.close();
        }
    }

    /** So slow that a turn of some hundred tokens runs until it is hurried. */
    private static FakeBackend slow() {
        return new FakeBackend(FakeBackend.Options.DEFAULT
                .withSlots(8, 8)
                .withTimes(Duration.ofMillis(100).toNanos(), 0));
    }

    private static TestServer serve(String url) {
        return serve(url, new FakeBackend(FakeBackend.Options.DEFAULT.withSlots(8, 8)), PATIENT);
    }

    private static TestServer serve(String url, FakeBackend backend, String redisTimeout) {
        return TestServer.start(
                backend,
                Optional.of(new WordTokenizer(TestServer.VOCAB_SIZE)),
                "--redis-url",
                url,
                "--redis-timeout",
                redisTimeout);
    }

    private static String create(TestServer server) {
        var answer = server.send("POST", "/v1/sessions", "{}", JSON);
        assertEquals(200, answer.status(), answer.body());
        return answer.json().path("id").asText();
    }

    private static String turn(String id, String prompt, int maxTokens) {
        return "{\"session\":\"" + id + "\",\"prompt\":\"" + prompt + "\",\"max_tokens\":" + maxTokens
                + ",\"ignore_eos\":true,\"temperature\":0}";
    }

    private static String text(TestServer.Answer answer) {
        assertEquals(200, answer.status(), answer.body());
        return answer.json().path("choices").path(0).path("text").asText();
    }

    private static String code(TestServer.Answer answer) {
        return answer.error().path("code").asText();
    }

    private static String metric(TestServer server, String name) {
        return server.get("/metrics")
                .body()
                .lines()
                .filter(line -> line.startsWith(name + " ") || line.startsWith(name + "{"))
                .findFirst()
                .map(line -> line.substring(line.lastIndexOf(' ') + 1))
                .orElse("");
    }

    @Test
    void ofTwoServersThatCommitTheSameSessionOneWins() {
        String id = create(one);
        text(one.complete(turn(id, "a", 5)));
        long tokens = one.get("/v1/sessions/" + id).json().path("tokens").asLong();
        var slow = CompletableFuture.supplyAsync(() -> one.complete(turn(id, "b", 400)));
        TestServer.await("the turn", () -> one.stats().busySlotCount() > 0);

        String kept = text(other.complete(turn(id, "c", 5)));
        backendOfOne.hurry();
        TestServer.Answer late = slow.join();

        assertEquals(409, late.status(), late.body());
        assertEquals("session_conflict", code(late));
        assertEquals(
                tokens + 6, one.get("/v1/sessions/" + id).json().path("tokens").asLong());
        assertEquals("1.0", metric(one, "basalt_session_store_conflicts_total"));
        String alone = create(other);
        text(other.complete(turn(alone, "a", 5)));
        assertEquals(kept, text(other.complete(turn(alone, "c", 5))));
        assertEquals(text(other.complete(turn(alone, "d", 9))), text(one.complete(turn(id, "d", 9))));
    }

    /** As happens all the time; an operator is not to look for what is not lost. */
    @Test
    void stateOfASessionDeletedElsewhereIsDroppedInSilence() {
        var failures = new CopyOnWriteArrayList<String>();
        var handler = new Handler() {
            @Override
            public void publish(LogRecord message) {
                if (message.getLevel().intValue() >= Level.WARNING.intValue()) {
                    failures.add(message.getMessage());
                }
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };
        var logger = Logger.getLogger("basalt.engine.session");
        logger.addHandler(handler);
        try (var leaving = serve(redis.url())) {
            String id = create(leaving);
            text(leaving.complete(turn(id, "a", 5)));
            other.send("DELETE", "/v1/sessions/" + id, "", Map.of());
        } finally {
            logger.removeHandler(handler);
        }

        assertEquals(List.of(), failures);
    }

    @Test
    void withoutRedisAllButSessionsIsServedAndItComesBack() {
        backendOfOne.hurry();
        String id = create(one);
        text(one.complete(turn(id, "a", 5)));
        assertEquals("up", one.get("/health/ready").json().path("session_store").asText());
        assertEquals("1.0", metric(one, "basalt_session_store_up"));

        proxy.become(CutProxy.State.CUT);

        TestServer.await(
                "the cut to be noticed",
                () -> metric(one, "basalt_session_store_up").equals("0.0"));
        var ready = one.get("/health/ready");
        assertEquals(200, ready.status());
        assertEquals("down", ready.json().path("session_store").asText());
        text(one.complete("{\"prompt\":\"a\",\"max_tokens\":5}"));
        for (var answer : List.of(
                one.complete(turn(id, "b", 5)),
                one.send("POST", "/v1/sessions", "{}", JSON),
                one.get("/v1/sessions/" + id),
                one.get("/v1/sessions"))) {
            assertEquals(503, answer.status(), answer.body());
            assertEquals("sessions_unavailable", code(answer));
            assertTrue(Integer.parseInt(answer.header("retry-after")) >= 1);
        }
        assertTrue(Double.parseDouble(metric(one, "basalt_session_store_failures_total")) >= 4);
        String elsewhere = text(other.complete(turn(id, "b", 5)));

        proxy.become(CutProxy.State.WHOLE);

        TestServer.await(
                "Redis again", () -> metric(one, "basalt_session_store_up").equals("1.0"));
        String here = text(one.complete(turn(id, "c", 5)));
        String alone = create(other);
        text(other.complete(turn(alone, "a", 5)));
        assertEquals(elsewhere, text(other.complete(turn(alone, "b", 5))));
        assertEquals(here, text(other.complete(turn(alone, "c", 5))));
    }

    @Test
    void turnThatEndsWhileRedisIsAwayIsNotCommittedAndSaysSo() {
        String id = create(one);
        text(one.complete(turn(id, "a", 5)));
        one.close();
        backendOfOne = slow();
        one = serve(RedisServer.url(proxy.port()), backendOfOne, "2s");
        TestServer.await("Redis", () -> metric(one, "basalt_session_store_up").equals("1.0"));
        var running = CompletableFuture.supplyAsync(
                () -> one.complete(turn(id, "b", 400).replace("\"temperature\"", "\"stream\":true,\"temperature\"")));
        TestServer.await("the turn", () -> one.stats().busySlotCount() > 0);

        proxy.become(CutProxy.State.SILENT);
        backendOfOne.hurry();

        TestServer.Answer answer = running.join();
        assertTrue(answer.body().contains("\"code\":\"sessions_unavailable\""), answer.body());
        assertEquals(6, other.get("/v1/sessions/" + id).json().path("tokens").asInt());
        TestServer.await(
                "the silence to be noticed",
                () -> metric(one, "basalt_session_store_up").equals("0.0"));
        proxy.become(CutProxy.State.WHOLE);
        TestServer.await(
                "Redis again", () -> metric(one, "basalt_session_store_up").equals("1.0"));
        String alone = create(other);
        text(other.complete(turn(alone, "a", 5)));
        assertEquals(text(other.complete(turn(alone, "d", 9))), text(one.complete(turn(id, "d", 9))));
    }

    @Test
    void turnsThatAFailoverLostAreNotMixedWithThoseAfterIt() throws IOException {
        String id = create(one);
        text(one.complete(turn(id, "a", 5)));
        try (var copy = RedisServer.replica(folder, redis.port());
                var late = serve(copy.url())) {
            copy.leave(redis);
            text(one.complete(turn(id, "lost", 5)));
            String kept = text(late.complete(turn(id, "b", 5)));
            var running = CompletableFuture.supplyAsync(() -> one.complete(turn(id, "wrong", 400)));
            TestServer.await("the turn", () -> one.stats().busySlotCount() > 0);

            proxy.leadTo(copy.port());
            backendOfOne.hurry();

            TestServer.Answer refused = running.join();
            assertEquals(409, refused.status(), refused.body());
            assertEquals("session_conflict", code(refused));
            String alone = create(late);
            text(late.complete(turn(alone, "a", 5)));
            assertEquals(kept, text(late.complete(turn(alone, "b", 5))));
            assertEquals(text(late.complete(turn(alone, "c", 9))), text(one.complete(turn(id, "c", 9))));
            assertEquals(3, late.get("/v1/sessions/" + id).json().path("turns").asInt());
        }
    }

    @Test
    void forksListsAndDeletionsAreSeenByBoth() {
        backendOfOne.hurry();
        String id = create(one);
        text(one.complete(turn(id, "a", 5)));

        String fork = other.send("POST", "/v1/sessions/" + id + "/fork", "{}", JSON)
                .json()
                .path("data")
                .path(0)
                .path("id")
                .asText();

        assertEquals(text(one.complete(turn(id, "b", 5))), text(one.complete(turn(fork, "b", 5))));
        assertEquals(2, other.get("/v1/sessions").json().path("data").size());
        assertEquals(
                200, one.send("DELETE", "/v1/sessions/" + fork, "", Map.of()).status());
        assertEquals(404, other.get("/v1/sessions/" + fork).status());
        assertEquals(1, other.get("/v1/sessions").json().path("data").size());
    }

    @Test
    void serverThatLeavesHandsItsStatesOver() throws InterruptedException {
        backendOfOne.hurry();
        String id = create(one);
        text(one.complete(turn(id, "a", 40)));

        one.application().drain();
        one.close();

        assertEquals(
                "archive", other.get("/v1/sessions/" + id).json().path("tier").asText());
        var answer = other.complete(turn(id, "b", 5));
        assertEquals(
                40,
                answer.json()
                        .path("usage")
                        .path("prompt_tokens_details")
                        .path("cached_tokens")
                        .asInt(),
                answer.body());
    }
}
