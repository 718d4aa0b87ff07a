package basalt.server.hub;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Models of a hub as local directories. */
public final class ModelHub {
    private static final System.Logger LOG = System.getLogger(ModelHub.class.getName());
    private static final Duration TIMEOUT = Duration.ofSeconds(20);
    private static final Duration PAUSE = Duration.ofMillis(500);
    private static final int LIST_TRIES = 4;
    /** Left free on the disk, so that others that write there go on. */
    private static final long SPARE_BYTES = 64L << 20;

    private final HubSettings settings;
    private final HubClient client;
    private final Duration pause;

    /** Of one hub. */
    public ModelHub(HubSettings settings) {
        this(settings, TIMEOUT, PAUSE);
    }

    /**
     * For tests.
     *
     * @param pause before a second try
     */
    ModelHub(HubSettings settings, Duration timeout, Duration pause) {
        this.settings = settings;
        this.pause = pause;
        client = new HubClient(settings, timeout);
    }

    /**
     * The directory of a model, which is downloaded unless it is there. A commit that is there asks the hub nothing;
     * a branch or tag is asked for, and taken as it was last time if that or a download fails.
     *
     * @throws HubException if it cannot be had
     */
    public Path fetch(HubId id) throws InterruptedException {
        var cache = new HubCache(settings.cache(), id);
        Optional<String> known = cache.commit().filter(cache::isComplete);
        if (known.isPresent() && (settings.isOffline() || HubId.isCommit(id.revision()))) {
            return cache.snapshot(known.get());
        }
        if (settings.isOffline()) {
            throw new HubException("model " + id + " is not in " + settings.cache()
                    + ", and nothing is downloaded offline: unset HF_HUB_OFFLINE and hub-offline once");
        }
        HubListing listing;
        try {
            listing = list(id);
        } catch (IOException e) {
            String message = "the hub " + settings.endpoint() + " cannot be reached for model " + id + ": "
                    + HubException.reason(e)
                    + "; look at the network and HF_ENDPOINT, or give the directory of a checkpoint";
            return lastTime(id, cache, known, new HubException(message, e));
        }
        try {
            download(id, listing, cache);
        } catch (IOException e) {
            String message = "model " + id + " could not be downloaded to " + settings.cache() + ": "
                    + HubException.reason(e)
                    + "; what has arrived is kept: start again to go on, or set hub-cache or HF_HOME to another folder";
            return lastTime(id, cache, known, new HubException(message, e));
        }
        return cache.snapshot(listing.commit());
    }

    private static Path lastTime(HubId id, HubCache cache, Optional<String> known, HubException failure) {
        String commit = known.orElseThrow(() -> failure);
        LOG.log(
                System.Logger.Level.WARNING,
                "event=hub_unreachable model={0} commit={1} reason=\"{2}\"",
                id,
                commit,
                failure.getMessage());
        return cache.snapshot(commit);
    }

    private HubListing list(HubId id) throws IOException, InterruptedException {
        for (int i = 1; ; i++) {
            try {
                return client.list(id);
            } catch (IOException e) {
                if (i == LIST_TRIES || e instanceof ProxyRefusal) {
                    throw e;
                }
                LOG.log(
                        System.Logger.Level.WARNING,
                        "event=hub_retry model={0} hub={1} reason=\"{2}\"",
                        id,
                        settings.endpoint(),
                        HubException.reason(e));
                Thread.sleep(pause.multipliedBy(i));
            }
        }
    }

    private void download(HubId id, HubListing listing, HubCache cache) throws IOException, InterruptedException {
        String commit = listing.commit();
        List<HubFile> needed = listing.needed(id);
        if (!cache.holds(commit, needed)) { // else the cache may be read-only
            try (var _ = cache.lock()) {
                downloadMissing(id, commit, needed, cache);
                for (HubFile file : needed) {
                    cache.link(commit, file);
                }
            }
        }
        cache.remember(commit);
    }

    private void downloadMissing(HubId id, String commit, List<HubFile> needed, HubCache cache)
            throws IOException, InterruptedException {
        var missing = new ArrayList<HubFile>();
        for (HubFile file : needed) {
            if (!file.fits(cache.blob(file.hash()))) {
                missing.add(file);
            }
        }
        if (missing.isEmpty()) {
            return;
        }
        requireSpace(id, missing, cache);
        var progress = new DownloadProgress(
                id, missing.stream().mapToLong(HubFile::bytes).sum());
        progress.begin(settings.cache());
        for (HubFile file : missing) {
            new FileDownload(client, id.at(commit), file, pause, progress).run(cache.blob(file.hash()));
        }
        progress.finish();
    }

    private void requireSpace(HubId id, List<HubFile> missing, HubCache cache) throws IOException {
        long bytes = 0;
        for (HubFile file : missing) {
            bytes += Math.max(0, file.bytes() - FileDownload.arrivedBytes(cache.blob(file.hash())));
        }
        long free = Files.getFileStore(settings.cache()).getUsableSpace();
        if (bytes > free - SPARE_BYTES) {
            throw new HubException("model " + id + " needs " + bytes + " bytes, and " + settings.cache() + " has "
                    + free + " free: make room, or set hub-cache or HF_HOME to another disk");
        }
    }
}
