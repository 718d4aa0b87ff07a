package basalt.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import org.junit.jupiter.api.Test;

/** Counting over many streams. */
class LoadRunTest {
    private static final String TOKEN =
            "{\"choices\":[{\"index\":0,\"text\":\"a\",\"token_ids\":[7],\"finish_reason\":\"length\"}]}";
    private static final String USAGE = "{\"choices\":[],\"usage\":{\"completion_tokens\":1}}";

    @Test
    void countsEveryStream() throws IOException {
        try (var server = new CannedServer(CannedServer.chunked(TOKEN, USAGE, "[DONE]"))) {
            var run = run(server, 10);
            run.warmUp(true);

            var report = run.measure();

            assertEquals(10, report.completeCount(), report.failures()::toString);
            assertEquals(10, report.tokens());
            assertEquals(0, report.failedCount() + report.differentCount());
        }
    }

    @Test
    void wrongTokenIsDifferent() throws IOException {
        LoadRun run;
        try (var server = new CannedServer(CannedServer.chunked(TOKEN, USAGE, "[DONE]"))) {
            run = run(server, 10);
            run.warmUp(true);
            server.answer(CannedServer.chunked(TOKEN.replace("7", "8"), USAGE, "[DONE]"));

            var report = run.measure();

            assertEquals(10, report.differentCount());
        }
    }

    @Test
    void serverThatFailsAloneIsNotMeasured() throws IOException {
        try (var server = new CannedServer("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")) {
            var run = run(server, 1);

            assertThrows(BenchException.class, () -> run.warmUp(false));
        }
    }

    private static LoadRun run(CannedServer server, int requestCount) {
        return new LoadRun(
                server.uri(), new PromptSet("m", 2, 3, 1, 100, PromptSet.Sampling.GREEDY), 3, requestCount, 0, 0);
    }
}
