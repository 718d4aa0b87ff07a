package basalt.engine.session;

import basalt.engine.state.SavedState;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Which sessions have an image in memory, the least recently used first, and how many bytes those are; images that
 * several share count once. Safe for use by any number of threads.
 */
final class ImageMemory {
    private final ReentrantLock lock = new ReentrantLock();
    private final LinkedHashMap<Session, Optional<SavedState>> images = new LinkedHashMap<>(16, 0.75f, true);
    private final IdentityHashMap<SavedState, Integer> shares = new IdentityHashMap<>();
    private long bytes;
    private long count; // of sessions with an image

    /** Notes a session's use and its image. */
    void put(Session session, Optional<SavedState> image) {
        lock.lock();
        try {
            var before = images.getOrDefault(session, Optional.empty());
            image.ifPresent(this::share);
            images.put(session, image);
            before.ifPresent(this::unshare);
        } finally {
            lock.unlock();
        }
    }

    void remove(Session session) {
        lock.lock();
        try {
            images.getOrDefault(session, Optional.empty()).ifPresent(this::unshare);
            images.remove(session);
        } finally {
            lock.unlock();
        }
    }

    private void share(SavedState image) {
        count++;
        if (shares.merge(image, 1, Integer::sum) == 1) {
            bytes += image.bytes();
        }
    }

    private void unshare(SavedState image) {
        count--;
        if (shares.merge(image, -1, Integer::sum) == 0) {
            shares.remove(image);
            bytes -= image.bytes();
        }
    }

    /** Sessions with an image. */
    long count() {
        lock.lock();
        try {
            return count;
        } finally {
            lock.unlock();
        }
    }

    long bytes() {
        lock.lock();
        try {
            return bytes;
        } finally {
            lock.unlock();
        }
    }

    /** Sessions with an image in memory, the least recently used first. */
    List<Session> eldest() {
        lock.lock();
        try {
            return new ArrayList<>(images.keySet());
        } finally {
            lock.unlock();
        }
    }
}
