package basalt.server;

import basalt.engine.text.Tokenizer;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Supplier;

/**
 * Encodes long texts on platform threads of its own. Encoding never waits, so on the virtual thread of a request it
 * would hold a carrier to its end, and a few long texts would stop all of HTTP, health included. Texts that take
 * seconds, and 180 bytes of heap a character if they are one long word, have one thread in all.
 */
final class PooledTokenizer implements Tokenizer {
    /** Longer texts, in characters, are encoded elsewhere: about a millisecond's work. */
    static final int LONG = 16 * 1_024;

    /** Longer texts wait for each other. */
    static final int VERY_LONG = 1_024 * 1_024;

    private final Tokenizer delegate;
    private final ExecutorService longTexts;
    private final ExecutorService veryLongTexts;

    PooledTokenizer(Tokenizer delegate) {
        this.delegate = delegate;
        longTexts = threads("encode-long-", Runtime.getRuntime().availableProcessors());
        veryLongTexts = threads("encode-very-long-", 1);
    }

    private static ExecutorService threads(String name, int count) {
        return Executors.newFixedThreadPool(
                count, Thread.ofPlatform().daemon().name(name, 0).factory());
    }

    @Override
    public int[] encode(String text) {
        return run(text.length(), () -> delegate.encode(text));
    }

    private <T> T run(int length, Supplier<T> work) {
        if (length <= LONG) {
            return work.get();
        }
        try {
            return CompletableFuture.supplyAsync(work, length <= VERY_LONG ? longTexts : veryLongTexts)
                    .join();
        } catch (CompletionException e) {
            if (e.getCause() instanceof RuntimeException cause) {
                throw cause;
            }
            if (e.getCause() instanceof Error cause) {
                throw cause;
            }
            throw e;
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
