package basalt.server.http;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;

/** How tenants share the streams that are kept. */
class ReplayStreamsTest {
    private static final HttpConfig.Resume EIGHT = new HttpConfig.Resume(Duration.ofSeconds(30), 1_000, 8);

    private final ReplayStreams streams = new ReplayStreams(EIGHT, true);

    private static List<ReplayStream> openAll(ReplayStreams streams, String tenant) {
        var opened = new ArrayList<ReplayStream>();
        var refused = assertThrows(ProblemException.class, () -> {
            for (int i = 0; i <= EIGHT.countMax(); i++) {
                opened.add(streams.open(tenant));
            }
        });
        assertEquals(ProblemCode.STREAMS_FULL, refused.problem().code());
        return opened;
    }

    private void isKept(ReplayStream stream) {
        assertEquals(stream, streams.require(stream.tenant(), stream.id()));
    }

    private void isGone(ReplayStream stream) {
        assertThrows(ProblemException.class, () -> streams.require(stream.tenant(), stream.id()));
    }

    @Test
    void tenantAloneTakesHalfAndOthersFindRoom() {
        assertEquals(4, openAll(streams, "greedy").size());

        assertEquals(2, openAll(streams, "other").size());
        assertEquals(1, openAll(streams, "third").size());
        assertEquals(1, openAll(streams, "fourth").size());
        assertEquals(0, openAll(streams, "fifth").size());
    }

    @Test
    void refusalNamesTheShare() {
        openAll(streams, "greedy");

        var refused = assertThrows(ProblemException.class, () -> streams.open("greedy"));

        assertTrue(refused.problem().message().contains("has 4 resumable streams in use, its share of the 8"));
    }

    @Test
    void onlyTenantTakesAll() {
        var unshared = new ReplayStreams(EIGHT, false);

        assertEquals(8, openAll(unshared, "everybody").size());
        unshared.close();
    }

    @Test
    void endedStreamsGoFirstOfTheTenantThatHasMost() {
        var others = List.of(streams.open("other"), streams.open("other"));
        var many = new ArrayList<ReplayStream>();
        others.forEach(ReplayStream::end);
        for (int i = 0; i < 50; i++) {
            many.add(streams.open("greedy"));
            many.getLast().end();
        }

        others.forEach(this::isKept);
        many.subList(0, 44).forEach(this::isGone);
        many.subList(44, 50).forEach(this::isKept);
    }

    @Test
    void streamWithoutReaderEndsWhenItsTimeIsOverAndNotBefore() {
        for (Duration window : List.of(Duration.ofHours(1), Duration.ofNanos(1))) {
            var ended = new AtomicBoolean();
            var kept = new ReplayStreams(new HttpConfig.Resume(window, 1_000, 1), false);
            var stream = kept.open("a tenant");
            stream.onClose(() -> ended.set(true));
            stream.reader(0).close();
            boolean isOver = window.toNanos() == 1;
            long left = System.nanoTime();
            while (System.nanoTime() - left <= 1) {
                Thread.onSpinWait();
            }

            kept.expire();

            assertEquals(isOver, ended.get());
            assertEquals(isOver ? 0 : 1, kept.count());
            kept.close();
        }
    }

    @Test
    void endedStreamsCountInNoShare() {
        var first = openAll(streams, "greedy");

        first.forEach(ReplayStream::end);

        assertEquals(4, openAll(streams, "greedy").size());
    }
}
