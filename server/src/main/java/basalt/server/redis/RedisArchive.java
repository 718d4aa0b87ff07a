package basalt.server.redis;

import basalt.engine.EngineException;
import basalt.engine.session.JournalVersion;
import basalt.engine.session.SharedArchive;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.LongAdder;
import redis.clients.jedis.params.SetParams;

/**
 * Sessions in Redis. Of each session, with {@code KEY = basalt:1:MODEL:TENANT:ID}:
 *
 * <pre>
 * KEY:head     hash: version (number of writes), writer (name of the last one), life (milliseconds, 0 for ever)
 * KEY:journal  string: entries one after the other
 * KEY:images   hash: an image by its token count
 * KEY:draft:NAME   string: an image that is being added, for two minutes at most
 * basalt:1:MODEL:TENANT:sessions   sorted set: ids by the time they were created
 * basalt:1:MODEL:server:NAME       there while a server is
 * </pre>
 *
 * <p>MODEL is the beginning of the SHA-256 of the model's fingerprint. The keys of a session live for its life after
 * its last use. Images that cannot be read are dropped, journals renamed to {@code KEY:journal:aside}. Images are not
 * compressed: deflating saves a seventh and costs more time than the network (docs/BENCHMARKS.md).
 */
public final class RedisArchive implements SharedArchive {
    private static final System.Logger LOG = System.getLogger(RedisArchive.class.getName());
    private static final int MODEL_DIGITS = 16;
    private static final int WRITER_BYTES = 8;
    private static final long GONE = 0;
    /** A draft is kept at once, but for a lock whose holder may wait for Redis. */
    private static final long DRAFT_LIFE_MILLIS = 120_000;

    /** How long a server is taken to be there that says so no more. */
    static final Duration PRESENCE = Duration.ofSeconds(15);

    private final RedisLink link;
    private final String prefix;
    private final long lifeMillis;
    private final SecureRandom random = new SecureRandom();
    private final String name = writerName();
    private final LongAdder conflicts = new LongAdder();
    private final ConcurrentHashMap<String, Known> known = new ConcurrentHashMap<>();

    /** What is known of a session that was looked at or made here; the bytes of its images by token counts. */
    private record Known(
            String owner, long lifeMillis, JournalVersion version, ConcurrentSkipListMap<Long, Long> images) {
        Known with(JournalVersion now) {
            return new Known(owner, lifeMillis, now, images);
        }
    }

    private RedisArchive(RedisConfig config, String fingerprint) {
        prefix = "basalt:1:" + model(fingerprint) + ":";
        lifeMillis = config.life().toMillis();
        byte[] presence = presence(name);
        var life = SetParams.setParams().px(PRESENCE.toMillis());
        link = new RedisLink(config, redis -> redis.set(presence, new byte[0], life));
    }

    /**
     * Opens the sessions of a model. A Redis that cannot be reached may come later.
     *
     * @param fingerprint of the model
     * @throws EngineException.ArchiveFailure if Redis refuses
     */
    public static RedisArchive open(RedisConfig config, String fingerprint) {
        var archive = new RedisArchive(config, fingerprint);
        archive.link.start();
        return archive;
    }

    private static String model(String fingerprint) {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(fingerprint.getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(digest).substring(0, MODEL_DIGITS);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }

    private Known known(String id) {
        var session = known.get(id);
        if (session == null) {
            throw new EngineException.SessionNotFound("There is no session " + id + ".");
        }
        return session;
    }

    private String tenantPrefix(String owner) {
        return prefix + owner + ":";
    }

    private byte[] key(String owner, String id, String part) {
        return bytes(tenantPrefix(owner) + id + ":" + part);
    }

    private byte[] key(String id, String part) {
        return key(known(id).owner(), id, part);
    }

    private List<byte[]> keys(String owner, String id) {
        return List.of(
                key(owner, id, "head"),
                key(owner, id, "journal"),
                key(owner, id, "images"),
                bytes(tenantPrefix(owner) + "sessions"));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static byte[] bytes(long number) {
        return bytes(Long.toString(number));
    }

    @Override
    public boolean isDurable() {
        return true;
    }

    @Override
    public Optional<JournalVersion> version(String owner, String id) {
        var keys = keys(owner, id).subList(0, 3);
        var answer = (List<?>) link.call("look at a session", redis -> redis.eval(Scripts.LOOK, keys, List.of()));
        if (answer.isEmpty()) {
            known.computeIfPresent(id, (same, session) -> session.owner().equals(owner) ? null : session);
            return Optional.empty();
        }
        var writer = new String((byte[]) answer.get(1), StandardCharsets.UTF_8);
        var version = new JournalVersion((Long) answer.get(0), writer);
        var images = new ConcurrentSkipListMap<Long, Long>();
        for (int i = 3; i < answer.size(); i += 2) {
            images.put((Long) answer.get(i), (Long) answer.get(i + 1));
        }
        known.put(id, new Known(owner, (Long) answer.get(2), version, images));
        return Optional.of(version);
    }

    @Override
    public List<String> ids() {
        return List.of();
    }

    @Override
    public List<String> ids(String owner) {
        String tenant = tenantPrefix(owner);
        var answer = (List<?>) link.call(
                "list sessions",
                redis -> redis.eval(Scripts.LIST, List.of(bytes(tenant + "sessions")), List.of(bytes(tenant))));
        return answer.stream()
                .map(id -> new String((byte[]) id, StandardCharsets.UTF_8))
                .toList();
    }

    @Override
    public JournalVersion create(Label label, JournalVersion version, byte[] journal) {
        boolean isKnown = known.containsKey(label.id());
        try {
            var next = write(label.id(), version, journal, beginning(label));
            isKnown = true;
            return next;
        } finally {
            if (!isKnown) {
                known.remove(label.id()); // nobody will ask for it
            }
        }
    }

    @Override
    public JournalVersion replace(Label label, JournalVersion version, byte[] journal, long tokenCount, byte[] image) {
        var beginning = new ArrayList<>(beginning(label));
        beginning.add(bytes(tokenCount));
        beginning.add(image);
        var next = write(label.id(), version, journal, beginning);
        var images = known(label.id()).images();
        images.clear();
        images.put(tokenCount, (long) image.length);
        return next;
    }

    /** What a journal begins with or is replaced with, and that the session is known from now on. */
    private List<byte[]> beginning(Label label) {
        long life = label.lifeMillis() > 0 ? label.lifeMillis() : lifeMillis;
        known.compute(
                label.id(),
                (id, before) -> before == null
                        ? new Known(label.owner(), life, JournalVersion.NONE, new ConcurrentSkipListMap<>())
                        : new Known(label.owner(), life, before.version(), before.images()));
        return List.of(bytes(label.id()), bytes(System.currentTimeMillis()), bytes(tenantPrefix(label.owner())));
    }

    @Override
    public JournalVersion append(String id, JournalVersion version, byte[] entry) {
        return write(id, version, entry, List.of());
    }

    private JournalVersion write(String id, JournalVersion version, byte[] content, List<byte[]> beginning) {
        var session = known(id);
        var next = version.next(writerName());
        var arguments = new ArrayList<byte[]>();
        arguments.addAll(arguments(version));
        arguments.add(bytes(next.writer()));
        arguments.add(bytes(session.lifeMillis()));
        arguments.add(content);
        arguments.addAll(beginning);
        var keys = keys(session.owner(), id);
        long written = (Long) link.call("write a session", redis -> redis.eval(Scripts.WRITE, keys, arguments));
        if (written == GONE) {
            throw new EngineException.SessionNotFound("Session " + id + " was deleted meanwhile.");
        }
        if (written < 0) {
            conflicts.increment();
            throw new EngineException.SessionConflict(
                    "Another server has changed session " + id + " meanwhile; send the turn again.");
        }
        known.computeIfPresent(id, (same, now) -> now.with(next));
        return next;
    }

    private String writerName() {
        var name = new byte[WRITER_BYTES];
        random.nextBytes(name);
        return HexFormat.of().formatHex(name);
    }

    /** What every script compares. */
    private static List<byte[]> arguments(JournalVersion version) {
        return List.of(bytes(version.number()), bytes(version.writer()));
    }

    /** The same, of the journal as it was last seen or written here, and what else there is to tell. */
    private static List<byte[]> arguments(Known session, byte[]... others) {
        var arguments = new ArrayList<>(arguments(session.version()));
        arguments.addAll(List.of(others));
        return arguments;
    }

    @Override
    public Optional<byte[]> journal(String id) {
        byte[] key = key(id, "journal");
        return link.call("read a session", redis -> Optional.ofNullable(redis.get(key)));
    }

    @Override
    public void truncate(String id, long bytes) {
        var keys = List.of(key(id, "head"), key(id, "journal"));
        LOG.log(System.Logger.Level.WARNING, "event=journal_cut session={0} bytes={1}", id, Long.toString(bytes));
        var arguments = arguments(known(id), bytes(bytes));
        link.call("cut a session", redis -> redis.eval(Scripts.TRUNCATE, keys, arguments));
    }

    @Override
    public List<Long> images(String id) {
        var session = known.get(id);
        return session == null ? List.of() : List.copyOf(session.images().keySet());
    }

    @Override
    public void putImage(String id, long tokenCount, byte[] image) {
        var session = known(id);
        var keys = List.of(key(id, "head"), key(id, "images"));
        var arguments = arguments(session, bytes(tokenCount), image, bytes(session.lifeMillis()));
        long isDone = (Long) link.call("write a state", redis -> redis.eval(Scripts.PUT_IMAGE, keys, arguments));
        if (isDone > 0) {
            session.images().put(tokenCount, (long) image.length);
        }
    }

    /** Sent under a name of its own, which ends by itself should nobody come back to it. */
    @Override
    public ImageDraft draftImage(String id, long tokenCount, byte[] image) {
        byte[] draft = key(id, "draft:" + writerName());
        var brief = SetParams.setParams().px(DRAFT_LIFE_MILLIS);
        link.call("write a state", redis -> redis.set(draft, image, brief));
        return new ImageDraft() {
            @Override
            public void keep() {
                keepImage(id, tokenCount, draft, image.length);
            }

            @Override
            public void drop() {
                link.call("drop a state", redis -> redis.unlink(draft));
            }
        };
    }

    private void keepImage(String id, long tokenCount, byte[] draft, long bytes) {
        var session = known(id);
        var keys = List.of(key(id, "head"), key(id, "images"), draft);
        var arguments = arguments(session, bytes(tokenCount), bytes(session.lifeMillis()));
        long isDone = (Long) link.call("keep a state", redis -> redis.eval(Scripts.KEEP_IMAGE, keys, arguments));
        if (isDone < 0) {
            throw new EngineException.ArchiveUnavailable("keep a state: it was sent to Redis too long ago");
        }
        if (isDone > 0) {
            session.images().put(tokenCount, bytes);
        } else {
            link.call("drop a state", redis -> redis.unlink(draft)); // another process has written
        }
    }

    @Override
    public Optional<byte[]> image(String id, long tokenCount) {
        byte[] key = key(id, "images");
        return link.call("read a state", redis -> Optional.ofNullable(redis.hget(key, bytes(tokenCount))));
    }

    @Override
    public void copyImage(String fromId, String toId, long tokenCount) {
        var from = known(fromId);
        var to = known.computeIfAbsent(
                toId,
                absent ->
                        new Known(from.owner(), from.lifeMillis(), JournalVersion.NONE, new ConcurrentSkipListMap<>()));
        var keys = List.of(key(fromId, "images"), key(toId, "images"));
        var arguments = List.of(bytes(tokenCount), bytes(from.lifeMillis()));
        long size = (Long) link.call("copy a state", redis -> redis.eval(Scripts.COPY_IMAGE, keys, arguments));
        if (size > 0) {
            to.images().put(tokenCount, size);
        }
    }

    @Override
    public long imageBytes(String id) {
        var session = known.get(id);
        return session == null
                ? 0
                : session.images().values().stream().mapToLong(Long::longValue).sum();
    }

    @Override
    public long imageBytes(String id, long tokenCount) {
        var session = known.get(id);
        return session == null ? 0 : session.images().getOrDefault(tokenCount, 0L);
    }

    @Override
    public void deleteImage(String id, long tokenCount) {
        var session = known.get(id);
        if (session != null) {
            var keys = List.of(key(id, "head"), key(id, "images"));
            var arguments = arguments(session, bytes(tokenCount));
            link.call("drop a state", redis -> redis.eval(Scripts.DELETE_IMAGE, keys, arguments));
            session.images().remove(tokenCount);
        }
    }

    @Override
    public void delete(String id) {
        var session = known.get(id);
        if (session != null) {
            var keys = keys(session.owner(), id);
            try {
                link.call("drop a session", redis -> redis.eval(Scripts.DELETE, keys, List.of(bytes(id))));
            } finally {
                known.remove(id); // if it is still there, it is found again
            }
        }
    }

    @Override
    public void setAside(String id, String reason) {
        LOG.log(System.Logger.Level.WARNING, "event=set_aside session={0} reason=\"{1}\"", id, reason);
        var session = known(id);
        var keys = new ArrayList<>(keys(session.owner(), id));
        keys.add(key(id, "journal:aside"));
        link.call("set a session aside", redis -> redis.eval(Scripts.SET_ASIDE, keys, List.of(bytes(id))));
        known.remove(id);
    }

    @Override
    public void setAsideImage(String id, long tokenCount, String reason) {
        LOG.log(
                System.Logger.Level.WARNING,
                "event=state_dropped session={0} tokens={1} reason=\"{2}\"",
                id,
                Long.toString(tokenCount),
                reason);
        deleteImage(id, tokenCount);
    }

    @Override
    public void forget(String id) {
        known.remove(id);
    }

    private byte[] presence(String server) {
        return bytes(prefix + "server:" + server);
    }

    @Override
    public String name() {
        return name;
    }

    /** While Redis was away no server could say that it is there. */
    @Override
    public boolean isThere(String server) {
        byte[] key = presence(server);
        return link.call("look for a server", redis -> redis.exists(key)) || !link.isUpFor(PRESENCE);
    }

    @Override
    public Health health() {
        return new Health(link.isUp(), link.failureCount(), conflicts.sum());
    }

    @Override
    public void close() {
        link.close();
    }
}
