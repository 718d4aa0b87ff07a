package basalt.engine.text;

import basalt.engine.Checks;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/**
 * Joins the bytes of tokens to text, in pieces that end at character borders. All pieces together are the text that
 * {@code new String(bytes, UTF_8)} gives: bytes that are no UTF-8 become U+FFFD.
 *
 * <p>Confined to one thread. Holds the bytes that are not visible yet or belong to an unfinished character, at most
 * {@value #PENDING_BYTES_MAX}.
 */
public final class Utf8Joiner {
    /** Bytes that may wait to become visible. */
    public static final int PENDING_BYTES_MAX = 65_536;

    private final CharsetDecoder decoder = StandardCharsets.UTF_8
            .newDecoder()
            .onMalformedInput(CodingErrorAction.REPLACE)
            .onUnmappableCharacter(CodingErrorAction.REPLACE);
    private ByteBuffer pending = ByteBuffer.allocate(256).limit(0); // from position to limit: not decoded yet
    private long decodedBytes;

    /** A joiner of one text, empty yet. */
    public Utf8Joiner() {}

    /**
     * Adds the bytes of one token.
     *
     * @param visibleBytes bytes from the start of all text that may be shown; never falls, at most those added
     * @return the text that became visible, perhaps empty
     */
    public String append(byte[] bytes, long visibleBytes) {
        add(bytes);
        return decode(visibleBytes, false);
    }

    /**
     * Ends the text; bytes after the visible ones are dropped.
     *
     * @param visibleBytes final length of all text in bytes, at most those added
     * @return the rest of the text, perhaps empty
     */
    public String finish(long visibleBytes) {
        String rest = decode(visibleBytes, true);
        pending.limit(pending.position());
        return rest;
    }

    private void add(byte[] bytes) {
        int held = pending.remaining();
        Checks.argument(bytes.length <= PENDING_BYTES_MAX - held, "bytes.length", bytes.length);
        if (held + bytes.length > pending.capacity()) {
            var larger = ByteBuffer.allocate(Math.max(held + bytes.length, 2 * pending.capacity()));
            pending = larger.put(pending).flip();
        } else {
            pending.compact().flip();
        }
        pending.limit(held + bytes.length);
        pending.put(held, bytes);
    }

    private String decode(long visibleBytes, boolean isEnd) {
        long length = visibleBytes - decodedBytes;
        Checks.argument(length >= 0 && length <= pending.remaining(), "visibleBytes", visibleBytes);
        int limit = pending.limit();
        int start = pending.position();
        pending.limit(start + (int) length);
        var text = CharBuffer.allocate((int) length + 1);
        decoder.decode(pending, text, isEnd);
        if (isEnd) {
            decoder.flush(text);
        }
        decodedBytes += pending.position() - start;
        pending.limit(limit);
        return text.flip().toString();
    }
}
