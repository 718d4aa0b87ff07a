package basalt.server.hub;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A hub on this machine that speaks the part of the API that is used, and can misbehave. */
final class LocalHub implements AutoCloseable {
    static final String COMMIT = "0123456789abcdef0123456789abcdef01234567";

    private static final Pattern RANGE = Pattern.compile("bytes=([0-9]+)-([0-9]+)");
    private static final int BUFFER_BYTES = 1 << 16;

    /** Contents by name; those whose name ends in .safetensors or .bin are told as large files. */
    final Map<String, byte[]> files = new ConcurrentHashMap<>();

    /** Each answer with content takes one, and is cut. */
    final AtomicInteger cuts = new AtomicInteger();

    /** Statuses of the next requests, before anything else is looked at. */
    final List<Integer> nextStatuses = new CopyOnWriteArrayList<>();

    /** {@code METHOD PATH} of all requests. */
    final List<String> requests = new CopyOnWriteArrayList<>();

    final AtomicLong sentBytes = new AtomicLong();
    /** Once it has sent so many bytes, every answer is cut. */
    volatile long bytesUntilDown = Long.MAX_VALUE;

    /** What main, and the branch of a pull request, are. */
    volatile String commit = COMMIT;

    volatile boolean knowsRanges = true;
    volatile boolean redirects;
    volatile Optional<String> wantedToken = Optional.empty();
    volatile Optional<String> tokenAtStore = Optional.empty();
    volatile Optional<String> corruptFile = Optional.empty();

    private final HttpServer server;
    private final HttpServer store;

    LocalHub() throws IOException {
        server = start();
        store = start();
        server.createContext("/", exchange -> answering(exchange, this::answer));
        store.createContext("/", exchange -> answering(exchange, this::answerStore));
    }

    private static HttpServer start() throws IOException {
        var server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(Executors.newVirtualThreadPerTaskExecutor());
        server.start();
        return server;
    }

    URI endpoint() {
        return address(server);
    }

    private static URI address(HttpServer server) {
        return URI.create("http://127.0.0.1:" + server.getAddress().getPort());
    }

    private interface Answer {
        void to(HttpExchange exchange) throws IOException;
    }

    private static void answering(HttpExchange exchange, Answer answer) throws IOException {
        try (exchange) {
            answer.to(exchange);
        }
    }

    private void answer(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().getRawPath();
        requests.add(exchange.getRequestMethod() + " " + path);
        if (!nextStatuses.isEmpty()) {
            exchange.sendResponseHeaders(nextStatuses.removeFirst(), -1);
            return;
        }
        var authorization = Optional.ofNullable(exchange.getRequestHeaders().getFirst("Authorization"));
        if (wantedToken.isPresent() && !authorization.equals(wantedToken.map(token -> "Bearer " + token))) {
            exchange.sendResponseHeaders(401, -1);
        } else if (path.equals("/api/models/owner/name/revision/main")
                || path.equals("/api/models/owner/name/revision/refs%2Fpr%2F1")
                || path.equals("/api/models/owner/name/revision/" + commit)) {
            byte[] listing = listing().getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, listing.length);
            exchange.getResponseBody().write(listing);
        } else if (path.startsWith("/owner/name/resolve/" + commit + "/")) {
            resolve(exchange, path.substring(path.lastIndexOf('/') + 1));
        } else {
            exchange.sendResponseHeaders(404, -1);
        }
    }

    private void resolve(HttpExchange exchange, String name) throws IOException {
        if (redirects) {
            exchange.getResponseHeaders().add("Location", address(store) + "/" + name);
            exchange.sendResponseHeaders(302, -1);
        } else {
            send(exchange, name);
        }
    }

    private void answerStore(HttpExchange exchange) throws IOException {
        tokenAtStore = Optional.ofNullable(exchange.getRequestHeaders().getFirst("Authorization"));
        send(exchange, exchange.getRequestURI().getPath().substring(1));
    }

    private void send(HttpExchange exchange, String name) throws IOException {
        byte[] content = files.getOrDefault(name, new byte[0]);
        int corruptAt = corruptFile.equals(Optional.of(name)) ? content.length / 2 : -1;
        int from = 0;
        int to = content.length;
        Matcher range =
                RANGE.matcher(String.valueOf(exchange.getRequestHeaders().getFirst("Range")));
        boolean isPart = knowsRanges && range.matches();
        if (isPart) {
            from = Integer.parseInt(range.group(1));
            to = Math.min(to, Integer.parseInt(range.group(2)) + 1);
            exchange.getResponseHeaders().add("Content-Range", "bytes " + from + "-" + (to - 1) + "/" + content.length);
        }
        exchange.sendResponseHeaders(isPart ? 206 : 200, to == from ? -1 : to - from);
        boolean isCut = cuts.getAndUpdate(left -> Math.max(0, left - 1)) > 0;
        int end = isCut ? Math.min(to, from + BUFFER_BYTES) : to;
        for (int at = from; at < end && sentBytes.get() < bytesUntilDown; at += BUFFER_BYTES) {
            int count = Math.min(BUFFER_BYTES, end - at);
            if (corruptAt >= at && corruptAt < at + count) {
                byte[] corrupt = Arrays.copyOfRange(content, at, at + count);
                corrupt[corruptAt - at] ^= 1;
                exchange.getResponseBody().write(corrupt);
            } else {
                exchange.getResponseBody().write(content, at, count);
            }
            sentBytes.addAndGet(count);
        }
        exchange.getResponseBody().flush();
    }

    private String listing() {
        var siblings = new StringBuilder();
        files.forEach((name, content) -> {
            boolean isLarge = name.endsWith(".safetensors") || name.endsWith(".bin");
            siblings.append(siblings.isEmpty() ? "" : ",")
                    .append("{\"rfilename\":\"" + name + "\",\"size\":" + content.length + ",\"blobId\":\""
                            + gitHash(content) + "\"");
            if (isLarge) {
                siblings.append(",\"lfs\":{\"sha256\":\"" + hash("SHA-256", content) + "\",\"size\":" + content.length
                        + ",\"pointerSize\":134}");
            }
            siblings.append('}');
        });
        return "{\"id\":\"owner/name\",\"sha\":\"" + commit + "\",\"siblings\":[" + siblings + "]}";
    }

    private static String gitHash(byte[] content) {
        var head = ("blob " + content.length + "\0").getBytes(StandardCharsets.US_ASCII);
        return hash("SHA-1", head, content);
    }

    private static String hash(String algorithm, byte[]... contents) {
        try {
            var digest = MessageDigest.getInstance(algorithm);
            for (byte[] content : contents) {
                digest.update(content);
            }
            return HexFormat.of().formatHex(digest.digest());
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    @Override
    public void close() {
        server.stop(0);
        store.stop(0);
    }
}
