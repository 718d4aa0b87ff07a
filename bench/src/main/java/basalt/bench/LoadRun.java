package basalt.bench;

import basalt.bench.Completion.Outcome;
import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.SplittableRandom;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.ReentrantLock;

/** Streams at a time against one server, each on a virtual thread that starts the next request when one ends. */
final class LoadRun {
    private static final int FAILURE_COUNT_MAX = 5;
    private static final Duration OPEN_STREAMS_MAX = Duration.ofMinutes(10);
    private static final long REFUSED_PAUSE_MILLIS = 50;
    private static final int WARM_UP_COUNT = 8;

    private final URI server;
    private final PromptSet prompts;
    private final int streamCount;
    private final int requestCount;
    private final int secondsMax; // 0 for no end by time
    private final double cancelShare;
    private final List<int[]> references = new ArrayList<>(); // tokens by prompt; empty if not checked
    private final LongAdder arrivedCount = new LongAdder();
    private final AtomicInteger startedCount = new AtomicInteger();

    private final ReentrantLock lock = new ReentrantLock(); // guards what follows
    private final Map<Outcome, Integer> outcomeCounts = new EnumMap<>(Outcome.class);
    private final Samples firstTokens = new Samples();
    private final Samples gaps = new Samples();
    private final List<String> failures = new ArrayList<>();
    private int differentCount;
    private double slotsBusyMean = Double.NaN;
    private double rowsPerStep = Double.NaN;

    LoadRun(URI server, PromptSet prompts, int streamCount, int requestCount, int secondsMax, double cancelShare) {
        this.server = server;
        this.prompts = prompts;
        this.streamCount = streamCount;
        this.requestCount = requestCount;
        this.secondsMax = secondsMax;
        this.cancelShare = cancelShare;
    }

    /** Runs requests alone: all, with {@code keeps}, as their tokens are what later streams must equal; else a few. */
    void warmUp(boolean keeps) {
        int count = keeps ? prompts.count() : Math.min(WARM_UP_COUNT, prompts.count());
        for (int i = 0; i < count; i++) {
            var result = new Completion(new LongAdder()).run(server, prompts.body(i), 0);
            if (result.outcome() != Outcome.COMPLETE) {
                throw new BenchException(
                        String.format(Locale.ROOT, "a request alone was %s: %s", result.outcome(), result.failure()));
            }
            if (keeps) {
                references.add(result.tokens());
            }
        }
    }

    LoadReport measure() {
        long start = System.nanoTime();
        long end = secondsMax == 0 ? Long.MAX_VALUE : start + TimeUnit.SECONDS.toNanos(secondsMax);
        long tokens;
        double seconds;
        try (var metrics = new ServerMetrics(server);
                var executor = Executors.newVirtualThreadPerTaskExecutor()) {
            for (int i = 0; i < streamCount; i++) {
                executor.execute(() -> runRequests(end));
            }
            executor.shutdown();
            boolean isOver = executor.awaitTermination(
                    secondsMax == 0 ? OPEN_STREAMS_MAX.toSeconds() : secondsMax, TimeUnit.SECONDS);
            slotsBusyMean = metrics.slotsBusyMean().orElse(Double.NaN);
            rowsPerStep = metrics.rowsPerStep().orElse(Double.NaN);
            tokens = arrivedCount.sum();
            seconds = (System.nanoTime() - start) / 1e9;
            if (!isOver && !executor.awaitTermination(OPEN_STREAMS_MAX.toSeconds(), TimeUnit.SECONDS)) {
                throw new BenchException("streams are still open " + OPEN_STREAMS_MAX + " after the end");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new BenchException("interrupted", e);
        }
        return report(tokens, seconds);
    }

    private LoadReport report(long tokens, double seconds) {
        lock.lock();
        try {
            return new LoadReport(
                    outcomeCounts.getOrDefault(Outcome.COMPLETE, 0),
                    outcomeCounts.getOrDefault(Outcome.CANCELLED, 0),
                    outcomeCounts.getOrDefault(Outcome.REFUSED, 0),
                    outcomeCounts.getOrDefault(Outcome.FAILED, 0),
                    differentCount,
                    List.copyOf(failures),
                    tokens,
                    seconds,
                    tokens / seconds,
                    LoadReport.Quantiles.of(firstTokens),
                    LoadReport.Quantiles.of(gaps),
                    slotsBusyMean,
                    rowsPerStep);
        } finally {
            lock.unlock();
        }
    }

    private void runRequests(long end) {
        for (int request = startedCount.getAndIncrement();
                request < requestCount && System.nanoTime() - end < 0;
                request = startedCount.getAndIncrement()) {
            int prompt = request % prompts.count();
            var random = new SplittableRandom(request);
            int cancelAfterTokens = random.nextDouble() < cancelShare ? 1 + random.nextInt(prompts.maxTokens()) / 2 : 0;
            var result = new Completion(arrivedCount).run(server, prompts.body(prompt), cancelAfterTokens);
            record(result, prompt);
            if (result.outcome() == Outcome.REFUSED && !pause()) {
                return;
            }
        }
    }

    private void record(Completion.Result result, int prompt) {
        var difference = difference(result, prompt);
        lock.lock();
        try {
            outcomeCounts.merge(result.outcome(), 1, Integer::sum);
            difference.ifPresent(ignored -> differentCount++);
            note(result.failure());
            note(difference.orElse(""));
            if (result.firstTokenNanos() > 0) {
                firstTokens.add(result.firstTokenNanos());
            }
            gaps.addAll(result.gaps());
        } finally {
            lock.unlock();
        }
    }

    /** Call only when holding lock. */
    private void note(String failure) {
        if (!failure.isEmpty() && failures.size() < FAILURE_COUNT_MAX) {
            failures.add(failure);
        }
    }

    /** A cancelled stream must be a prefix of the request run alone, a complete one all of it. */
    private Optional<String> difference(Completion.Result result, int prompt) {
        if (references.isEmpty() || result.tokens().length == 0) {
            return Optional.empty();
        }
        int at = Arrays.mismatch(result.tokens(), references.get(prompt));
        boolean isPrefix = at == -1 || at == result.tokens().length;
        if (at == -1 || (isPrefix && result.outcome() != Outcome.COMPLETE)) {
            return Optional.empty();
        }
        return Optional.of("prompt " + prompt + " differs from token " + at + " on");
    }

    /** Waits before the next try; false if interrupted. */
    private static boolean pause() {
        try {
            Thread.sleep(REFUSED_PAUSE_MILLIS);
            return true;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        }
    }
}
