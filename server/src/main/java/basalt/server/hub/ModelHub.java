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
     * a branch or tag is asked for, and taken as it was last time if the hub cannot be reached.
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
            if (known.isEmpty()) {
                throw new HubException(
                        "the hub " + settings.endpoint() + " cannot be reached for model " + id + ": " + reason(e)
                                + "; look at the network and HF_ENDPOINT, or give the directory of a checkpoint",
                        e);
            }
            LOG.log(
                    System.Logger.Level.WARNING,
                    "event=hub_unreachable model={0} commit={1} reason=\"{2}\"",
                    id,
                    known.get(),
                    reason(e));
            return cache.snapshot(known.get());
        }
        return download(id, listing, cache);
    }

    private HubListing list(HubId id) throws IOException, InterruptedException {
        for (int i = 1; ; i++) {
            try {
                return client.list(id);
            } catch (IOException e) {
                if (i == LIST_TRIES) {
                    throw e;
                }
                Thread.sleep(pause.multipliedBy(i));
            }
        }
    }

    private Path download(HubId id, HubListing listing, HubCache cache) throws InterruptedException {
        String commit = listing.commit();
        List<HubFile> needed = listing.needed(id);
        try (var _ = cache.lock()) {
            var missing = new ArrayList<HubFile>();
            for (HubFile file : needed) {
                if (Files.notExists(cache.blob(file.hash()))) {
                    missing.add(file);
                }
            }
            requireSpace(id, missing);
            var progress = new DownloadProgress(
                    id, missing.stream().mapToLong(HubFile::bytes).sum());
            for (HubFile file : missing) {
                new FileDownload(client, id.at(commit), file, pause, progress).run(cache.blob(file.hash()));
            }
            if (!missing.isEmpty()) {
                progress.finish();
            }
            for (HubFile file : needed) {
                cache.link(commit, file);
            }
            cache.remember(commit);
        } catch (IOException e) {
            throw new HubException(
                    "model " + id + " could not be downloaded to " + settings.cache() + ": " + reason(e)
                            + "; what has arrived is kept, start again to go on",
                    e);
        }
        return cache.snapshot(commit);
    }

    private void requireSpace(HubId id, List<HubFile> missing) throws IOException {
        long bytes = missing.stream().mapToLong(HubFile::bytes).sum();
        long free = Files.getFileStore(settings.cache()).getUsableSpace();
        if (bytes > free - SPARE_BYTES) {
            throw new HubException("model " + id + " needs " + bytes + " bytes, and " + settings.cache() + " has "
                    + free + " free: make room, or set hub-cache or HF_HOME to another disk");
        }
    }

    private static String reason(IOException e) {
        return e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
    }
}
