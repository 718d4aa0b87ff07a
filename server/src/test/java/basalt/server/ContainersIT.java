package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.server.fixture.CutProxy;
import basalt.server.fixture.LocalHub;
import basalt.server.fixture.NginxProxy;
import basalt.server.fixture.RedisServer;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.jar.JarFile;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The CPU image: served, stopped, and two containers that share sessions. */
class ContainersIT {
    private static final System.Logger LOG = System.getLogger(ContainersIT.class.getName());
    /** Without the model. */
    private static final long IMAGE_BYTES_MAX = 150_000_000;

    /** Of the time to readiness without the start-up cache, before any warm-up; about a half is usual. */
    private static final double CACHED_SHARE_MAX = 0.8;

    /** Of each, until the difference shows: a machine has busy times. */
    private static final int STARTS_MAX = 6;

    private static final int TURNS = 50;
    private static final int TURN_TOKENS = 12;
    private static final int CLIENTS = 4;

    @TempDir
    private Path folder;

    private final ArrayList<Container> started = new ArrayList<>();

    @BeforeAll
    static void requireImage() throws IOException {
        String reason = Container.unavailable();
        assumeTrue(reason.isEmpty(), reason);
    }

    @AfterEach
    void stop() throws IOException, InterruptedException {
        for (Container container : started) {
            container.remove();
        }
    }

    private Container start(String... environment) throws IOException, InterruptedException {
        Container container = Container.start(environment);
        started.add(container);
        return container;
    }

    private static String completion(String start, int maxTokens) {
        return "{" + start + ",\"max_tokens\":" + maxTokens + ",\"temperature\":0,\"ignore_eos\":true}";
    }

    private static String text(JsonNode answer) {
        return answer.path("choices").path(0).path("text").asText();
    }

    @Test
    void imageIsSmallAndSaysWhatItIs() throws Exception {
        JsonNode image = TestServer.parse(Container.podman("image", "inspect", Container.IMAGE))
                .path(0);
        long modelBytes;
        try (var files = Files.walk(Path.of("..", "models", "based-10m"))) {
            modelBytes = files.filter(Files::isRegularFile)
                    .mapToLong(file -> file.toFile().length())
                    .sum();
        }
        long bytes = image.path("Size").asLong() - modelBytes;
        LOG.log(System.Logger.Level.INFO, "event=image megabytes_without_model={0}", bytes / 1_000_000);

        assertTrue(bytes < IMAGE_BYTES_MAX, "the image has " + bytes + " bytes without the model");
        assertEquals("65532:65532", image.path("Config").path("User").asText());
        JsonNode labels = image.path("Config").path("Labels");
        for (String label : new String[] {"title", "description", "licenses", "version", "revision", "documentation"}) {
            String said = labels.path("org.opencontainers.image." + label).asText();
            assertTrue(!said.isEmpty(), "no label " + label + ": " + labels);
        }
        String created = labels.path("org.opencontainers.image.created").asText();
        String revision = labels.path("org.opencontainers.image.revision").asText();
        if (!revision.equals("unknown")) { // else it was built where git is not
            assertTrue(revision.matches("[0-9a-f]{40}"), revision);
            assertTrue(OffsetDateTime.parse(created).isBefore(OffsetDateTime.now(ZoneOffset.UTC)), created);
        }
        assertTrue(image.has("Healthcheck"), image::toString);
    }

    @Test
    void servesStreamsAndIsHealthy() throws Exception {
        Container server = start();
        LOG.log(System.Logger.Level.INFO, "event=container_ready millis={0}", Long.toString(server.readyMillis()));
        String prompt = "\"prompt\":\"The old house stood\"";

        assertEquals("", warnings(server));
        String whole = text(server.json("POST", "/v1/completions", completion(prompt, 20)));
        assertTrue(whole.length() > 20, whole);
        HttpResponse<String> stream =
                server.send("POST", "/v1/completions", completion(prompt + ",\"stream\":true", 20));
        var streamed = new StringBuilder();
        stream.body()
                .lines()
                .filter(line -> line.startsWith("data: {"))
                .forEach(line -> streamed.append(text(TestServer.parse(line.substring("data: ".length())))));
        assertEquals(whole, streamed.toString());
        assertTrue(stream.body().endsWith("data: [DONE]\n\n"), stream.body());
        Container.podman("exec", server.name(), "/opt/basalt/jre/bin/java", "@/opt/basalt/health.args");
        Container.podman("cp", server.name() + ":/opt/basalt/sbom.json", folder.toString());
        JsonNode bill = TestServer.parse(Files.readString(folder.resolve("sbom.json")));
        assertEquals("CycloneDX", bill.path("bomFormat").asText());
        var named = new TreeSet<String>();
        bill.path("components")
                .forEach(part -> named.add(
                        part.path("name").asText() + "-" + part.path("version").asText() + ".jar"));
        Container.podman("cp", server.name() + ":/opt/basalt/lib", folder.toString());
        try (var jars = Files.list(folder.resolve("lib"))) {
            assertEquals(
                    List.of(),
                    jars.map(jar -> jar.getFileName().toString())
                            .filter(jar -> !named.contains(jar))
                            .toList(),
                    "jars that the bill of materials lacks");
        }
        assertTrue(!named.toString().contains("jmh"), "the bill has what the image has not: " + named);
    }

    /** A cache that is not taken, or vectors that are no vectors, would say so. */
    private static String warnings(Container server) {
        return server.logs().lines().filter(line -> line.contains("WARN")).collect(Collectors.joining("\n"));
    }

    /** The engine of the containers has what a server says a moment later. */
    private static void awaitLog(Container server, String text) {
        TestServer.await(text, () -> server.logs().contains(text));
    }

    @Test
    void modelByNameOutlivesTheContainerInAVolume() throws Exception {
        String volume = "models-" + Container.freePort();
        String text;
        try (var hub = LocalHub.of(Path.of("..", "models", "based-10m"))) {
            Container first =
                    Container.startWithCache(volume, "BASALT_MODEL=owner/name", "HF_ENDPOINT=" + hub.endpoint());
            started.add(first);
            awaitLog(first, "event=downloaded model=owner/name");
            text = text(first.json("POST", "/v1/completions", completion("\"prompt\":\"The old house\"", 20)));
            first.remove();
        }

        Container next = Container.startWithCache(volume, "BASALT_MODEL=owner/name", "HF_HUB_OFFLINE=1");
        started.add(next);

        assertEquals(text, text(next.json("POST", "/v1/completions", completion("\"prompt\":\"The old house\"", 20))));
        next.remove();
        Container.podman("volume", "rm", volume);
    }

    @Test
    void startUpCacheSavesTime() throws Exception {
        long cached = Long.MAX_VALUE;
        long plain = Long.MAX_VALUE;
        for (int i = 0; i < STARTS_MAX && (i == 0 || cached >= CACHED_SHARE_MAX * plain); i++) {
            cached = Math.min(cached, start("BASALT_WARM_UP=0s").readyMillis());
            Container without = start("BASALT_WARM_UP=0s", "JDK_JAVA_OPTIONS=-XX:AOTMode=off");
            plain = Math.min(plain, without.readyMillis());
            TestServer.await("warning", () -> warnings(without).contains("event=start_cache_unused"));
        }
        LOG.log(System.Logger.Level.INFO, "event=start_cache millis={0} without={1}", cached, plain);

        assertTrue(cached < CACHED_SHARE_MAX * plain, cached + " ms with the cache, " + plain + " ms without");
    }

    @Test
    void cudaImageServesOnTheCpuWhereThereIsNoGpuAndSaysWhy() throws Exception {
        String reason = Container.cudaUnavailable();
        assumeTrue(reason.isEmpty(), reason);
        Container server = Container.start(Container.CUDA_IMAGE, Container.freePort());
        started.add(server);

        String whole = text(server.json("POST", "/v1/completions", completion("\"prompt\":\"The old house\"", 20)));

        assertTrue(whole.length() > 20, whole);
        awaitLog(server, "event=backend backend=cpu reason=\"no NVIDIA driver");
        Container.podman("cp", server.name() + ":/opt/basalt/lib", folder.toString());
        try (var jars = Files.newDirectoryStream(folder.resolve("lib"), "basalt-native-*.jar");
                var kernels = new JarFile(jars.iterator().next().toFile())) {
            for (String file : List.of("bf16.fatbin", "f32.fatbin", "libbasalt-cublas.so")) {
                assertNotNull(kernels.getEntry("META-INF/basalt/" + file), file);
            }
        }
    }

    @Test
    void sigtermLetsAnOpenStreamEnd() throws Exception {
        Container server = start();
        try (var socket = new Socket(InetAddress.getLoopbackAddress(), server.port())) {
            String body = completion("\"prompt\":\"The\",\"stream\":true", 1_500);
            socket.getOutputStream().write(TestServer.wire(body).getBytes(StandardCharsets.UTF_8));
            var in = new BufferedInputStream(socket.getInputStream());
            in.mark(1 << 16);
            assertTrue(in.readNBytes(1_000).length == 1_000, "it has begun");
            in.reset();

            server.signal("TERM");

            WireAnswer answer = WireAnswer.read(in).orElseThrow();
            assertTrue(answer.body().contains("\"finish_reason\":\"length\""), "the stream was cut");
            assertTrue(answer.body().endsWith("data: [DONE]\n\n"), "the stream was cut");
        }
        assertEquals(0, server.awaitExit());
    }

    @Test
    void twoContainersShareSessionsThroughStopsCutsAndKills() throws Exception {
        assumeTrue(RedisServer.isInstalled(), RedisServer.whyNot());
        try (var redis = RedisServer.start(folder);
                var proxy = new CutProxy(redis.port())) {
            String url = "BASALT_REDIS_URL=" + RedisServer.url(proxy.port());
            String timeout = "BASALT_REDIS_TIMEOUT=10s";
            Container one = start(url, timeout);
            Container other = start(url, timeout);
            String id = one.json("POST", "/v1/sessions", "{}").path("id").asText();
            var texts = new ArrayList<String>();
            for (int turn = 0; turn < TURNS / 2; turn++) {
                texts.add(turn(turn % 2 == 0 ? one : other, id, turn));
            }

            one.signal("TERM"); // it hands over what only its memory has
            assertEquals(0, one.awaitExit());
            texts.add(turn(other, id, texts.size()));

            proxy.become(CutProxy.State.CUT);
            awaitStore(other, "down");
            assertEquals(503, other.send("GET", "/v1/sessions/" + id, "").statusCode());
            other.json("POST", "/v1/completions", completion("\"prompt\":\"The\"", 5));
            proxy.become(CutProxy.State.WHOLE);
            awaitStore(other, "up");
            texts.add(turn(other, id, texts.size()));

            Container third = start(url, timeout);
            Container leaving = other;
            var lost = CompletableFuture.runAsync(() -> {
                try {
                    leaving.send("POST", "/v1/completions", turnBody(id, 100_000, 0));
                } catch (IOException | InterruptedException e) {
                    LOG.log(System.Logger.Level.DEBUG, "event=killed reason={0}", e.getMessage());
                }
            });
            TestServer.await("the turn", () -> isBusy(leaving));
            other.signal("KILL");
            lost.join();
            Container fourth = start(url, timeout);
            while (texts.size() < TURNS) {
                texts.add(turn(texts.size() % 2 == 0 ? third : fourth, id, texts.size()));
            }

            assertEquals(
                    TURNS,
                    third.json("GET", "/v1/sessions/" + id, "").path("turns").asInt());
            String alone = third.json("POST", "/v1/sessions", "{}").path("id").asText();
            for (int turn = 0; turn < texts.size(); turn++) {
                assertEquals(turn(third, alone, turn), texts.get(turn), "turn " + turn);
            }
        }
    }

    @Test
    void rollingUpdateUnderLoadLosesNoStreamAndNoCommittedTurn() throws Exception {
        assumeTrue(RedisServer.isInstalled(), RedisServer.whyNot());
        assumeTrue(NginxProxy.isInstalled(), NginxProxy.whyNot());
        try (var redis = RedisServer.start(folder)) {
            String[] environment = {
                "BASALT_REDIS_URL=" + redis.url(), "BASALT_REDIS_TIMEOUT=20s", "BASALT_DRAIN_DELAY=200ms"
            };
            var servers = new ArrayList<>(List.of(start(environment), start(environment)));
            var ids = new ArrayList<String>();
            for (int i = 0; i < CLIENTS; i++) {
                ids.add(servers.get(i % 2)
                        .json("POST", "/v1/sessions", "{}")
                        .path("id")
                        .asText());
            }
            TurnLoad load;
            try (var nginx = NginxProxy.start(
                    folder, servers.get(0).port(), servers.get(1).port())) {
                load = TurnLoad.start(ids, TURN_TOKENS, 1, (turn, attempt) -> nginx.port());
                for (int i = 0; i < servers.size(); i++) {
                    load.awaitMore();
                    Container old = servers.get(i);
                    old.signal("TERM");
                    assertEquals(0, old.awaitExit());
                    Container next = Container.start(Container.IMAGE, old.port(), environment);
                    started.add(next);
                    servers.set(i, next);
                }
                load.awaitMore();
                assertEquals(List.of(), load.stop(), load.toString());
            }

            Container any = servers.getFirst();
            for (int i = 0; i < CLIENTS; i++) {
                List<String> texts = load.texts(i);
                String alone = any.json("POST", "/v1/sessions", "{}").path("id").asText();
                assertEquals(
                        texts.size(),
                        any.json("GET", "/v1/sessions/" + ids.get(i), "")
                                .path("turns")
                                .asInt());
                for (int turn = 0; turn < texts.size(); turn++) {
                    String body = TurnLoad.body(alone, i + turn, TURN_TOKENS);
                    assertEquals(text(any.json("POST", "/v1/completions", body)), texts.get(turn), "turn " + turn);
                }
            }
        }
    }

    private static String turnBody(String id, int maxTokens, int turn) {
        return completion("\"session\":\"" + id + "\",\"prompt\":\" Chapter " + turn + ". The\"", maxTokens);
    }

    private static String turn(Container server, String id, int turn) throws IOException, InterruptedException {
        return text(server.json("POST", "/v1/completions", turnBody(id, TURN_TOKENS, turn)));
    }

    private static void awaitStore(Container server, String state) {
        TestServer.await("the store to be " + state, () -> {
            try {
                return server.json("GET", "/health/ready", "")
                        .path("session_store")
                        .asText()
                        .equals(state);
            } catch (IOException | InterruptedException e) {
                throw new IllegalStateException(e);
            }
        });
    }

    private static boolean isBusy(Container server) {
        try {
            return server.send("GET", "/metrics", "")
                    .body()
                    .lines()
                    .anyMatch(line -> line.startsWith("basalt_slots_busy{") && !line.endsWith(" 0.0"));
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
