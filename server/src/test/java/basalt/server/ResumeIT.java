package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.WordTokenizer;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Streams whose connection is lost and that go on. */
class ResumeIT {
    private static final int TOKENS = 120;
    private static final Pattern LAST_ID = Pattern.compile("(?s).*id: ((stream_[0-9a-f]{32}):([0-9]+))\ndata: .*");

    private TestServer server = start();

    private static TestServer start(String... args) {
        var all = new ArrayList<>(List.of("--resume-window", "20s"));
        all.addAll(Arrays.asList(args));
        var options = FakeBackend.Options.DEFAULT
                .withSlots(8, 8)
                .withTimes(Duration.ofMillis(3).toNanos(), 0);
        return TestServer.start(
                options, Optional.of(new WordTokenizer(TestServer.VOCAB_SIZE)), all.toArray(String[]::new));
    }

    private void restart(String... args) {
        server.close();
        server = start(args);
    }

    @AfterEach
    void stop() {
        server.awaitFree();
        server.close();
    }

    private static String body(String path, int tokens) {
        String start =
                path.contains("chat") ? "\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]" : "\"prompt\":\"abc\"";
        return "{" + start + ",\"seed\":3,\"max_tokens\":" + tokens
                + ",\"ignore_eos\":true,\"return_token_ids\":true,\"stream\":true,\"resumable\":true}";
    }

    private static List<Integer> ids(TestServer.Answer answer) {
        var ids = new ArrayList<Integer>();
        for (var chunk : answer.chunks()) {
            chunk.path("choices").path(0).path("token_ids").forEach(id -> ids.add(id.asInt()));
        }
        return ids;
    }

    /** Reads a stream until it has so many events, and loses the connection. */
    private String readAndLose(String path, String body, int events) throws IOException {
        try (Socket socket = server.connect()) {
            String request = TestServer.wire(body).replace("/v1/completions", path);
            socket.getOutputStream().write(request.getBytes(StandardCharsets.UTF_8));
            var bytes = new ByteArrayOutputStream();
            String text = "";
            while (text.split("\ndata: ", -1).length <= events || !text.endsWith("\n\n")) {
                int next = socket.getInputStream().read();
                assertTrue(next >= 0, "closed after: " + text);
                bytes.write(next);
                text = bytes.toString(StandardCharsets.UTF_8);
            }
            return text;
        }
    }

    private static Matcher lastId(String read) {
        Matcher id = LAST_ID.matcher(read);
        assertTrue(id.matches(), read);
        return id;
    }

    private TestServer.Answer resume(String stream, String last) {
        return server.send("GET", "/v1/streams/" + stream, "", Map.of("Last-Event-ID", last));
    }

    private static String content(TestServer.Answer answer) {
        var text = new StringBuilder();
        for (var chunk : answer.chunks()) {
            var choice = chunk.path("choices").path(0);
            text.append(choice.path("text").asText())
                    .append(choice.path("delta").path("content").asText());
        }
        return text.toString();
    }

    private void goesOn(String path) throws IOException {
        var whole = server.send("POST", path, body(path, TOKENS), Map.of("Content-Type", "application/json"));
        for (int cut : new int[] {1, 2, 30}) {
            String read = readAndLose(path, body(path, TOKENS), cut);
            Matcher last = lastId(read);

            var rest = resume(last.group(2), last.group(1));

            var first = new TestServer.Answer(200, Map.of(), events(read));
            var ids = ids(first);
            ids.addAll(ids(rest));
            assertEquals(ids(whole), ids, "cut after " + cut);
            assertEquals(content(whole), content(first) + content(rest));
            assertTrue(rest.body().endsWith("data: [DONE]\n\n"), rest.body());
            assertEquals(last.group(2), rest.header("x-stream-id"));
        }
    }

    /** The bytes of the chunks, without what frames them. */
    private static String events(String read) {
        var events = new StringBuilder();
        Matcher event = Pattern.compile("id: [^\n]*\ndata: [^\n]*\n\n").matcher(read);
        while (event.find()) {
            events.append(event.group());
        }
        return events.toString();
    }

    @Test
    void completionGoesOnWithoutLosingOrRepeatingAToken() throws IOException {
        goesOn("/v1/completions");
    }

    @Test
    void chatGoesOnWithoutLosingOrRepeatingAToken() throws IOException {
        goesOn("/v1/chat/completions");
    }

    @Test
    void endedStreamIsReadAgainFromAnyEvent() {
        var whole = server.complete(body("", 20));
        String stream = whole.header("x-stream-id");
        String events = withoutComments(whole.body());

        assertEquals(events, withoutComments(server.get("/v1/streams/" + stream).body()));
        String second = events.substring(events.indexOf("\n\n") + 2);
        assertEquals(
                second,
                withoutComments(server.get("/v1/streams/" + stream + "?after=" + stream + ":0")
                        .body()));
        assertEquals(second, withoutComments(resume(stream, "0").body()));
        String last = events.substring(events.lastIndexOf("id: ") + 4)
                .lines()
                .findFirst()
                .orElseThrow();
        assertEquals(204, resume(stream, last).status());
        for (String wrong : List.of("1000", "x", "-1", "stream_1:0")) {
            assertEquals(400, resume(stream, wrong).status(), wrong);
        }
    }

    private static String withoutComments(String body) {
        return body.replaceAll(": keep-alive\n\n", "");
    }

    @Test
    void newReaderCutsTheOldOneOff() throws IOException {
        try (Socket socket = server.connect()) {
            socket.getOutputStream().write(TestServer.wire(body("", 1_000)).getBytes(StandardCharsets.UTF_8));
            var text = new StringBuilder();
            while (!text.toString().contains("\ndata: ")) {
                text.append((char) socket.getInputStream().read());
            }
            String stream = text.substring(text.indexOf("stream_"), text.indexOf("stream_") + 39);

            var all = server.get("/v1/streams/" + stream);

            assertEquals(1_000, ids(all).size());
            String old = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertTrue(!old.contains("[DONE]"), old);
        }
    }

    @Test
    void strangersAndUnknownOnesAreNotFound() {
        restart("--api-keys", "one,two");
        var mine = Map.of("Content-Type", "application/json", "Authorization", "Bearer one");
        var stream = server.send("POST", "/v1/completions", body("", 5), mine).header("x-stream-id");

        var foreign = server.send("GET", "/v1/streams/" + stream, "", Map.of("Authorization", "Bearer two"));
        var unknown = server.send("GET", "/v1/streams/stream_0", "", Map.of("Authorization", "Bearer two"));

        assertEquals(404, foreign.status());
        assertEquals("stream_not_found", foreign.error().path("code").asText());
        assertEquals(404, unknown.status());
        assertEquals(200, server.send("GET", "/v1/streams/" + stream, "", mine).status());
        assertEquals(
                404,
                server.send("DELETE", "/v1/streams/" + stream, "", Map.of("Authorization", "Bearer two"))
                        .status());
    }

    @Test
    void streamThatNobodyComesBackToIsCancelledAndDropped() throws IOException {
        restart("--resume-window", "300ms");
        String stream =
                lastId(readAndLose("/v1/completions", body("", 1_000_000), 3)).group(2);

        server.awaitFree();

        assertEquals(404, resume(stream, "0").status());
    }

    @Test
    void deletedStreamFreesItsSlot() throws IOException {
        String stream =
                lastId(readAndLose("/v1/completions", body("", 1_000_000), 3)).group(2);

        var deleted = server.send("DELETE", "/v1/streams/" + stream, "", Map.of());

        assertEquals(200, deleted.status());
        server.awaitFree();
        assertEquals(404, resume(stream, "0").status());
    }

    @Test
    void generationWaitsForAReaderWhereTheBufferIsFullAndLosesNothing() throws IOException {
        // Half of it, the events of some seconds, are more than go to the lost connection before its end is noticed.
        restart("--resume-buffer-max", "512KiB", "--slow-reader-timeout", "1h");
        String read = readAndLose("/v1/completions", body("", 2_500), 2);
        Matcher last = lastId(read);
        long[] before = {-1};
        TestServer.await("it stands still", () -> {
            long sampled = server.stats().sampledTokenCount();
            boolean isStill = sampled == before[0];
            before[0] = sampled;
            LockSupport.parkNanos(Duration.ofMillis(100).toNanos());
            return isStill;
        });
        assertTrue(
                server.stats().sampledTokenCount() < 2_000,
                "sampled " + server.stats().sampledTokenCount());

        var rest = resume(last.group(2), last.group(3));

        assertEquals(200, rest.status());
        int had = ids(new TestServer.Answer(200, Map.of(), events(read))).size();
        assertEquals(2_500 - had, ids(rest).size());
        var gone = resume(last.group(2), "0");
        assertEquals(410, gone.status());
        assertEquals("events_gone", gone.error().path("code").asText());
    }

    @Test
    void theirNumberIsBoundedAndEndedOnesMakeRoom() throws IOException {
        restart("--resumable-streams-max", "1");
        String ended = server.complete(body("", 2)).header("x-stream-id");
        String running =
                lastId(readAndLose("/v1/completions", body("", 1_000_000), 1)).group(2);

        var refused = server.complete(body("", 2));

        assertEquals(404, resume(ended, "0").status());
        assertEquals(429, refused.status());
        assertEquals("streams_full", refused.error().path("code").asText());
        assertEquals("20", refused.header("retry-after"));
        server.send("DELETE", "/v1/streams/" + running, "", Map.of());
        assertEquals(200, server.complete(body("", 2)).status());
    }

    @Test
    void oneKeyLeavesStreamsToAnother() throws IOException {
        restart("--resumable-streams-max", "2", "--api-keys", "one,two");
        var one = Map.of("Content-Type", "application/json", "Authorization", "Bearer one");
        var two = Map.of("Content-Type", "application/json", "Authorization", "Bearer two");
        try (Socket socket = server.connect()) {
            String request = TestServer.wire(body("", 1_000_000))
                    .replace("Host: localhost", "Host: localhost\r\nAuthorization: Bearer one");
            socket.getOutputStream().write(request.getBytes(StandardCharsets.UTF_8));
            assertTrue(socket.getInputStream().read() >= 0);

            var refused = server.send("POST", "/v1/completions", body("", 2), one);
            var taken = server.send("POST", "/v1/completions", body("", 2), two);

            assertEquals(429, refused.status());
            assertEquals("streams_full", refused.error().path("code").asText());
            assertEquals(200, taken.status());
        }
    }

    @Test
    void turnOfASessionIsCommittedWithoutItsClient() throws IOException {
        String id = server.send("POST", "/v1/sessions", "{}", Map.of("Content-Type", "application/json"))
                .json()
                .path("id")
                .asText();
        String turn = body("", 50).replace("{\"prompt\"", "{\"session\":\"" + id + "\",\"prompt\"");

        readAndLose("/v1/completions", turn, 2);

        TestServer.await(
                "the turn is committed",
                () -> server.get("/v1/sessions/" + id).json().path("tokens").asInt() == 53);
    }

    @Test
    void streamWithoutReaderCountsAsOpenOfItsKey() throws IOException {
        restart("--key-requests-max", "1");
        String stream =
                lastId(readAndLose("/v1/completions", body("", 1_000_000), 2)).group(2);

        var refused = server.complete("{\"prompt\":\"a\"}");

        assertEquals(429, refused.status());
        assertEquals("key_concurrency_exceeded", refused.error().path("code").asText());
        server.send("DELETE", "/v1/streams/" + stream, "", Map.of());
        TestServer.await(
                "room again",
                () -> server.complete("{\"prompt\":\"a\",\"max_tokens\":1}").status() == 200);
    }

    @Test
    void resumableNeedsAStream() {
        var answer = server.complete("{\"prompt\":\"a\",\"resumable\":true}");

        assertEquals(400, answer.status());
        assertEquals("resumable", answer.error().path("param").asText());
    }

    @Test
    void drainWaitsForAStreamWithoutReaderAndLetsOneComeBack() throws Exception {
        String read = readAndLose("/v1/completions", body("", 200), 3);
        Matcher last = lastId(read);
        var drain = Thread.ofVirtual().start(() -> {
            try {
                server.application().drain();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        });
        TestServer.await("refusing", () -> server.complete("{\"prompt\":\"a\"}").status() == 503);

        var rest = resume(last.group(2), last.group(1));

        int had = ids(new TestServer.Answer(200, Map.of(), events(read))).size();
        assertEquals(200 - had, ids(rest).size());
        drain.join();
    }
}
