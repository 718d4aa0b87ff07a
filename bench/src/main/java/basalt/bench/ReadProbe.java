package basalt.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.LongAdder;
import jdk.incubator.vector.IntVector;

/**
 * Measures how fast all workers together read memory that lies as the weights of the CPU backend do: in arrays on the
 * heap, read in order.
 */
final class ReadProbe {
    private static final int PIECE_INTS = 1 << 20; // 4 MiB, so that any heap takes them
    private static final int REPEAT_COUNT = 5;
    private static final long REPEAT_NANOS_MIN = 100_000_000;

    private final LongAdder checksum = new LongAdder();

    /** Sum of what was read; without it the compiler could leave the reading out. */
    long checksum() {
        return checksum.sum();
    }

    /**
     * Best of five readings.
     *
     * @param bytes read by all workers together, rounded up to 4 MiB a worker
     * @return GB/s, of 10^9 bytes
     */
    double gigabytesPerSecond(long bytes, int threadCount) {
        int pieceCount = Math.toIntExact(Math.max(1, Math.ceilDiv(bytes, 4L * PIECE_INTS * threadCount)));
        int pieceInts = Math.toIntExact(Math.min(PIECE_INTS, Math.ceilDiv(bytes, 4L * threadCount)));
        try (var executor = Executors.newFixedThreadPool(threadCount)) {
            var parts = allocate(executor, threadCount, pieceCount, pieceInts);
            long passBytes = 4L * pieceInts * pieceCount * threadCount;
            int passCount = 1;
            double best = 0;
            for (int repeat = 0; repeat < REPEAT_COUNT; ) {
                long start = System.nanoTime();
                readAll(executor, parts, passCount);
                long nanos = System.nanoTime() - start;
                if (nanos < REPEAT_NANOS_MIN) {
                    passCount *= 2;
                    continue;
                }
                best = Math.max(best, (double) passBytes * passCount / nanos);
                repeat++;
            }
            return best;
        }
    }

    /** Each worker touches its own part first, so that the pages lie where it runs. */
    private static List<int[][]> allocate(ExecutorService executor, int threadCount, int pieceCount, int pieceInts) {
        var futures = new ArrayList<Future<int[][]>>();
        for (int i = 0; i < threadCount; i++) {
            futures.add(executor.submit(() -> {
                var part = new int[pieceCount][pieceInts];
                for (int piece = 0; piece < pieceCount; piece++) {
                    Arrays.fill(part[piece], piece);
                }
                return part;
            }));
        }
        return join(futures);
    }

    private void readAll(ExecutorService executor, List<int[][]> parts, int passCount) {
        var futures = new ArrayList<Future<Integer>>();
        for (var part : parts) {
            futures.add(executor.submit(() -> sum(part, passCount)));
        }
        for (int value : join(futures)) {
            checksum.add(value);
        }
    }

    private static int sum(int[][] part, int passCount) {
        int sum = 0;
        for (int pass = 0; pass < passCount; pass++) {
            for (var piece : part) {
                sum += sum(piece);
            }
        }
        return sum;
    }

    /** Four places at once: one stream of addresses leaves bandwidth unused. */
    private static int sum(int[] piece) {
        var species = IntVector.SPECIES_PREFERRED;
        int width = species.length();
        int quarter = piece.length / 4;
        var sum0 = IntVector.zero(species);
        var sum1 = sum0;
        var sum2 = sum0;
        var sum3 = sum0;
        for (int i = 0; i <= quarter - width; i += width) {
            sum0 = sum0.add(IntVector.fromArray(species, piece, i));
            sum1 = sum1.add(IntVector.fromArray(species, piece, i + quarter));
            sum2 = sum2.add(IntVector.fromArray(species, piece, i + 2 * quarter));
            sum3 = sum3.add(IntVector.fromArray(species, piece, i + 3 * quarter));
        }
        return sum0.add(sum1).add(sum2.add(sum3)).lane(0);
    }

    private static <T> List<T> join(List<Future<T>> futures) {
        var values = new ArrayList<T>();
        try {
            for (var future : futures) {
                values.add(future.get());
            }
        } catch (ExecutionException e) {
            throw new BenchException("the read probe failed", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new BenchException("interrupted", e);
        }
        return values;
    }
}
