package basalt.bench;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.bench.Completion.Outcome;
import java.io.IOException;
import java.util.concurrent.atomic.LongAdder;
import org.junit.jupiter.api.Test;

/** What counts as a complete stream, and what does not. */
class CompletionTest {
    private static final String TWO = "{\"choices\":[{\"index\":0,\"text\":\"é\",\"token_ids\":[5,6],"
            + "\"finish_reason\":null}],\"usage\":null}";
    private static final String LAST =
            "{\"choices\":[{\"index\":0,\"text\":\"\",\"token_ids\":[7],\"finish_reason\":\"length\"}]}";
    private static final String USAGE = "{\"choices\":[],\"usage\":{\"completion_tokens\":3}}";
    private static final byte[] BODY = "{}".getBytes(java.nio.charset.StandardCharsets.UTF_8);

    private final LongAdder arrivedCount = new LongAdder();

    @Test
    void wholeStreamIsComplete() throws IOException {
        var result = run(CannedServer.chunked(TWO, LAST, USAGE, "[DONE]"), 0);

        assertEquals(Outcome.COMPLETE, result.outcome(), result.failure());
        assertArrayEquals(new int[] {5, 6, 7}, result.tokens());
        assertEquals(3, arrivedCount.sum());
        assertEquals(1, result.gaps().count());
        assertTrue(result.firstTokenNanos() > 0);
    }

    @Test
    void missingTokenFails() throws IOException {
        var result = run(CannedServer.chunked(TWO, USAGE.replace("3", "4"), LAST, "[DONE]"), 0);

        assertEquals(Outcome.FAILED, result.outcome());
        assertTrue(result.failure().contains("usage counts 4 tokens, 3 arrived"), result.failure());
    }

    @Test
    void missingEndFails() throws IOException {
        var result = run(CannedServer.chunked(TWO, LAST, USAGE), 0);

        assertEquals("the stream ended without [DONE]", result.failure());
    }

    @Test
    void cutConnectionFails() throws IOException {
        var whole = CannedServer.chunked(TWO, LAST, USAGE, "[DONE]");

        var result = run(whole.substring(0, whole.length() / 2), 0);

        assertEquals(Outcome.FAILED, result.outcome());
    }

    @Test
    void errorEventFails() throws IOException {
        var result = run(CannedServer.chunked(TWO, "{\"error\":{\"message\":\"no\"}}", "[DONE]"), 0);

        assertTrue(result.failure().contains("{\"message\":\"no\"}"), result.failure());
    }

    @Test
    void fullQueueIsRefused() throws IOException {
        var result = run("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n", 0);

        assertEquals(Outcome.REFUSED, result.outcome());
        assertEquals(3, result.retryAfterSeconds());
        assertTrue(result.refusedNanos() > 0);
    }

    @Test
    void otherStatusFailsWithItsBody() throws IOException {
        var result = run("HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\nwhy?", 0);

        assertEquals("400 why?", result.failure());
    }

    @Test
    void cancelClosesAfterEnoughTokens() throws IOException {
        var result = run(CannedServer.chunked(TWO, LAST, USAGE, "[DONE]"), 2);

        assertEquals(Outcome.CANCELLED, result.outcome());
        assertArrayEquals(new int[] {5, 6}, result.tokens());
    }

    @Test
    void eventsCountAsTokensWhereAServerSendsNoIds() throws IOException {
        var event = "{\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":null}]}";
        var last = "{\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"stop\"}]}";

        var result = run(CannedServer.chunked(event, event, last, USAGE, "[DONE]"), 0);

        assertEquals(Outcome.COMPLETE, result.outcome(), result.failure());
        assertEquals(2, result.tokens().length);
    }

    private Completion.Result run(String answer, int cancelAfterTokens) throws IOException {
        try (var server = new CannedServer(answer)) {
            return new Completion(arrivedCount).run(server.uri(), BODY, cancelAfterTokens);
        }
    }
}
