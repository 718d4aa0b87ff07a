package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.Contract;
import basalt.server.fixture.Pem;
import basalt.server.fixture.WordTokenizer;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.math.BigInteger;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import javax.net.ssl.SSLSocket;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Limits of keys, other origins, TLS. */
class AccessIT {
    private static final FakeBackend.Options SLOW =
            FakeBackend.Options.DEFAULT.withTimes(Duration.ofMillis(2).toNanos(), 0);
    private static final WordTokenizer TOKENIZER = new WordTokenizer(TestServer.VOCAB_SIZE);
    private static final String SHORT = "{\"prompt\":\"abc\",\"max_tokens\":2}";
    private static final String ENDLESS =
            "{\"prompt\":\"a\",\"max_tokens\":9999999,\"ignore_eos\":true,\"stream\":true}";

    @TempDir
    private Path folder;

    private static TestServer.Answer complete(TestServer server, String key, String body) {
        return server.send(
                "POST",
                "/v1/completions",
                body,
                Map.of("Content-Type", "application/json", "Authorization", "Bearer " + key));
    }

    @Test
    void keyMayHaveSoManyRequestsOpen() throws IOException {
        String[] args = {"--api-keys", "a,b", "--key-requests-max", "1"};
        try (var server = TestServer.start(SLOW, Optional.of(TOKENIZER), args)) {
            try (Socket socket = server.connect()) {
                String wire = TestServer.wire(ENDLESS).replaceFirst("\r\n", "\r\nAuthorization: Bearer a\r\n");
                socket.getOutputStream().write(wire.getBytes(StandardCharsets.UTF_8));
                TestServer.await("running", () -> server.stats().runningRequestCount() == 1);

                var refused = complete(server, "a", SHORT);

                assertEquals(429, refused.status());
                assertEquals(
                        "key_concurrency_exceeded", refused.error().path("code").asText());
                assertTrue(refused.error().path("message").asText().contains("key-requests-max"));
                assertEquals("1", refused.header("retry-after"));
                assertEquals(200, complete(server, "b", SHORT).status());
            }
            TestServer.await("free again", () -> complete(server, "a", SHORT).status() == 200);
        }
    }

    @Test
    void keyMaySendSoManyRequestsAMinute() {
        try (var server = TestServer.start("--api-keys", "a,b", "--key-rate-max", "2")) {
            assertEquals(200, complete(server, "a", SHORT).status());
            assertEquals(400, complete(server, "a", "{").status());

            var refused = complete(server, "a", SHORT);

            assertEquals(429, refused.status());
            assertEquals("key_rate_exceeded", refused.error().path("code").asText());
            int retryAfter = Integer.parseInt(refused.header("retry-after"));
            assertTrue(retryAfter > 0 && retryAfter <= 30, refused.header("retry-after"));
            assertEquals(200, complete(server, "b", SHORT).status());
            var models = server.send("GET", "/v1/models", "", Map.of("Authorization", "Bearer a"));
            assertEquals(200, models.status());
        }
    }

    /** As the contract has it, which the test's client compares. */
    @Test
    void everyPostCountsButTheOneThatEndsAResponse() {
        try (var server = TestServer.start("--api-keys", "a", "--key-rate-max", "1")) {
            assertEquals(200, complete(server, "a", SHORT).status());
            var paths = new Contract()
                    .document().path("paths").properties().stream()
                            .filter(path -> path.getValue().has("post"))
                            .map(path -> path.getKey().replace("{id}", "none"))
                            .toList();

            assertTrue(paths.contains("/tokenize") && paths.contains("/v1/sessions/none/rewind"), paths::toString);
            for (String path : paths) {
                var answer = server.send("POST", path, "", Map.of("Authorization", "Bearer a"));

                assertEquals(path.endsWith("/cancel") ? 404 : 429, answer.status(), path);
            }
        }
    }

    @Test
    void listedOriginsMayUseTheApiAndOthersMayNot() {
        try (var server =
                TestServer.start("--cors-origins", "https://a.example, https://b.example", "--api-keys", "k")) {
            String asks = String.join(
                    "\r\n",
                    "OPTIONS /v1/completions HTTP/1.1",
                    "Host: x",
                    "Connection: close",
                    "Access-Control-Request-Method: POST",
                    "Access-Control-Request-Headers: authorization",
                    "Origin: ");
            String preflight = server.raw(asks + "https://b.example\r\n\r\n");
            String foreign = server.raw(asks + "https://c.example\r\n\r\n");
            var answer = server.send(
                    "GET", "/v1/models", "", Map.of("Authorization", "Bearer k", "Origin", "https://a.example"));

            assertTrue(preflight.startsWith("HTTP/1.1 204 "), preflight);
            assertTrue(preflight.contains("Access-Control-Allow-Origin: https://b.example\r\n"), preflight);
            assertTrue(preflight.contains("Access-Control-Allow-Headers: authorization\r\n"), preflight);
            assertTrue(preflight.contains("Allow-Methods: GET, POST, PUT, DELETE, OPTIONS\r\n"), preflight);
            assertTrue(foreign.startsWith("HTTP/1.1 401 "), foreign);
            assertTrue(!foreign.contains("Access-Control-Allow-Origin"), foreign);
            assertEquals("https://a.example", answer.header("access-control-allow-origin"));
            assertEquals("Origin", answer.header("vary"));
        }
    }

    @Test
    void noOriginIsAllowedUnlessListed() {
        try (var server = TestServer.start()) {
            var answer = server.send("GET", "/v1/models", "", Map.of("Origin", "https://a.example"));

            assertEquals("", answer.header("access-control-allow-origin"));
        }
        assertThrows(StartException.class, () -> TestServer.start("--cors-origins", "https://a.example/path"));
    }

    @Test
    void tlsShowsTheNewCertificateOnceItsFilesChange() throws Exception {
        Pem.write(folder, "first");
        String[] args = {
            "--tls-certificate", folder.resolve("cert.pem").toString(),
            "--tls-key", folder.resolve("key.pem").toString()
        };
        try (var server = TestServer.start(SLOW, Optional.of(TOKENIZER), args)) {
            assertTrue(server.application().url().startsWith("https://"));
            try (SSLSocket stream = Pem.connect(server.port())) {
                BigInteger first = Pem.serialNumber(stream);
                stream.getOutputStream().write(TestServer.wire(ENDLESS).getBytes(StandardCharsets.UTF_8));
                TestServer.await("running", () -> server.stats().runningRequestCount() == 1);

                Pem.write(folder, "second");
                TestServer.await(
                        "the new certificate",
                        () -> !Pem.serialNumber(server.port()).equals(first));

                assertEquals(1, server.stats().runningRequestCount(), "the open stream goes on");
            }
            server.awaitFree();
            try (SSLSocket socket = Pem.connect(server.port())) {
                socket.getOutputStream().write(TestServer.wire(SHORT).getBytes(StandardCharsets.UTF_8));
                var answer = WireAnswer.read(new BufferedInputStream(socket.getInputStream()));
                assertEquals(200, answer.orElseThrow().status());
            }
        }
    }

    @Test
    void healthAsksOverTlsAndTrustsTheConfiguredCertificateAlone() throws Exception {
        Pem.write(folder, "first");
        String certificate = folder.resolve("cert.pem").toString();
        String key = folder.resolve("key.pem").toString();
        try (var server = TestServer.start("--tls-certificate", certificate, "--tls-key", key)) {
            var out = new ByteArrayOutputStream();
            var args = List.of("--port", String.valueOf(server.port()), "--tls-certificate", certificate);

            var print = new PrintStream(out, true, StandardCharsets.UTF_8);
            // It gives up after some seconds, which a first handshake may take.
            TestServer.await("health", () -> HealthCommand.run(args, Map.of(), print) == 0);

            Path others = Files.createDirectory(folder.resolve("others"));
            Pem.write(others, "second");
            var wrong = List.of(
                    args.get(0),
                    args.get(1),
                    args.get(2),
                    others.resolve("cert.pem").toString());
            assertEquals(1, HealthCommand.run(wrong, Map.of(), print));
            var missing = List.of(
                    args.get(0),
                    args.get(1),
                    args.get(2),
                    folder.resolve("none.pem").toString());
            assertThrows(StartException.class, () -> HealthCommand.run(missing, Map.of(), System.out));
        }
    }

    @Test
    void tlsFilesThatDoNotBelongTogetherStopTheStart() throws Exception {
        Pem.write(folder, "first");
        Path key = folder.resolve("other.pem");
        Files.move(folder.resolve("key.pem"), key);
        Pem.write(folder, "second");
        String certificate = folder.resolve("cert.pem").toString();

        var other = assertThrows(
                StartException.class,
                () -> TestServer.start("--tls-certificate", certificate, "--tls-key", key.toString()));
        var none = assertThrows(StartException.class, () -> TestServer.start("--tls-certificate", certificate));

        assertTrue(String.valueOf(other.getMessage()).contains("is not the key of"), other.getMessage());
        assertTrue(String.valueOf(none.getMessage()).contains("--tls-key is missing"), none.getMessage());
    }
}
