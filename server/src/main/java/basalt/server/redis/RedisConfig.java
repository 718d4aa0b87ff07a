package basalt.server.redis;

import java.time.Duration;

/**
 * Where sessions are shared.
 *
 * @param url of the Redis, or of the Sentinels that know it
 * @param timeout for a connection, and for an answer
 * @param life how long a session that has no life of its own is kept without use; zero for ever
 */
public record RedisConfig(RedisUrl url, Duration timeout, Duration life) {}
