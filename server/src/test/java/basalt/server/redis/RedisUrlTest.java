package basalt.server.redis;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import redis.clients.jedis.HostAndPort;

class RedisUrlTest {
    private static RedisUrl url(String text) {
        return RedisUrl.parse(text).orElseThrow();
    }

    @Test
    void addressHasUserPasswordAndDatabase() {
        RedisUrl whole = url("rediss://user:p%40ss+word@redis.example:6380/3");
        RedisUrl least = url("redis://[::1]:1");

        assertEquals(Set.of(new HostAndPort("redis.example", 6380)), whole.nodes());
        assertEquals("user", whole.user());
        assertEquals("p@ss+word", whole.password());
        assertEquals(3, whole.database());
        assertTrue(whole.isTls());
        assertNull(whole.primary());
        assertEquals("redis.example:6380", whole.toString());
        assertEquals(Set.of(new HostAndPort("[::1]", 1)), least.nodes());
        assertNull(least.user());
        assertNull(least.password());
        assertEquals(0, least.database());
        assertFalse(least.isTls());
        assertNull(url("redis://:secret@h:1/").user());
        assertEquals("secret", url("redis://:secret@h:1/").password());
    }

    @Test
    void sentinelsKnowAPrimary() {
        RedisUrl whole = url("redis+sentinel://user:secret@a:26379,b.example:26380,c:1/my-primary/2");

        assertEquals(
                Set.of(new HostAndPort("a", 26379), new HostAndPort("b.example", 26380), new HostAndPort("c", 1)),
                whole.nodes());
        assertEquals("my-primary", whole.primary());
        assertEquals(2, whole.database());
        assertEquals("secret", whole.password());
        assertEquals("my-primary of the Sentinels a:26379,b.example:26380,c:1", whole.toString());
        assertTrue(url("rediss+sentinel://a:1/p").isTls());
        assertEquals(0, url("redis+sentinel://a:1/p").database());
        assertEquals(url("redis+sentinel://a:1/p"), url("redis+sentinel://a:1/p/0"));
        assertNotEquals(url("redis+sentinel://a:1/p"), url("redis+sentinel://a:1/q"));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "localhost:6379",
                "redis://localhost",
                "redis://user@localhost:1",
                "redis://localhost:65536",
                "redis://localhost:0",
                "redis://localhost:1/name",
                "redis://localhost:1/123456",
                "redis://a:1,b:1",
                "redis://a:1/2/3",
                "redis+sentinel://a:1",
                "redis+sentinel://a:1/",
                "redis+sentinel://a:1,/p",
                "redis+sentinel://a:1/p/x",
                "redis://:bad%zz@a:1",
                "http://a:1",
                "redis://a b:1"
            })
    void anythingElseIsNone(String text) {
        assertTrue(RedisUrl.parse(text).isEmpty());
    }
}
