package basalt.bench;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/**
 * The answer to one HTTP/1.1 request, read line by line as it arrives. As little as a measurement needs: the client
 * shares the processors with the server it measures.
 */
final class HttpResponse {
    private static final int LINE_BYTES_MAX = 1 << 20;

    private final InputStream in;
    private final byte[] buffer = new byte[8_192]; // a BufferedInputStream takes a lock for each byte
    private int bufferAt;
    private int bufferEnd;
    private final int status;
    private final Map<String, String> headers = new HashMap<>();
    private final boolean isChunked;
    private long left; // bytes of the current chunk, or of the whole body
    private boolean isEnded;
    private byte[] line = new byte[1_024];
    private int lineLength;

    /** Reads status line and headers. */
    HttpResponse(InputStream stream) throws IOException {
        in = stream;
        var statusLine = headLine();
        var parts = statusLine.split(" ", 3);
        if (parts.length < 2 || !parts[0].startsWith("HTTP/1.")) {
            throw new IOException("not an HTTP answer: " + statusLine);
        }
        status = Integer.parseInt(parts[1]);
        for (var header = headLine(); !header.isEmpty(); header = headLine()) {
            int colon = header.indexOf(':');
            if (colon > 0) {
                headers.put(
                        header.substring(0, colon).toLowerCase(Locale.ROOT),
                        header.substring(colon + 1).trim());
            }
        }
        isChunked = "chunked".equalsIgnoreCase(headers.get("transfer-encoding"));
        left = isChunked ? 0 : Long.parseLong(headers.getOrDefault("content-length", "" + Long.MAX_VALUE));
    }

    int status() {
        return status;
    }

    /** A header by its name in lower case. */
    String header(String name, String absent) {
        return headers.getOrDefault(name, absent);
    }

    /** Reads one line of the body, without its end; false at the end of the body. */
    boolean nextLine() throws IOException {
        lineLength = 0;
        for (int next = bodyByte(); next >= 0; next = bodyByte()) {
            if (next == '\n') {
                if (lineLength > 0 && line[lineLength - 1] == '\r') {
                    lineLength--;
                }
                return true;
            }
            append(next);
        }
        return lineLength > 0;
    }

    /** The bytes of the line; valid are the first {@link #lineLength}. */
    byte[] line() {
        return line;
    }

    int lineLength() {
        return lineLength;
    }

    String lineText() {
        return new String(line, 0, lineLength, StandardCharsets.UTF_8);
    }

    /** The rest of the body. */
    String rest() throws IOException {
        var text = new StringBuilder();
        while (nextLine()) {
            text.append(lineText()).append('\n');
        }
        return text.toString();
    }

    /** The rest of the body as it came. */
    byte[] restBytes() throws IOException {
        var bytes = new ByteArrayOutputStream();
        for (int next = bodyByte(); next >= 0; next = bodyByte()) {
            bytes.write(next);
        }
        return bytes.toByteArray();
    }

    /** The next byte of the connection, -1 at its end. */
    private int read() throws IOException {
        if (bufferAt == bufferEnd) {
            bufferAt = 0;
            bufferEnd = Math.max(0, in.read(buffer));
            if (bufferEnd == 0) {
                return -1;
            }
        }
        return buffer[bufferAt++] & 0xff;
    }

    private int bodyByte() throws IOException {
        if (isEnded) {
            return -1;
        }
        if (left == 0 && !nextChunk()) {
            isEnded = true;
            return -1;
        }
        int next = read();
        if (next < 0) {
            if (isChunked || headers.containsKey("content-length")) {
                throw new EOFException("the connection closed in the middle of the body");
            }
            isEnded = true;
        }
        left--;
        return next;
    }

    /** Goes to the next chunk; false if there is none. */
    private boolean nextChunk() throws IOException {
        if (!isChunked) {
            return false;
        }
        var size = headLine();
        if (size.isEmpty()) { // the line end after the previous chunk
            size = headLine();
        }
        int semicolon = size.indexOf(';');
        left = Long.parseLong(
                semicolon < 0 ? size.trim() : size.substring(0, semicolon).trim(), 16);
        if (left > 0) {
            return true;
        }
        while (!headLine().isEmpty()) {
            // Trailers are of no interest.
        }
        return false;
    }

    private String headLine() throws IOException {
        var text = new StringBuilder();
        for (int next = read(); next != '\n'; next = read()) {
            if (next < 0) {
                throw new EOFException("the connection closed");
            }
            if (text.length() > LINE_BYTES_MAX) {
                throw new IOException("a line is too long");
            }
            if (next != '\r') {
                text.append((char) next);
            }
        }
        return text.toString();
    }

    private void append(int next) throws IOException {
        if (lineLength == line.length) {
            if (lineLength > LINE_BYTES_MAX) {
                throw new IOException("a line is too long");
            }
            line = Arrays.copyOf(line, 2 * lineLength);
        }
        line[lineLength++] = (byte) next;
    }
}
