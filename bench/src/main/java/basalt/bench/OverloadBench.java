package basalt.bench;

import basalt.bench.Completion.Outcome;
import java.io.PrintStream;
import java.net.URI;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;

/**
 * {@code basalt bench overload URL}: requests that come many times faster than the server can answer them, whatever
 * becomes of those before. First full slots without a queue tell what the server can do.
 */
final class OverloadBench {
    static final String USAGE = """
            basalt bench overload URL: many times the capacity of a running server, and what it does with it

              --factor N             times the capacity (10)
              --seconds N            so long (60)
              --baseline-seconds N   full slots without a queue before that (15)
              --prompt-tokens N      length of each prompt (20)
              --max-tokens N         length of each answer (50)
              --vocab N              prompts draw their ids from [0, N) (1000)

            Fails unless accepted requests keep their inter-token p99 within 2 times that of full slots, throughput is
            at least 90 % of theirs, refusals take less than 50 ms, and Retry-After is right within a factor of two
            where the true wait is 2 s or more. Meant for a server with --backend fake, whose speed is fixed.
            """;

    private static final Set<String> FLAGS =
            Set.of("factor", "seconds", "baseline-seconds", "prompt-tokens", "max-tokens", "vocab");
    private static final double GAP_RATIO_MAX = 2;
    private static final double THROUGHPUT_SHARE_MIN = 0.9;
    private static final double REFUSAL_MILLIS_MAX = 50;
    private static final double JUDGED_WAIT_SECONDS = 2;
    private static final double RETRY_FACTOR_MAX = 2;
    /** Of the refusals whose wait is judged; what the first seconds tell is a guess. */
    private static final double RETRY_SHARE_MIN = 0.95;

    private final URI server;
    private final int factor;
    private final int seconds;
    private final int baselineSeconds;
    private final PromptSet prompts;
    private final PrintStream out;
    private final LongAdder arrivedCount = new LongAdder();
    private final ReentrantLock lock = new ReentrantLock(); // guards what follows
    private final List<Ended> ended = new ArrayList<>();

    /** A request that has ended, and when it was sent. */
    private record Ended(long sentNanos, Completion.Result result) {}

    OverloadBench(String[] arguments, PrintStream out) {
        var flags = Flags.parse(arguments, FLAGS);
        server = ServeBench.server(flags);
        factor = flags.number("factor", 10, 1);
        seconds = flags.number("seconds", 60, 1);
        baselineSeconds = flags.number("baseline-seconds", 15, 1);
        prompts = new PromptSet(
                ServeBench.modelName(server),
                8,
                flags.number("prompt-tokens", 20, 1),
                flags.number("max-tokens", 50, 1),
                flags.number("vocab", 1_000, 1),
                PromptSet.Sampling.GREEDY);
        this.out = out;
    }

    /** Runs; false if the server missed a bound. */
    boolean run() {
        int slotCount = (int) ServerMetrics.value(server, "basalt_slots");
        var full = new LoadRun(server, prompts, slotCount, Integer.MAX_VALUE, baselineSeconds, 0);
        full.warmUp(false);
        LoadReport baseline = full.measure();
        double requestsPerSecond = baseline.tokensPerSecond() / prompts.maxTokens();
        out.printf(
                Locale.ROOT,
                "full slots, no queue: %d slots, %.1f requests/s, %.0f tokens/s, inter-token p99 %.1f ms%n",
                slotCount,
                requestsPerSecond,
                baseline.tokensPerSecond(),
                baseline.gapMillis().p99());
        double tokensPerSecond = flood(factor * requestsPerSecond);
        return judge(baseline, tokensPerSecond);
    }

    /** Sends at a fixed rate, whatever comes back; returns the tokens of a second that came while it did. */
    private double flood(double requestsPerSecond) {
        double nanosPerRequest = 1e9 / requestsPerSecond;
        long requestCount = Math.round(seconds * requestsPerSecond);
        double tokensPerSecond;
        try (var executor = Executors.newVirtualThreadPerTaskExecutor()) {
            long began = System.nanoTime();
            for (long i = 0; i < requestCount; i++) {
                long due = began + (long) (i * nanosPerRequest);
                for (long left = due - System.nanoTime(); left > 0; left = due - System.nanoTime()) {
                    LockSupport.parkNanos(left);
                }
                int prompt = (int) (i % prompts.count());
                executor.execute(() -> send(prompt));
            }
            tokensPerSecond = arrivedCount.sum() / ((System.nanoTime() - began) / 1e9);
            executor.shutdown();
            if (!executor.awaitTermination(10, TimeUnit.MINUTES)) {
                throw new BenchException("streams are still open long after the end");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new BenchException("interrupted", e);
        }
        return tokensPerSecond;
    }

    private void send(int prompt) {
        long sent = System.nanoTime();
        var result = new Completion(arrivedCount).run(server, prompts.body(prompt), 0);
        lock.lock();
        try {
            ended.add(new Ended(sent, result));
        } finally {
            lock.unlock();
        }
    }

    private boolean judge(LoadReport baseline, double tokensPerSecond) {
        var gaps = new Samples();
        var refusals = new Samples();
        var failures = new ArrayList<String>();
        int completeCount = 0;
        for (var one : ended) {
            switch (one.result().outcome()) {
                case COMPLETE -> {
                    completeCount++;
                    gaps.addAll(one.result().gaps());
                }
                case REFUSED -> refusals.add(one.result().refusedNanos());
                case CANCELLED, FAILED -> failures.add(one.result().failure());
            }
        }
        double gapRatio = gaps.millisAt(0.99) / baseline.gapMillis().p99();
        double share = tokensPerSecond / baseline.tokensPerSecond();
        out.printf(
                Locale.ROOT,
                "%d times as much for %d s: %d complete, %d refused, %d failed%n",
                factor,
                seconds,
                completeCount,
                refusals.count(),
                failures.size());
        failures.stream().distinct().limit(5).forEach(failure -> out.println("  failed: " + failure));
        boolean isGood = check("inter-token p99 by that of full slots", gapRatio, gapRatio <= GAP_RATIO_MAX);
        isGood &= check("throughput by that of full slots", share, share >= THROUGHPUT_SHARE_MIN);
        out.printf(Locale.ROOT, "refusals, ms: p50 %.1f  p99 %.1f%n", refusals.millisAt(0.5), refusals.millisAt(0.99));
        double slowest = refusals.millisAt(1);
        isGood &= check("slowest refusal, ms", slowest, slowest < REFUSAL_MILLIS_MAX);
        isGood &= judgeRetryAfter();
        return isGood && failures.isEmpty();
    }

    /**
     * The true wait of a refused request is taken to be that of the accepted one that was sent next: the queue is full
     * at both moments.
     */
    private boolean judgeRetryAfter() {
        var waits = new TreeMap<Long, Double>(); // seconds to the first token, by the moment of sending
        for (var one : ended) {
            if (one.result().outcome() == Outcome.COMPLETE) {
                waits.put(one.sentNanos(), one.result().firstTokenNanos() / 1e9);
            }
        }
        var ratios = new ArrayList<Double>();
        for (var one : ended) {
            Map.Entry<Long, Double> next = waits.ceilingEntry(one.sentNanos());
            if (one.result().outcome() == Outcome.REFUSED && next != null && next.getValue() >= JUDGED_WAIT_SECONDS) {
                ratios.add(one.result().retryAfterSeconds() / next.getValue());
            }
        }
        if (ratios.isEmpty()) {
            out.println("Retry-After: no refusal whose true wait is 2 s or more");
            return true;
        }
        ratios.sort(Comparator.naturalOrder());
        long rightCount = ratios.stream()
                .filter(ratio -> ratio >= 1 / RETRY_FACTOR_MAX && ratio <= RETRY_FACTOR_MAX)
                .count();
        out.printf(
                Locale.ROOT,
                "Retry-After by the true wait: median %.2f, from %.2f to %.2f, of %d refusals%n",
                ratios.get(ratios.size() / 2),
                ratios.getFirst(),
                ratios.getLast(),
                ratios.size());
        double share = rightCount / (double) ratios.size();
        return check("share of them right within a factor of two", share, share >= RETRY_SHARE_MIN);
    }

    private boolean check(String what, double value, boolean isGood) {
        out.printf(Locale.ROOT, "%s %s: %.3f%n", isGood ? "ok  " : "FAIL", what, value);
        return isGood;
    }
}
