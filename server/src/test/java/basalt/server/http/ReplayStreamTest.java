package basalt.server.http;

import static org.junit.jupiter.api.Assertions.assertEquals;

import basalt.server.api.JsonBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.junit.jupiter.api.Test;

/** What a stream keeps for a reader that comes back. */
class ReplayStreamTest {
    private static final int BYTES_MAX = 10_000;
    private static final JsonBuffer EVENT =
            new JsonBuffer().raw("data: " + "x".repeat(92)).raw("\n\n");

    private final ReplayStream stream =
            new ReplayStream("stream_1", "mine", new HttpConfig.Resume(Duration.ofSeconds(30), BYTES_MAX, 1));

    private void write(int count) {
        for (int i = 0; i < count; i++) {
            stream.write(EVENT);
        }
    }

    @Test
    void eventsSentToALostConnectionAreKeptWhileNewOnesFillWhatTheyMay() throws Exception {
        int lost = 30; // sent, and never received
        try (var reader = stream.reader(0)) {
            write(lost);
            reader.next();
        }

        var writer = Thread.ofVirtual().start(() -> write(1_000));
        while (writer.getState() != Thread.State.WAITING) {
            Thread.onSpinWait();
        }

        try (var reader = stream.reader(0)) {
            String first = new String(reader.next().orElseThrow(), StandardCharsets.UTF_8);
            assertEquals("id: stream_1:0", first.lines().findFirst().orElseThrow());
        }
        stream.close();
        writer.join();
    }
}
