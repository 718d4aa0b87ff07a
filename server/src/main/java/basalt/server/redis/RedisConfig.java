package basalt.server.redis;

import java.net.URI;
import java.time.Duration;

/**
 * Where sessions are shared.
 *
 * @param url {@code redis://[USER:PASSWORD@]HOST:PORT[/DATABASE]}, or {@code rediss} for TLS
 * @param timeout for a connection, and for an answer
 * @param life how long a session that has no life of its own is kept without use; zero for ever
 */
public record RedisConfig(URI url, Duration timeout, Duration life) {}
