package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.WordTokenizer;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;

class OperationsIT {
    private static final WordTokenizer TOKENIZER = new WordTokenizer(TestServer.VOCAB_SIZE);
    private static final FakeBackend.Options SLOW =
            FakeBackend.Options.DEFAULT.withTimes(Duration.ofMillis(2).toNanos(), 0);

    @Test
    void modelIsDescribed() {
        try (var server = TestServer.start()) {
            var list = server.get("/v1/models");
            var model = server.get("/v1/models/test");

            assertEquals("test", list.json().path("data").get(0).path("id").asText());
            assertEquals(
                    TestServer.VOCAB_SIZE,
                    model.json().path("meta").path("n_vocab").asInt());
            assertTrue(model.json().path("meta").path("has_tokenizer").asBoolean());
            assertEquals(
                    server.stats().stateBytesPerSlot(),
                    model.json().path("meta").path("state_bytes").asLong());
        }
    }

    @Test
    void contractIsServed() {
        try (var server = TestServer.start()) {
            assertTrue(server.get("/openapi.yaml").body().startsWith("openapi: 3.1"));
        }
    }

    @Test
    void playgroundIsServedUnderAStrictPolicyAndNeedsNoKey() {
        try (var server = TestServer.start("--api-keys", "k")) {
            var page = server.get("/");

            assertTrue(page.body().startsWith("<!doctype html>"));
            for (String path : List.of("/", "/playground.css", "/playground.js")) {
                String policy = server.get(path).header("content-security-policy");
                assertTrue(policy.startsWith("default-src 'none'; script-src 'self'; style-src 'self';"), policy);
            }
            assertFalse(page.body().contains("style=\"") || page.body().contains("http://1"), "the page is plain");
        }
    }

    @Test
    void metricsCountWhatWasServed() {
        try (var server = TestServer.start()) {
            server.complete("{\"prompt\":\"abc\",\"max_tokens\":5,\"ignore_eos\":true,\"n\":2}");
            server.complete("{\"prompt\":\"abc\",\"max_tokens\":5,\"ignore_eos\":true,\"stream\":true}");
            server.awaitFree();
            // An answer is counted once it is sent, by when a client may have read it.
            String answers = "basalt_http_responses_total{route=\"/v1/completions\",status=\"200\"} 2";
            TestServer.await(
                    "both answers counted", () -> server.get("/metrics").body().contains(answers));

            String metrics = server.get("/metrics").body();

            assertTrue(
                    metrics.contains("\n# HELP basalt_http_responses_total Answers, by route and status\n"), metrics);
            assertTrue(metrics.lines().noneMatch(line -> line.matches("# HELP \\S+ *")), metrics);
            // The copies of the first request each read its last token themselves.
            assertMetric(metrics, "vllm:prompt_tokens_total{", 5, 6);
            assertMetric(metrics, "vllm:generation_tokens_total{", 15);
            assertMetric(metrics, "vllm:num_requests_running{", 0);
            assertMetric(metrics, "vllm:num_requests_waiting{", 0);
            assertMetric(metrics, "vllm:kv_cache_usage_perc{", 0);
            assertMetric(metrics, "vllm:cache_config_info{block_size=\"1\"", 1);
            assertTrue(metrics.contains("num_gpu_blocks=\"32\""), metrics);
            assertTrue(metrics.contains("vllm:lora_requests_info{"), metrics);
            assertMetric(metrics, "vllm:request_success_total{engine=\"0\",finished_reason=\"length\"", 3);
            assertMetric(metrics, "vllm:time_to_first_token_seconds_count{", 2);
            assertMetric(metrics, "vllm:e2e_request_latency_seconds_count{", 2);
            assertMetric(metrics, "basalt_slots{", 32);
            assertTrue(metrics.contains("vllm:inter_token_latency_seconds_bucket{"), metrics);
            assertTrue(metrics.contains("le=\"5.0E-4\"") || metrics.contains("le=\"0.0005\""), metrics);
        }
    }

    private static void assertMetric(String metrics, String prefix, double... allowed) {
        String line = metrics.lines()
                .filter(l -> l.startsWith(prefix))
                .findFirst()
                .orElseThrow(() -> new AssertionError(prefix + " is missing in " + metrics));
        double value = Double.parseDouble(line.substring(line.lastIndexOf(' ') + 1));
        boolean isAllowed = false;
        for (double one : allowed) {
            isAllowed |= value == one;
        }
        assertTrue(isAllowed, line);
    }

    @Test
    void fullQueueIsRefusedAtOnceWithATimeToRetry() throws IOException {
        try (var server = TestServer.start(SLOW.withSlots(2, 2), Optional.of(TOKENIZER), "--queue-requests-max", "1")) {
            String endless = "{\"prompt\":\"abc\",\"max_tokens\":1000000,\"ignore_eos\":true,\"stream\":true}";
            var sockets = new ArrayList<Socket>();
            for (int i = 0; i < 3; i++) {
                Socket socket = server.connect();
                socket.getOutputStream().write(TestServer.wire(endless).getBytes(StandardCharsets.UTF_8));
                sockets.add(socket);
            }
            // One that has just come counts as waiting for a moment, slots or not.
            TestServer.await("taken slots", () -> server.stats().busySlotCount() == 2);
            TestServer.await("a full queue", () -> server.stats().waitingRequestCount() == 1);

            var answer = server.complete(endless);

            assertEquals(429, answer.status());
            assertEquals("queue_full", answer.error().path("code").asText());
            assertEquals("rate_limit_error", answer.error().path("type").asText());
            assertTrue(Integer.parseInt(answer.header("retry-after")) >= 1);
            assertEquals(200, server.get("/health").status());
            for (Socket socket : sockets) {
                socket.close();
            }
            server.awaitFree();
        }
    }

    @Test
    void failedDeviceFailsRequestsAndLiveness() {
        var backend = new FakeBackend(SLOW);
        try (var server = TestServer.start(backend, Optional.of(TOKENIZER))) {
            backend.failAtStep(20);

            var whole = server.complete("{\"prompt\":\"abc\",\"max_tokens\":1000,\"ignore_eos\":true}");
            TestServer.await("the engine has ended", () -> !server.stats().isAlive());

            assertEquals(500, whole.status());
            assertEquals("device_failure", whole.error().path("code").asText());
            assertEquals(500, server.get("/health/live").status());
            assertEquals(500, server.get("/health/ready").status());
        }
    }

    @Test
    void failureInAStreamIsItsLastEvent() {
        var backend = new FakeBackend(SLOW);
        try (var server = TestServer.start(backend, Optional.of(TOKENIZER))) {
            backend.failAtStep(20);

            var stream =
                    server.complete("{\"prompt\":\"abc\",\"max_tokens\":1000,\"ignore_eos\":true,\"stream\":true}");

            assertEquals(200, stream.status());
            assertEquals(
                    "device_failure",
                    stream.chunks().getLast().path("error").path("code").asText());
        }
    }

    @Test
    void drainLetsRunningAnswersEndAndRefusesNewOnes() throws Exception {
        var backend = new FakeBackend(SLOW.withTimes(Duration.ofMillis(50).toNanos(), 0));
        var server = TestServer.start(backend, Optional.of(TOKENIZER));
        try {
            String body = "{\"prompt\":\"abc\",\"max_tokens\":400,\"ignore_eos\":true,\"stream\":true}";
            var answers = new ArrayList<TestServer.Answer>();
            var clients = new ArrayList<Thread>();
            for (int i = 0; i < 8; i++) {
                clients.add(Thread.startVirtualThread(() -> {
                    var answer = server.complete(body);
                    synchronized (answers) {
                        answers.add(answer);
                    }
                }));
            }
            TestServer.await("all run", () -> server.stats().runningRequestCount() == 8);
            var drained = new CountDownLatch(1);

            Thread draining = Thread.startVirtualThread(() -> {
                try {
                    server.application().drain();
                    drained.countDown();
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            });
            TestServer.await("not ready", () -> server.get("/health/ready").status() == 503);
            // A short one, as those that come before requests are refused are answered.
            TestServer.await(
                    "refusing",
                    () -> server.complete("{\"prompt\":\"abc\",\"max_tokens\":1}")
                                    .status()
                            == 503);
            assertEquals(200, server.get("/health/live").status());
            assertEquals(1, drained.getCount(), "answers still run");
            backend.hurry();
            draining.join();
            for (Thread client : clients) {
                client.join();
            }

            assertEquals(0, drained.getCount());
            assertEquals(8, answers.size());
            for (var answer : answers) {
                assertEquals(200, answer.status());
                assertTrue(answer.body().endsWith("data: [DONE]\n\n"));
            }
        } finally {
            server.close();
        }
    }

    @Test
    void apiKeysGuardTheApiAlone() {
        try (var server = TestServer.start("--api-keys", "first-key,second-key")) {
            var none = server.get("/v1/models");
            var wrong = server.send("GET", "/v1/models", "", Map.of("Authorization", "Bearer first-ke"));
            var right = server.send("GET", "/v1/models", "", Map.of("Authorization", "Bearer second-key"));

            assertEquals(401, none.status());
            assertEquals("invalid_api_key", none.error().path("code").asText());
            assertEquals("authentication_error", none.error().path("type").asText());
            assertEquals(401, wrong.status());
            assertEquals(200, right.status());
            assertEquals(200, server.get("/health").status());
            assertEquals(200, server.get("/metrics").status());
        }
    }

    @Test
    void opsPortHasHealthAndMetricsAlone() {
        try (var server = TestServer.start("--ops-port", "0")) {
            int port = server.application().opsPort().orElseThrow();

            for (String path : List.of("/health", "/health/live", "/health/ready", "/metrics")) {
                assertEquals(200, server.send(port, "GET", path, "", Map.of()).status(), path);
            }
            assertFalse(server.raw("GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    .isEmpty());
            assertEquals(404, server.send(port, "GET", "/nothing", "", Map.of()).status());
        }
    }

    @Test
    void withoutATokenizerIdsAreServedAndTextIsNot() {
        try (var server = TestServer.start(FakeBackend.Options.DEFAULT, Optional.empty())) {
            var ids = server.complete(
                    "{\"prompt\":[1,2],\"max_tokens\":3,\"ignore_eos\":true,\"return_token_ids\":true,\"logprobs\":1}");
            var text = server.complete("{\"prompt\":\"a\"}");
            var stop = server.complete("{\"prompt\":[1],\"stop\":\"a\"}");

            var choice = ids.json().path("choices").get(0);
            assertEquals("", choice.path("text").asText());
            assertEquals(3, choice.path("token_ids").size());
            assertTrue(choice.path("logprobs").path("tokens").get(0).asText().startsWith("token_id:"));
            assertEquals(400, text.status());
            assertEquals("tokenizer_missing", text.error().path("code").asText());
            assertEquals("prompt", text.error().path("param").asText());
            assertEquals("tokenizer_missing", stop.error().path("code").asText());
            assertEquals("stop", stop.error().path("param").asText());
        }
    }

    @Test
    void learnedPositionsBoundThePrompt() {
        var model = FakeBackend.modelConfig(TestServer.VOCAB_SIZE, 10, WordTokenizer.END_OF_TEXT);
        try (var server = TestServer.start(config -> TestServer.loaded(
                config, model, new FakeBackend(FakeBackend.Options.DEFAULT), Optional.of(TOKENIZER)))) {
            var tooLong = server.complete("{\"prompt\":\"" + "a".repeat(11) + "\"}");
            var longChat = server.chat("{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}");
            assertEquals(400, longChat.status());
            assertEquals("messages", longChat.error().path("param").asText());
            var answer = server.complete("{\"prompt\":\"" + "a".repeat(8) + "\",\"ignore_eos\":true}");

            assertEquals(400, tooLong.status());
            assertEquals("context_length_exceeded", tooLong.error().path("code").asText());
            assertEquals(
                    3, answer.json().path("usage").path("completion_tokens").asInt());
            assertEquals(
                    10,
                    server.get("/v1/models/test").json().path("max_model_len").asInt());
        }
    }
}
