package basalt.server.redis;

import org.apache.commons.pool2.impl.GenericObjectPoolConfig;
import redis.clients.jedis.Connection;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.JedisClientConfig;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.RedisSentinelClient;
import redis.clients.jedis.SslOptions;
import redis.clients.jedis.UnifiedJedis;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.util.Delay;
import redis.clients.jedis.util.Pool;

/** Opens Jedis' clients: of a Redis at an address, or of one that Sentinels know. */
final class RedisClients {
    private static final int CONNECTIONS_MAX = 32;

    private RedisClients() {}

    /**
     * Opens a client. That of an address connects when it is used, that of Sentinels asks them now.
     *
     * @throws JedisConnectionException if no Sentinel answers
     * @throws redis.clients.jedis.exceptions.JedisException if they do not know the primary
     */
    static UnifiedJedis open(RedisConfig config) {
        RedisUrl url = config.url();
        if (url.primary() == null) {
            return RedisClient.builder()
                    .hostAndPort(url.nodes().iterator().next())
                    .clientConfig(clientConfig(config, true, url.database()))
                    .poolConfig(pool(config))
                    .build();
        }
        try {
            return open(config, true);
        } catch (JedisConnectionException e) {
            // Sentinels without a password refuse to be given one.
            if (url.password() == null) {
                throw e;
            }
            return open(config, false);
        }
    }

    private static UnifiedJedis open(RedisConfig config, boolean isPasswordOfSentinels) {
        RedisUrl url = config.url();
        return RedisSentinelClient.builder()
                .sentinels(url.nodes())
                .masterName(url.primary())
                .sentinelClientConfig(clientConfig(config, isPasswordOfSentinels, 0))
                .sentinelReconnectDelay(Delay.constant(RedisLink.PROBE_INTERVAL))
                .clientConfig(clientConfig(config, true, url.database()))
                .poolConfig(pool(config))
                .build();
    }

    private static JedisClientConfig clientConfig(RedisConfig config, boolean isAuthenticated, int database) {
        int millis = Math.toIntExact(config.timeout().toMillis());
        var client = DefaultJedisClientConfig.builder()
                .connectionTimeoutMillis(millis)
                .socketTimeoutMillis(millis)
                .database(database)
                .clientName("basalt");
        if (isAuthenticated) {
            client.user(config.url().user()).password(config.url().password());
        }
        if (config.url().isTls()) {
            client.sslOptions(SslOptions.defaults());
        }
        return client.build();
    }

    private static GenericObjectPoolConfig<Connection> pool(RedisConfig config) {
        var pool = new GenericObjectPoolConfig<Connection>();
        pool.setMaxTotal(CONNECTIONS_MAX);
        pool.setMaxIdle(CONNECTIONS_MAX);
        pool.setMaxWait(config.timeout());
        pool.setJmxEnabled(false);
        return pool;
    }

    /** Ends the connections that rest. */
    static void dropIdle(UnifiedJedis client) {
        if (client instanceof RedisClient direct) {
            direct.getPool().clear();
        } else if (client instanceof RedisSentinelClient watched) {
            watched.getPrimaryNodesConnectionMap().values().forEach(Pool::clear);
        }
    }
}
