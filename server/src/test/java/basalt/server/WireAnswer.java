package basalt.server;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** One answer as it came over the wire. */
record WireAnswer(int status, Map<String, String> headers, String body) {

    /** The next answer of a connection, or none if it was closed before its first byte. */
    static Optional<WireAnswer> read(InputStream in) throws IOException {
        return read(in, false);
    }

    /** As {@link #read(InputStream)}; an answer to HEAD ends with its headers. */
    static Optional<WireAnswer> read(InputStream in, boolean isToHead) throws IOException {
        int first = in.read();
        if (first < 0) {
            return Optional.empty();
        }
        String statusLine = (char) first + line(in);
        if (!statusLine.matches("HTTP/1\\.1 [1-5][0-9][0-9] .*")) {
            throw new AssertionError("not an answer: " + statusLine);
        }
        int status = Integer.parseInt(statusLine.substring(9, 12));
        var headers = new HashMap<String, String>();
        for (String header = line(in); !header.isEmpty(); header = line(in)) {
            int colon = header.indexOf(':');
            headers.put(
                    header.substring(0, colon).toLowerCase(Locale.ROOT),
                    header.substring(colon + 1).strip());
        }
        if (status == 100) {
            return read(in, isToHead);
        }
        if (isToHead) {
            return Optional.of(new WireAnswer(status, headers, ""));
        }
        byte[] body = "chunked".equalsIgnoreCase(headers.get("transfer-encoding"))
                ? chunks(in)
                : in.readNBytes(Integer.parseInt(headers.getOrDefault("content-length", "0")));
        return Optional.of(new WireAnswer(status, headers, new String(body, StandardCharsets.UTF_8)));
    }

    /** The id that the server gave the request or took from it. */
    String requestId() {
        return headers.getOrDefault("x-request-id", "");
    }

    /** Whether this is the last one of its connection. */
    boolean closes() {
        return "close".equalsIgnoreCase(headers.get("connection"));
    }

    private static byte[] chunks(InputStream in) throws IOException {
        var body = new ByteArrayOutputStream();
        for (int size = size(in); size > 0; size = size(in)) {
            body.write(in.readNBytes(size));
            line(in);
        }
        line(in);
        return body.toByteArray();
    }

    private static int size(InputStream in) throws IOException {
        return Integer.parseInt(line(in), 16);
    }

    private static String line(InputStream in) throws IOException {
        var line = new StringBuilder();
        for (int next = in.read(); next != '\n'; next = in.read()) {
            if (next < 0) {
                throw new EOFException("closed in the middle of an answer: " + line);
            }
            if (next != '\r') {
                line.append((char) next);
            }
        }
        return line.toString();
    }
}
