package basalt.server.api;

import com.fasterxml.jackson.core.io.JsonStringEncoder;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** JSON text in UTF-8 as it grows. Confined to one thread at a time; reused by {@link #clear}. */
public final class JsonBuffer {
    private static final int INITIAL_BYTES = 512;
    /** A buffer that grew beyond this is not kept for reuse. */
    private static final int KEPT_BYTES_MAX = 1 << 20;
    /** Written for a log-probability that JSON cannot hold, as other servers do. */
    private static final float LOGPROB_MIN = -9999;

    private static final byte[] HEX = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);

    private byte[] bytes = new byte[INITIAL_BYTES];
    private int length;

    /** Bytes so far. */
    public int length() {
        return length;
    }

    /** Empties it. */
    public void clear() {
        length = 0;
        if (bytes.length > KEPT_BYTES_MAX) {
            bytes = new byte[INITIAL_BYTES];
        }
    }

    /** A copy of the bytes so far. */
    public byte[] toByteArray() {
        return Arrays.copyOf(bytes, length);
    }

    /** Writes the bytes so far. */
    public void writeTo(OutputStream out) throws IOException {
        out.write(bytes, 0, length);
    }

    /** Appends text as it is, ASCII only. */
    @SuppressWarnings("deprecation") // the method is exact for ASCII, and copies without encoding
    public JsonBuffer raw(String text) {
        int count = text.length();
        ensure(count);
        text.getBytes(0, count, bytes, length);
        length += count;
        return this;
    }

    /** Appends bytes as they are. */
    public JsonBuffer raw(byte[] text) {
        ensure(text.length);
        System.arraycopy(text, 0, bytes, length, text.length);
        length += text.length;
        return this;
    }

    /** Appends what another buffer holds. */
    public JsonBuffer raw(JsonBuffer other) {
        ensure(other.length);
        System.arraycopy(other.bytes, 0, bytes, length, other.length);
        length += other.length;
        return this;
    }

    /** Appends a whole number. */
    public JsonBuffer number(long value) {
        return raw(Long.toString(value));
    }

    /** Appends a log-probability. */
    public JsonBuffer logprob(float value) {
        return raw(Float.toString(Float.isFinite(value) ? value : LOGPROB_MIN));
    }

    /** Appends a string, quoted. A lone surrogate becomes U+FFFD. */
    public JsonBuffer string(String text) {
        ensure(text.length() + 2);
        bytes[length++] = '"';
        int plain = plainPrefix(text);
        if (plain < text.length()) {
            raw(JsonStringEncoder.getInstance().quoteAsUTF8(withoutLoneSurrogates(text.substring(plain))));
        }
        ensure(1);
        bytes[length++] = '"';
        return this;
    }

    /** Copies what needs no quoting and fits a byte; most text is only that. */
    private int plainPrefix(String text) {
        int count = text.length();
        byte[] target = bytes;
        for (int i = 0; i < count; i++) {
            char c = text.charAt(i);
            if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\') {
                return i;
            }
            target[length++] = (byte) c;
        }
        return count;
    }

    private static String withoutLoneSurrogates(String text) {
        return hasLoneSurrogate(text)
                ? new String(text.getBytes(StandardCharsets.UTF_16), StandardCharsets.UTF_16)
                : text;
    }

    /** Whether a text cannot be written in UTF-8. */
    static boolean hasLoneSurrogate(String text) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (Character.isHighSurrogate(c) && i + 1 < text.length() && Character.isLowSurrogate(text.charAt(i + 1))) {
                i++;
            } else if (Character.isSurrogate(c)) {
                return true;
            }
        }
        return false;
    }

    /** Appends the name of a token that is no text by itself, quoted: {@code "bytes:\\xe2\\x80"}, as OpenAI does. */
    JsonBuffer byteName(byte[] token) {
        raw("\"bytes:");
        for (byte b : token) {
            raw("\\\\x");
            ensure(2);
            bytes[length++] = HEX[(b >> 4) & 15];
            bytes[length++] = HEX[b & 15];
        }
        return raw("\"");
    }

    private void ensure(int count) {
        if (bytes.length - length < count) {
            bytes = Arrays.copyOf(bytes, Math.max(Math.addExact(length, count), bytes.length * 2));
        }
    }
}
