package basalt.server.redis;

import java.nio.charset.StandardCharsets;

/** What Redis does as one step. Each may be sent twice: the second time finds the work done. */
final class Scripts {
    /**
     * What there is of a session, and its life from now on. KEYS: head, journal, images. Answers version, writer, life
     * in milliseconds, then count and bytes of each image; nothing if there is no such session.
     */
    static final byte[] LOOK = script("""
            local version = redis.call('HGET', KEYS[1], 'version')
            if not version or redis.call('EXISTS', KEYS[2]) == 0 then return {} end
            local life = tonumber(redis.call('HGET', KEYS[1], 'life'))
            if life > 0 then
              for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], life) end
            end
            local answer = {tonumber(version), redis.call('HGET', KEYS[1], 'writer'), life}
            for _, count in ipairs(redis.call('HKEYS', KEYS[3])) do
              answer[#answer + 1] = tonumber(count)
              answer[#answer + 1] = redis.call('HSTRLEN', KEYS[3], count)
            end
            return answer
            """);

    /**
     * Begins, replaces or continues a journal if it has the version that is expected. KEYS: head, journal, images,
     * sessions of the tenant. ARGV: expected version and writer, a name for this write, life in milliseconds or 0,
     * bytes, and to begin or replace: the session's id, the time, and what the keys of the tenant begin with; then, to
     * replace all images, the count of tokens and the bytes of one. Answers the new version, 0 if there is no such
     * session, -1 if it is not what is expected.
     */
    static final byte[] WRITE = script("""
            local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
            local writer = redis.call('HGET', KEYS[1], 'writer') or ''
            local expected = tonumber(ARGV[1])
            if version ~= expected or writer ~= ARGV[2] then
              if version == expected + 1 and writer == ARGV[3] then return version end
              if version == 0 then return 0 end
              return -1
            end
            if version > 0 and redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
            if ARGV[6] then
              redis.call('SET', KEYS[2], ARGV[5])
              redis.call('ZADD', KEYS[4], 'NX', ARGV[7], ARGV[6])
              for _, id in ipairs(redis.call('ZRANDMEMBER', KEYS[4], 4)) do
                if id ~= ARGV[6] and redis.call('EXISTS', ARGV[8] .. id .. ':journal') == 0 then
                  redis.call('ZREM', KEYS[4], id)
                end
              end
              if ARGV[9] then
                redis.call('DEL', KEYS[3])
                redis.call('HSET', KEYS[3], ARGV[9], ARGV[10])
              end
            else
              redis.call('APPEND', KEYS[2], ARGV[5])
            end
            redis.call('HSET', KEYS[1], 'version', version + 1, 'writer', ARGV[3], 'life', ARGV[4])
            for i = 1, 3 do
              if tonumber(ARGV[4]) > 0 then
                redis.call('PEXPIRE', KEYS[i], ARGV[4])
              else
                redis.call('PERSIST', KEYS[i])
              end
            end
            return version + 1
            """);

    /** Does nothing if the session is not what is expected. KEYS: head. ARGV: version and writer. */
    private static final String FENCE = """
            if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then return 0 end
            if (redis.call('HGET', KEYS[1], 'writer') or '') ~= ARGV[2] then return 0 end
            """;

    /** Cuts a journal. KEYS: head, journal. ARGV: version, writer, bytes that are left. */
    static final byte[] TRUNCATE = script(FENCE + """
            local rest = redis.call('GETRANGE', KEYS[2], 0, tonumber(ARGV[3]) - 1)
            redis.call('SET', KEYS[2], rest, 'KEEPTTL')
            return 1
            """);

    /** Adds an image. KEYS: head, images. ARGV: version, writer, count of tokens, bytes, life in milliseconds or 0. */
    static final byte[] PUT_IMAGE = script(FENCE + """
            redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
            if tonumber(ARGV[5]) > 0 then redis.call('PEXPIRE', KEYS[2], ARGV[5]) end
            return 1
            """);

    /**
     * Adds an image that was written down as a draft. KEYS: head, images, draft. ARGV: version, writer, count of
     * tokens, life in milliseconds or 0. Answers -1 if the draft's time was over.
     */
    static final byte[] KEEP_IMAGE = script(FENCE + """
            local image = redis.call('GET', KEYS[3])
            if image then
              redis.call('HSET', KEYS[2], ARGV[3], image)
              redis.call('UNLINK', KEYS[3])
              if tonumber(ARGV[4]) > 0 then redis.call('PEXPIRE', KEYS[2], ARGV[4]) end
            elseif redis.call('HEXISTS', KEYS[2], ARGV[3]) == 0 then
              return -1
            end
            return 1
            """);

    /** Drops an image. KEYS: head, images. ARGV: version, writer, count of tokens. */
    static final byte[] DELETE_IMAGE = script(FENCE + """
            return redis.call('HDEL', KEYS[2], ARGV[3])
            """);

    /** Copies an image. KEYS: images of the one and the other session. ARGV: count of tokens, life or 0. */
    static final byte[] COPY_IMAGE = script("""
            local image = redis.call('HGET', KEYS[1], ARGV[1])
            if not image then return 0 end
            redis.call('HSET', KEYS[2], ARGV[1], image)
            if tonumber(ARGV[2]) > 0 then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
            return string.len(image)
            """);

    /** Drops a session. KEYS: head, journal, images, sessions of the tenant. ARGV: the session's id. */
    static final byte[] DELETE = script("""
            redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
            return redis.call('ZREM', KEYS[4], ARGV[1])
            """);

    /** Puts a journal aside and drops the rest. KEYS: head, journal, images, sessions, aside. ARGV: the id. */
    static final byte[] SET_ASIDE = script("""
            if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], KEYS[5]) end
            redis.call('UNLINK', KEYS[1], KEYS[3])
            return redis.call('ZREM', KEYS[4], ARGV[1])
            """);

    /**
     * Ids of a tenant's sessions, the oldest first. KEYS: sessions of the tenant. ARGV: what the keys of the tenant
     * begin with. Those whose life has ended are dropped from the list.
     */
    static final byte[] LIST = script("""
            local there = {}
            for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
              if redis.call('EXISTS', ARGV[1] .. id .. ':journal') == 1 then
                there[#there + 1] = id
              else
                redis.call('ZREM', KEYS[1], id)
              end
            end
            return there
            """);

    private Scripts() {}

    private static byte[] script(String lua) {
        return lua.getBytes(StandardCharsets.UTF_8);
    }
}
