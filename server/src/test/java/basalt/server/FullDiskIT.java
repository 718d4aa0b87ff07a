package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A server whose sessions lie on a file system that is really full. */
class FullDiskIT {
    private static final int SESSIONS = 4;
    private static final int TURN_TOKENS = 300;

    @TempDir
    private Path folder;

    private final List<ServerProcess> started = new ArrayList<>();
    private Path disk;
    private boolean isMounted;

    @BeforeEach
    void mount() throws Exception {
        disk = Files.createDirectory(folder.resolve("disk"));
        isMounted = run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk.toString());
        assumeTrue(isMounted, "FULL DISK NOT TESTED: no file system may be mounted here; run as root");
    }

    @AfterEach
    void unmount() throws Exception {
        for (ServerProcess server : started) {
            server.kill();
        }
        if (isMounted) {
            assertTrue(run("umount", disk.toString()), "not unmounted");
        }
    }

    private static boolean run(String... command) throws Exception {
        try {
            return new ProcessBuilder(command).start().waitFor() == 0;
        } catch (IOException e) {
            return false;
        }
    }

    private ServerProcess serve() throws IOException {
        var server = ServerProcess.start(
                folder.resolve("log"),
                "--backend",
                "fake",
                "--fake-step-time",
                "1ms",
                "--sessions-dir",
                disk.resolve("sessions").toString());
        started.add(server);
        return server;
    }

    private static HttpResponse<String> send(ServerProcess server, String path, String body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + path))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        try (var client = HttpClient.newHttpClient()) {
            return client.send(request, HttpResponse.BodyHandlers.ofString());
        }
    }

    private static String turn(String id, boolean isStreamed) {
        String prompt =
                IntStream.range(1, TURN_TOKENS).mapToObj(Integer::toString).collect(Collectors.joining(","));
        return "{\"session\":\"" + id + "\",\"prompt\":[" + prompt
                + "],\"max_tokens\":1,\"ignore_eos\":true,\"stream\":" + isStreamed + "}";
    }

    private static void isRefused(HttpResponse<String> answer) {
        assertEquals(503, answer.statusCode(), answer.body());
        assertEquals("2", answer.headers().firstValue("retry-after").orElse(""));
        JsonNode error = TestServer.parse(answer.body()).path("error");
        assertEquals("sessions_unavailable", error.path("code").asText());
        assertTrue(error.path("message").asText().contains("was not kept"), answer.body());
    }

    private static void have(ServerProcess server, List<String> ids, int[] turns) throws Exception {
        for (int i = 0; i < ids.size(); i++) {
            var session = server.send("GET", "/v1/sessions/" + ids.get(i), "");
            assertEquals(turns[i], session.path("turns").asInt());
            assertEquals(turns[i] * TURN_TOKENS, session.path("tokens").asInt());
        }
    }

    @Test
    void committedTurnsOutliveAFullDiskAndAKillAndTheServerRecovers() throws Exception {
        ServerProcess server = serve();
        var ids = new ArrayList<String>();
        var turns = new int[SESSIONS];
        for (int i = 0; i < SESSIONS; i++) {
            ids.add(server.send("POST", "/v1/sessions", "{}").path("id").asText());
            server.send("POST", "/v1/completions", turn(ids.get(i), false));
            turns[i]++;
        }
        Path ballast = Files.write(disk.resolve("ballast"), new byte[] {1});
        try (var out = Files.newOutputStream(ballast)) {
            while (Files.getFileStore(disk).getUsableSpace() > 0) {
                out.write(new byte[4_096]);
            }
        }

        // What is left of their last pages holds a few turns.
        var isFull = new boolean[SESSIONS];
        for (int i = 0; i < 20 * SESSIONS; i++) {
            int at = i % SESSIONS;
            var answer = send(server, "/v1/completions", turn(ids.get(at), false));
            if (answer.statusCode() == 200) {
                turns[at]++;
            } else {
                isRefused(answer);
                isFull[at] = true;
            }
        }
        assertEquals("[true, true, true, true]", Arrays.toString(isFull));
        isRefused(send(server, "/v1/sessions", "{}"));
        isRefused(send(server, "/v1/sessions/" + ids.getFirst() + "/fork", "{}"));
        var stream = send(server, "/v1/completions", turn(ids.getFirst(), true)).body();
        assertTrue(stream.contains("\"code\":\"sessions_unavailable\""), stream);
        server.send("POST", "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":5}");
        server.send("GET", "/health/ready", "");
        have(server, ids, turns);
        assertTrue(server.log().contains("event=sessions_failed"), server.log());
        assertTrue(server.log().contains("No space left on device"), server.log());

        server.kill();
        server = serve();
        have(server, ids, turns);
        isRefused(send(server, "/v1/sessions", "{}"));
        Files.delete(ballast);
        for (int i = 0; i < SESSIONS; i++) {
            server.send("POST", "/v1/completions", turn(ids.get(i), false));
            turns[i]++;
        }
        have(server, ids, turns);
        server.send("POST", "/v1/sessions/" + ids.getFirst() + "/fork", "{}");
        assertEquals(
                SESSIONS + 1,
                server.send("GET", "/v1/sessions", "").path("data").size());
    }
}
