package basalt.engine.schedule;

import basalt.engine.EngineException;
import basalt.engine.TokenEvent;
import basalt.engine.Turn;
import basalt.engine.Usage;
import basalt.engine.state.SessionState;
import basalt.engine.text.ByteSpelling;
import java.util.Arrays;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/** The reader's side of a session's turn. */
final class ChannelTurn implements Turn {
    private final ChannelGeneration generation;
    private final SequenceGroup group;
    private final TurnRecord turn;
    private final SessionState start;
    private final @Nullable ByteSpelling spelling; // null without a tokenizer, and then no text is cut
    private final Front front;
    private final ReentrantLock forkLock = new ReentrantLock(); // one fork at a time, so that commands are bounded

    /** @param start whose pending tokens are the request's prompt */
    ChannelTurn(
            SequenceGroup group, TurnRecord turn, SessionState start, Optional<ByteSpelling> spelling, Front front) {
        generation = new ChannelGeneration(group, front);
        this.group = group;
        this.turn = turn;
        this.start = start;
        this.spelling = spelling.orElse(null);
        this.front = front;
    }

    @Override
    public Optional<Copy> outcome() throws InterruptedException {
        return get(turn.outcome()).map(this::copy);
    }

    @Override
    public Optional<Copy> fork() throws InterruptedException {
        forkLock.lockInterruptibly();
        try {
            if (group.isFinished()) {
                return Optional.empty();
            }
            var copy = new CompletableFuture<Optional<TurnRecord.Copy>>();
            front.fork(group, copy);
            return get(copy).map(this::copy);
        } finally {
            forkLock.unlock();
        }
    }

    private static <T> T get(CompletableFuture<T> future) throws InterruptedException {
        try {
            return future.get();
        } catch (ExecutionException e) {
            if (e.getCause() instanceof EngineException cause) {
                throw cause;
            }
            throw new IllegalStateException(e);
        }
    }

    private Copy copy(TurnRecord.Copy copy) {
        int[] tokens = copy.sampled();
        if (spelling != null && copy.rest().length > 0) {
            int[] rest = spelling.encode(copy.rest());
            tokens = Arrays.copyOf(tokens, tokens.length + rest.length);
            System.arraycopy(rest, 0, tokens, tokens.length - rest.length, rest.length);
        }
        var state = start.append(tokens);
        return new Copy(copy.saved().isPresent() ? state.advance(copy.saved().get()) : state, tokens);
    }

    @Override
    public Optional<TokenEvent> next() throws InterruptedException {
        return generation.next();
    }

    @Override
    public Optional<TokenEvent> poll() {
        return generation.poll();
    }

    @Override
    public boolean isFinished() {
        return generation.isFinished();
    }

    @Override
    public Usage usage() {
        return generation.usage();
    }

    @Override
    public Timing timing() {
        return generation.timing();
    }

    @Override
    public void close() {
        generation.close();
    }
}
