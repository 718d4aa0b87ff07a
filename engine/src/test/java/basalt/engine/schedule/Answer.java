package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.TokenEvent;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** What a test has read of a generation; reading checks the order of events. */
final class Answer {
    private final GenerationRequest request;
    private final Generation generation;
    private final List<List<TokenEvent.Sampled>> sampled = new ArrayList<>();
    private final List<Optional<TokenEvent.Finished>> finished = new ArrayList<>();
    private final List<TokenEvent.Scored> scored = new ArrayList<>();

    Answer(GenerationRequest request, Generation generation) {
        this.request = request;
        this.generation = generation;
        for (int choice = 0; choice < request.choiceCount(); choice++) {
            sampled.add(new ArrayList<>());
            finished.add(Optional.empty());
        }
    }

    GenerationRequest request() {
        return request;
    }

    Generation generation() {
        return generation;
    }

    /** Reads all that waits; returns whether there was anything. */
    boolean read() {
        return read(Integer.MAX_VALUE) > 0;
    }

    /** Reads at most so many events; returns how many there were. */
    int read(int max) {
        int count = 0;
        while (count < max) {
            var event = generation.poll();
            if (event.isEmpty()) {
                return count;
            }
            take(event.get());
            count++;
        }
        return count;
    }

    /** Waits for the next event and reads it; returns whether there was one. */
    boolean readNext() throws InterruptedException {
        var event = generation.next();
        event.ifPresent(this::take);
        return event.isPresent();
    }

    private void take(TokenEvent event) {
        assertTrue(finished.get(event.choice()).isEmpty(), "an event after the last one");
        switch (event) {
            case TokenEvent.Scored e -> {
                assertEquals(scored.size(), e.index());
                scored.add(e);
            }
            case TokenEvent.Sampled e -> {
                var before = sampled.get(e.choice());
                assertEquals(before.size(), e.index());
                assertTrue(before.isEmpty() || before.getLast().visibleBytes() <= e.visibleBytes());
                before.add(e);
            }
            case TokenEvent.Finished e -> {
                var before = sampled.get(e.choice());
                assertTrue(before.isEmpty() || before.getLast().visibleBytes() <= e.visibleBytes());
                finished.set(e.choice(), Optional.of(e));
            }
        }
    }

    int[] tokens(int choice) {
        return sampled.get(choice).stream().mapToInt(TokenEvent.Sampled::token).toArray();
    }

    List<TokenEvent.Sampled> sampled(int choice) {
        return sampled.get(choice);
    }

    List<TokenEvent.Scored> scored() {
        return scored;
    }

    TokenEvent.Finished finished(int choice) {
        return finished.get(choice).orElseThrow();
    }

    boolean isFinished(int choice) {
        return finished.get(choice).isPresent();
    }
}
