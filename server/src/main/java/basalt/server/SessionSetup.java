package basalt.server;

import basalt.engine.EngineException;
import basalt.engine.session.DirectoryArchive;
import basalt.engine.session.Durability;
import basalt.engine.session.MemoryArchive;
import basalt.engine.session.SessionArchive;
import basalt.engine.session.SessionConfig;
import basalt.engine.session.SessionStore;
import basalt.engine.state.PrefixCache;
import basalt.server.http.StateSeal;
import basalt.server.redis.RedisArchive;
import basalt.server.redis.RedisConfig;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.SecureRandom;

/** Opens what keeps sessions, as the configuration says. */
final class SessionSetup {
    private static final int SECRET_BYTES = 32;
    /** A turn of a chat is seldom longer; reading so many tokens again takes a fraction of a second. */
    private static final int REPLAY_TOKENS_MAX = 256;

    /** Histories take as much memory, or room on the disk, as states at most, or this. */
    private static final long HISTORY_BYTES_MIN = 64 << 20;

    private SessionSetup() {}

    /**
     * Finds the sessions of a model.
     *
     * @throws StartException if their place cannot be had
     */
    static SessionStore open(ServerConfig.Sessions config, LoadedModel model) {
        try {
            SessionArchive archive = switch (config.place()) {
                case ServerConfig.SessionPlace.Memory() ->
                    new MemoryArchive(Math.max(HISTORY_BYTES_MIN, config.memoryBytesMax()));
                case ServerConfig.SessionPlace.Directory(Path path, Durability durability) ->
                    DirectoryArchive.open(path, durability, Math.max(HISTORY_BYTES_MIN, config.archiveBytesMax()));
                case ServerConfig.SessionPlace.Redis(RedisConfig redis) ->
                    RedisArchive.open(redis, model.stateFingerprint());
            };
            var bounds = new SessionConfig(
                    model.stateFingerprint(),
                    config.countMax(),
                    config.keyCountMax(),
                    config.memoryBytesMax(),
                    config.archiveBytesMax(),
                    REPLAY_TOKENS_MAX);
            return SessionStore.open(
                    model.engine(),
                    bounds,
                    archive,
                    new SteadyClock(System.currentTimeMillis(), System::nanoTime)::millis);
        } catch (EngineException.ArchiveFailure e) {
            throw new StartException("sessions cannot be kept: " + e.getMessage(), e);
        }
    }

    /**
     * What is kept of the beginnings of prompts.
     *
     * @throws StartException if there is room, but not for one state
     */
    static PrefixCache prefixes(ServerConfig.Sessions config, LoadedModel model) {
        long bytesMax = config.prefixBytesMax();
        long least = PrefixCache.bytes(model.engine().layout(), 1);
        if (bytesMax > 0 && bytesMax < least) {
            throw new StartException("prefix-cache-max: " + bytesMax + " bytes cannot hold a state of this model, which"
                    + " takes " + least + "; give more, or 0B to keep none");
        }
        return new PrefixCache(bytesMax, config.prefixInterval());
    }

    /**
     * The seal of states that leave the server. Without a secret it is one that only this directory, or only this
     * process, has.
     */
    static StateSeal seal(ServerConfig.Sessions config) {
        if (!config.secret().isEmpty()) {
            return new StateSeal(config.secret().getBytes(StandardCharsets.UTF_8), config.takesUnsealed());
        }
        var secret = new byte[SECRET_BYTES];
        new SecureRandom().nextBytes(secret);
        if (config.place() instanceof ServerConfig.SessionPlace.Directory(Path path, Durability _)) {
            secret = kept(path.resolve("secret"), secret);
        }
        return new StateSeal(secret, config.takesUnsealed());
    }

    private static byte[] kept(Path file, byte[] fresh) {
        try {
            if (!Files.exists(file)) {
                // Whole or not at all: a start that is killed here must not keep the next one from starting.
                Path unfinished = Path.of(file + ".new");
                var owner = PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------"));
                Files.deleteIfExists(unfinished);
                Files.createFile(unfinished, owner);
                Files.write(unfinished, fresh, StandardOpenOption.WRITE);
                Files.move(unfinished, file, StandardCopyOption.ATOMIC_MOVE);
            }
            byte[] secret = Files.readAllBytes(file);
            if (secret.length != SECRET_BYTES) {
                throw new StartException("sessions-dir: " + file + " is not a secret of 32 bytes; delete it");
            }
            return secret;
        } catch (IOException e) {
            throw new StartException("sessions-dir: " + file + " cannot be read or written: " + e.getMessage(), e);
        }
    }
}
