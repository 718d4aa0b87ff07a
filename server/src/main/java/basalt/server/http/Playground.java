package basalt.server.http;

import io.helidon.http.HeaderNames;
import io.helidon.http.Method;
import io.helidon.webserver.http.HttpRouting;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.List;

/** The page at {@code /} and its two files. They come from the jar, and the page may load and ask nothing else. */
final class Playground {
    private static final String POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
            + " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    /** What is served where. */
    private record Part(String path, String resource, String mediaType) {}

    private static final List<Part> PARTS = List.of(
            new Part("/", "playground.html", "text/html; charset=utf-8"),
            new Part("/playground.css", "playground.css", "text/css; charset=utf-8"),
            new Part("/playground.js", "playground.js", "text/javascript; charset=utf-8"));

    /** All paths. */
    static final List<String> PATHS = PARTS.stream().map(Part::path).toList();

    private Playground() {}

    private static byte[] read(String resource) {
        try (InputStream in = Playground.class.getResourceAsStream(resource)) {
            if (in == null) {
                throw new IllegalStateException(resource + " is not in the jar");
            }
            return in.readAllBytes();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Adds the page to a server. */
    static void addTo(HttpRouting.Builder routing) {
        for (Part part : PARTS) {
            byte[] content = read("/basalt/server/web/" + part.resource());
            Routes.add(routing, Method.GET, part.path(), (request, response) -> send(part, content, request, response));
        }
    }

    private static void send(Part part, byte[] content, ServerRequest request, ServerResponse response) {
        response.header(HeaderNames.CONTENT_TYPE, part.mediaType());
        response.header(HeaderNames.create("Content-Security-Policy"), POLICY);
        response.header(HeaderNames.create("X-Content-Type-Options"), "nosniff");
        response.header(HeaderNames.create("Referrer-Policy"), "no-referrer");
        // The page changes with the server, which is where it comes from.
        response.header(HeaderNames.CACHE_CONTROL, "no-cache");
        Routes.send(request, response, content);
    }
}
