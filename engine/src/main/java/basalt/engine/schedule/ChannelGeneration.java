package basalt.engine.schedule;

import basalt.engine.FinishReason;
import basalt.engine.Generation;
import basalt.engine.TokenEvent;
import basalt.engine.Usage;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.LockSupport;

/** The reader's side of a request. Read by one thread; any may close it. */
final class ChannelGeneration implements Generation {
    private final SequenceGroup group;
    private final Front front;
    private final boolean[] isRead; // [choiceCount]: the last event has been read
    private final AtomicBoolean isCancelled = new AtomicBoolean();
    private int nextChoice;
    private int unreadCount; // choices whose last event has not been read
    private volatile boolean isFinished;

    ChannelGeneration(SequenceGroup group, Front front) {
        this.group = group;
        this.front = front;
        unreadCount = group.choiceCount();
        isRead = new boolean[unreadCount];
    }

    @Override
    public Optional<TokenEvent> next() throws InterruptedException {
        while (true) {
            var event = poll();
            if (event.isPresent() || isFinished) {
                return event;
            }
            await();
        }
    }

    private void await() throws InterruptedException {
        group.waiter(Thread.currentThread());
        // The engine thread writes first and looks for a waiter then, so one of the two sees the other.
        if (!hasUnread()) {
            LockSupport.park(this);
        }
        group.waiter(null);
        if (Thread.interrupted()) {
            throw new InterruptedException("waiting for a token");
        }
    }

    private boolean hasUnread() {
        for (int choice = 0; choice < isRead.length; choice++) {
            var channel = group.sequence(choice).channel();
            if (!isRead[choice] && (channel.hasUnread() || channel.finishReason() != null)) {
                return true;
            }
        }
        return false;
    }

    @Override
    public Optional<TokenEvent> poll() {
        for (int turn = 0; turn < isRead.length; turn++) {
            int choice = nextChoice;
            nextChoice = choice + 1 < isRead.length ? choice + 1 : 0;
            if (!isRead[choice]) {
                var event = poll(choice);
                if (event.isPresent()) {
                    return event;
                }
            }
        }
        return Optional.empty();
    }

    private Optional<TokenEvent> poll(int choice) {
        var channel = group.sequence(choice).channel();
        var reason = channel.finishReason(); // before the tokens, all of which are there once it is
        var event = channel.read();
        if (event.isPresent()) {
            group.loop().wake(); // the choice may have been paused for want of room
            return event;
        }
        if (reason == null) {
            return Optional.empty();
        }
        isRead[choice] = true;
        unreadCount--;
        isFinished = unreadCount == 0;
        var failure = group.failure();
        if (reason == FinishReason.ERROR && failure != null) {
            unreadCount = 0;
            isFinished = true;
            throw failure;
        }
        return Optional.of(channel.finished());
    }

    @Override
    public boolean isFinished() {
        return isFinished;
    }

    @Override
    public Usage usage() {
        return group.usage();
    }

    @Override
    public Timing timing() {
        return group.timing();
    }

    @Override
    public void close() {
        if (!isFinished && isCancelled.compareAndSet(false, true)) {
            front.cancel(group);
        }
    }
}
