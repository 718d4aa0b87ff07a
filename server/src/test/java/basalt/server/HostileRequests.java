package basalt.server;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Random;

/**
 * Bytes that are not what a server should take for requests. Some hide a request with the id {@link #SMUGGLED} where a
 * server and a proxy before it may disagree on where a body ends; it must never be answered.
 */
final class HostileRequests {
    static final String SMUGGLED = "smuggled";

    private static final String HIDDEN =
            "GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + SMUGGLED + "\r\nConnection: close\r\n\r\n";
    private static final String POST = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    private static final String BODY = "{\"prompt\":\"abc\",\"max_tokens\":2}";

    /** Headers that announce a body in two ways, or in none that is defined. {@code %d} is the length of all. */
    private static final List<String> LENGTHS = List.of(
            "Content-Length: %d\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: %d\r\n",
            "Transfer-Encoding: xchunked\r\nContent-Length: %d\r\n",
            "Transfer-Encoding : chunked\r\nContent-Length: %d\r\n",
            "Transfer-Encoding: identity, chunked\r\nContent-Length: %d\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: %d\r\n",
            "Transfer-Encoding:\u000bchunked\r\nContent-Length: %d\r\n",
            "Content-Length: 0\r\nContent-Length: %d\r\n",
            "Content-Length: %d\r\nContent-Length: 0\r\n",
            "Content-Length: 0, %d\r\n",
            "Content-Length: +0\r\nX-All: %d\r\n",
            "Content-Length: -1\r\nX-All: %d\r\n",
            "Content-Length: 0x0\r\nX-All: %d\r\n",
            "Content-Length: 99999999999999999999\r\nX-All: %d\r\n",
            "Content-Length:\r\nX-All: %d\r\n",
            "X-Fold: a\r\n Content-Length: 0\r\nContent-Length: %d\r\n",
            "X-Bare: a\nContent-Length: 0\r\nContent-Length: %d\r\n",
            "X-Bare: a\rContent-Length: 0\r\nContent-Length: %d\r\n");

    /** Chunked bodies that end too early, too late or nowhere, each with a hidden request after its doubtful end. */
    private static final List<String> CHUNKS = List.of(
            "0x0\r\n\r\n",
            "-1\r\n\r\n",
            "+0\r\n\r\n",
            "FFFFFFFFFFFFFFFF0\r\n\r\n",
            "100000000\r\n\r\n",
            "3\r\nabcdef\r\n0\r\n\r\n",
            "3;ext=\"\r\n\"\r\nabc\r\n0\r\n\r\n",
            "3;a\n0\r\n\r\n",
            "3;a\r0\r\n\r\n",
            "3\nabc\n0\n\n",
            " 0\r\n\r\n",
            "0 \r\n\r\n",
            "\r\n0\r\n\r\n",
            "g\r\n\r\n",
            "2\r\n{}0\r\n\r\n");

    /** Heads that no server should like. */
    private static final List<String> HEADS = List.of(
            "GET\r\n\r\n",
            "GET /v1/models\r\n\r\n",
            "GET /v1/models HTTP/9.9\r\nHost: x\r\n\r\n",
            "GET /v1/models HTTP/1.0\r\n\r\n",
            "GET http://other/v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /%00%ff%2e%2e HTTP/1.1\r\nHost: x\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003",
            "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: text/\u0000\r\nContent-Length: 2\r\n\r\n{}",
            "POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
            POST + "Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\n{}",
            "GET /v1/models HTTP/1.1\r\nHost: x\r\n: empty\r\nno colon\r\n\r\n",
            "GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\u0000b\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
            "\r\n\r\n\r\n\r\n",
            "HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
            "HEAD /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
            "HEAD / HTTP/1.1\r\n\r\n",
            "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n");

    private HostileRequests() {}

    /** Something hostile. */
    static byte[] next(Random random) {
        String text = switch (random.nextInt(6)) {
            case 0, 1 -> twoLengths(random);
            case 2 -> POST + "Transfer-Encoding: chunked\r\n\r\n" + CHUNKS.get(random.nextInt(CHUNKS.size())) + HIDDEN;
            case 3 -> unreadBody(random);
            case 4 -> largeHead(random);
            default -> HEADS.get(random.nextInt(HEADS.size()));
        };
        return text.getBytes(StandardCharsets.ISO_8859_1);
    }

    private static String twoLengths(Random random) {
        String inner = random.nextBoolean() ? "0\r\n\r\n" + HIDDEN : HIDDEN;
        return POST + String.format(LENGTHS.get(random.nextInt(LENGTHS.size())), inner.length()) + "\r\n" + inner;
    }

    /** A body, which is a request, where nobody reads a body. */
    private static String unreadBody(Random random) {
        List<String> heads = List.of(
                "GET /v1/models",
                "HEAD /v1/models",
                "HEAD /nothing",
                "GET /nothing",
                "DELETE /v1/completions",
                "GET /health",
                "GET /");
        String length = "Content-Length: " + HIDDEN.length() + "\r\n\r\n";
        return heads.get(random.nextInt(heads.size())) + " HTTP/1.1\r\nHost: x\r\n" + length + HIDDEN;
    }

    private static String largeHead(Random random) {
        String head = "GET /v1/models HTTP/1.1\r\nHost: x\r\n";
        return switch (random.nextInt(4)) {
            case 0 -> "GET /" + "a".repeat(10_000) + " HTTP/1.1\r\nHost: x\r\n\r\n";
            case 1 -> head + "X-Long: " + "b".repeat(40_000) + "\r\n\r\n";
            case 2 -> head + "X-Many: c\r\n".repeat(5_000) + "\r\n";
            default ->
                POST + "Content-Length: " + (200_000 + HIDDEN.length()) + "\r\n\r\n" + BODY
                        + " ".repeat(200_000 - BODY.length()) + HIDDEN;
        };
    }
}
