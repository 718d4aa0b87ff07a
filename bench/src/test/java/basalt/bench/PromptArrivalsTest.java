package basalt.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class PromptArrivalsTest {
    private static final String TOKEN =
            "{\"choices\":[{\"index\":0,\"text\":\"a\",\"token_ids\":[7],\"finish_reason\":\"length\"}]}";
    private static final String USAGE = "{\"choices\":[],\"usage\":{\"completion_tokens\":1}}";

    @Test
    void promptsGoOnArrivingUntilClosed() throws IOException, InterruptedException {
        var three = new CountDownLatch(3);
        try (var server = new CannedServer(CannedServer.chunked(TOKEN, USAGE, "[DONE]"), three::countDown)) {
            var arrivals = new PromptArrivals(
                    server.uri(), new PromptSet("m", 2, 3, 1, 100, PromptSet.Sampling.GREEDY), 1_000);

            boolean haveThree = three.await(60, TimeUnit.SECONDS);
            arrivals.close();

            var report = arrivals.report();
            assertTrue(haveThree);
            assertEquals(report.sentCount(), report.completeCount());
        }
    }
}
