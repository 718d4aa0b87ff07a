/**
 * Sessions in Redis, so that several servers share them. May use the engine's sessions and Jedis, which nothing else
 * sees. Start reading at {@link basalt.server.redis.RedisArchive}.
 */
@NullMarked
package basalt.server.redis;

import org.jspecify.annotations.NullMarked;
