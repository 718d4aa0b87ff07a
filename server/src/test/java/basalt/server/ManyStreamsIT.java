package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.WordTokenizer;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.Test;

class ManyStreamsIT {
    private static final int STREAMS = 200;

    @Test
    void everyStreamIsWholeAndInOrderWhateverElseRuns() throws InterruptedException {
        try (var server = TestServer.start(
                FakeBackend.Options.DEFAULT.withTimes(200_000, 0),
                Optional.of(new WordTokenizer(TestServer.VOCAB_SIZE)),
                "--queue-requests-max",
                "200")) {
            var streamed = new ConcurrentHashMap<Integer, String>();
            var clients = new ArrayList<Thread>();
            for (int i = 0; i < STREAMS; i++) {
                int seed = i;
                clients.add(Thread.startVirtualThread(() -> streamed.put(seed, streamedText(server, seed))));
            }
            for (Thread client : clients) {
                client.join();
            }

            assertEquals(STREAMS, streamed.size());
            for (int seed = 0; seed < STREAMS; seed += 10) {
                assertEquals(text(server.complete(body(seed, false)).json()), streamed.get(seed), "seed " + seed);
            }
            server.awaitFree();
        }
    }

    private static String body(int seed, boolean isStreamed) {
        return "{\"prompt\":\"stream " + seed + "\",\"max_tokens\":120,\"ignore_eos\":true,\"seed\":" + seed
                + ",\"stream\":" + isStreamed + "}";
    }

    private static String streamedText(TestServer server, int seed) {
        var answer = server.send(
                "POST",
                "/v1/completions",
                body(seed, true),
                Map.of("Content-Type", "application/json", "X-Request-Id", "s" + seed));
        var text = new StringBuilder();
        answer.chunks().forEach(chunk -> text.append(text(chunk)));
        return text.toString();
    }

    private static String text(JsonNode answer) {
        return answer.path("choices").path(0).path("text").asText();
    }
}
