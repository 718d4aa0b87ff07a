package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;

class AdmissionQueueTest {
    @Test
    void equalPriorityGoesInOrderOfArrival() {
        var queue = new AdmissionQueue(10, 0);
        var groups = List.of(group(0, 5), group(0, 5), group(0, 6), group(0, 7));

        groups.forEach(queue::add);

        assertEquals(groups, takeAll(queue));
    }

    @Test
    void lowerPriorityValueGoesFirst() {
        var queue = new AdmissionQueue(10, 0);
        var late = group(2, 0);
        var soon = group(-1, 2);

        queue.add(late);
        queue.add(soon);

        assertEquals(List.of(soon, late), takeAll(queue));
    }

    @Test
    void waitingOutweighsAnyPriorityWithinAMinute() {
        var queue = new AdmissionQueue(10, 0);
        var patient = group(Integer.MAX_VALUE, 0);
        var urgent = group(Integer.MIN_VALUE, Duration.ofSeconds(61).toNanos());

        queue.add(patient);
        queue.add(urgent);

        assertEquals(List.of(patient, urgent), takeAll(queue));
    }

    @Test
    void steadyStreamOfUrgentRequestsStarvesNobody() {
        var queue = new AdmissionQueue(10, 0);
        var patient = group(5, 0);
        queue.add(patient);

        int overtaken = 0;
        for (int second = 0; patient.queueIndex() >= 0; second++) {
            queue.add(group(0, Duration.ofSeconds(second).toNanos()));
            queue.remove(head(queue));
            overtaken++;
        }

        assertEquals(6, overtaken);
    }

    @Test
    void removalAnywhereKeepsTheOrder() {
        var random = new Random(1);
        var queue = new AdmissionQueue(200, 0);
        var groups = new ArrayList<SequenceGroup>();
        for (int i = 0; i < 200; i++) {
            groups.add(group(random.nextInt(9) - 4, i * 100_000_000L));
            queue.add(groups.getLast());
        }

        for (int i = 0; i < 100; i++) {
            assertTrue(queue.remove(groups.remove(random.nextInt(groups.size()))));
        }

        groups.sort(Comparator.comparingLong(AdmissionQueueTest::due));
        assertEquals(groups, takeAll(queue));
    }

    @Test
    void removalOfWhatIsNotThereDoesNothing() {
        var queue = new AdmissionQueue(10, 0);
        queue.add(group(0, 0));

        assertFalse(queue.remove(group(0, 0)));

        assertEquals(1, queue.count());
    }

    private static long due(SequenceGroup group) {
        return group.arrivedNanos() + group.request().priority() * AdmissionQueue.PRIORITY_NANOS;
    }

    private static List<SequenceGroup> takeAll(AdmissionQueue queue) {
        var taken = new ArrayList<SequenceGroup>();
        while (queue.count() > 0) {
            taken.add(head(queue));
            queue.remove(taken.getLast());
        }
        assertNull(queue.peek());
        return taken;
    }

    private static SequenceGroup head(AdmissionQueue queue) {
        return Objects.requireNonNull(queue.peek());
    }

    private static SequenceGroup group(int priority, long arrivedNanos) {
        var request = Requests.with(new int[] {1}, 1, 1, priority);
        return new SequenceGroup(SequenceGroup.Work.of(request), 1, new int[0], Optional.empty(), arrivedNanos);
    }
}
