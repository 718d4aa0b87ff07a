package basalt.engine.session;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;

final class SessionOrderTest {
    private static final int SESSIONS = 5_000;
    private static final int SORTS = 200;

    @Test
    void sessionsAreSortedWhileTheyAreUsed() throws Exception {
        var head = new Journal.Entry.Head("", "owner", 0, 0);
        var sessions = new ArrayList<Session>();
        for (int i = 0; i < SESSIONS; i++) {
            sessions.add(new Session("s" + i, head, 0, i));
        }
        var isOver = new AtomicBoolean();
        var user = Thread.ofPlatform().start(() -> {
            var random = new SplittableRandom(1);
            while (!isOver.get()) {
                sessions.get(random.nextInt(SESSIONS)).used(random.nextLong(SESSIONS));
            }
        });
        try {
            for (int i = 0; i < SORTS; i++) {
                assertEquals(new HashSet<>(sessions), new HashSet<>(Session.eldestFirst(sessions.stream())));
            }
        } finally {
            isOver.set(true);
            user.join();
        }
        var sorted = Session.eldestFirst(sessions.stream());
        for (int i = 1; i < SESSIONS; i++) {
            assertEquals(
                    Math.max(sorted.get(i - 1).usedMillis(), sorted.get(i).usedMillis()),
                    sorted.get(i).usedMillis());
        }
    }
}
