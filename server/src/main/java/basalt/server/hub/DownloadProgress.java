package basalt.server.hub;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;

/** Tells every few seconds how far the download of a model is. Safe for use by any thread. */
final class DownloadProgress {
    private static final System.Logger LOG = System.getLogger(DownloadProgress.class.getName());
    private static final long PERIOD_NANOS = 5_000_000_000L;
    private static final double NANOS = 1e9;
    private static final double MEGA = 1e6;

    private final HubId id;
    private final long bytes;
    private final LongAdder kept = new LongAdder();
    private final LongAdder received = new LongAdder();
    private final long startNanos = System.nanoTime();
    private final AtomicLong toldNanos = new AtomicLong(startNanos);

    /** Of a download of so many bytes. */
    DownloadProgress(HubId id, long bytes) {
        this.id = id;
        this.bytes = bytes;
    }

    /** Tells the beginning. */
    void begin(Path folder) {
        LOG.log(
                System.Logger.Level.INFO,
                "event=download_start model={0} megabytes={1} to={2}",
                id,
                megabytes(bytes),
                folder);
    }

    /** Counts bytes that were there already. */
    void keep(long count) {
        kept.add(count);
    }

    /** Counts bytes that have arrived. */
    void receive(long count) {
        received.add(count);
        long now = System.nanoTime();
        long told = toldNanos.get();
        if (now - told >= PERIOD_NANOS && toldNanos.compareAndSet(told, now)) {
            tell("download", now);
        }
    }

    /** Tells that a connection was cut, and will be tried again. */
    void cut(String file, long at, IOException cause) {
        LOG.log(
                System.Logger.Level.WARNING,
                "event=download_cut model={0} file={1} byte={2} reason=\"{3}\"",
                id,
                file,
                Long.toString(at),
                HubException.reason(cause));
    }

    /** Tells the end. */
    void finish() {
        tell("downloaded", System.nanoTime());
    }

    private void tell(String event, long now) {
        LOG.log(
                System.Logger.Level.INFO,
                "event={0} model={1} megabytes={2} of={3} megabytes_per_second={4}",
                event,
                id,
                megabytes(kept.sum() + received.sum()),
                megabytes(bytes),
                megabytes(Math.round(received.sum() / ((now - startNanos) / NANOS))));
    }

    private static String megabytes(long count) {
        return String.format(Locale.ROOT, "%.1f", count / MEGA);
    }
}
