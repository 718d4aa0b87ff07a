package basalt.server;

import basalt.engine.text.Tokenizer;
import basalt.server.api.RequestTime;
import basalt.server.api.TimedTokenizer;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Supplier;

/**
 * Encodes long texts on platform threads of its own. Encoding never waits, so on the virtual thread of a request it
 * would hold a carrier to its end, and a few long texts would stop all of HTTP, health included. Texts that take
 * seconds have one thread in all. Nobody waits longer than the request's time; work that nobody waits for is not begun,
 * or interrupted.
 */
final class PooledTokenizer implements TimedTokenizer {
    /** Longer texts, in characters, are encoded elsewhere: about a millisecond's work. */
    static final int LONG = 16 * 1_024;

    /** Longer texts wait for each other. */
    static final int VERY_LONG = 1_024 * 1_024;

    private final Tokenizer delegate;
    private final ThreadPoolExecutor longTexts;
    private final ThreadPoolExecutor veryLongTexts;
    private final RequestTime time;

    PooledTokenizer(Tokenizer delegate) {
        this(
                delegate,
                threads("encode-long-", Runtime.getRuntime().availableProcessors()),
                threads("encode-very-long-", 1),
                RequestTime.withoutDeadline());
    }

    private PooledTokenizer(
            Tokenizer delegate, ThreadPoolExecutor longTexts, ThreadPoolExecutor veryLongTexts, RequestTime time) {
        this.delegate = delegate;
        this.longTexts = longTexts;
        this.veryLongTexts = veryLongTexts;
        this.time = time;
    }

    private static ThreadPoolExecutor threads(String name, int count) {
        return new ThreadPoolExecutor(
                count,
                count,
                0,
                TimeUnit.SECONDS,
                new LinkedBlockingQueue<>(), // as many as there are requests
                Thread.ofPlatform().daemon().name(name, 0).factory());
    }

    @Override
    public Tokenizer during(RequestTime request) {
        return new PooledTokenizer(delegate, longTexts, veryLongTexts, request);
    }

    @Override
    public int[] encode(String text) {
        return run(text.length(), () -> delegate.encode(text));
    }

    private <T> T run(int length, Supplier<T> work) {
        time.check();
        if (length <= LONG) {
            return work.get();
        }
        var task = new FutureTask<>(work::get);
        ThreadPoolExecutor threads = length <= VERY_LONG ? longTexts : veryLongTexts;
        threads.execute(task);
        time.onEnd(() -> task.cancel(true));
        try {
            return result(task);
        } finally {
            task.cancel(true);
            threads.remove(task); // with its text
        }
    }

    private <T> T result(FutureTask<T> task) {
        try {
            return task.get(time.leftNanos(), TimeUnit.NANOSECONDS);
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException cause) {
                throw cause;
            }
            if (e.getCause() instanceof Error cause) {
                throw cause;
            }
            throw new IllegalStateException(e);
        } catch (TimeoutException e) {
            throw new CancellationException("the request's time is over");
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new CancellationException("interrupted while a text is encoded");
        }
    }

    @Override
    public byte[] bytes(int token) {
        return delegate.bytes(token);
    }

    @Override
    public String decode(int[] tokens) {
        return run(tokens.length, () -> delegate.decode(tokens));
    }

    @Override
    public int vocabSize() {
        return delegate.vocabSize();
    }

    @Override
    public Optional<Integer> specialToken(String text) {
        return delegate.specialToken(text);
    }

    @Override
    public Optional<String> specialText(int token) {
        return delegate.specialText(token);
    }
}
