package basalt.server.hub;

import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.time.Duration;
import java.util.Properties;
import org.jspecify.annotations.Nullable;

/**
 * Requests to a hub, with redirects. By {@link HttpURLConnection}, whose read timeout also ends an answer that stops
 * half-way. Safe for use by any thread.
 */
final class HubClient {
    private static final int REDIRECTS_MAX = 5;
    private static final int LISTING_BYTES_MAX = 16 << 20;

    static {
        Properties properties = System.getProperties();
        // By default the JDK sends no name and password to a proxy before TLS, which is where proxies ask for them.
        properties.putIfAbsent("jdk.http.auth.tunneling.disabledSchemes", "");
        // And by default it tells them to who is behind the proxy too, if that one asks as a proxy does.
        properties.putIfAbsent("jdk.http.auth.proxying.disabledSchemes", "Basic,Digest,NTLM,Negotiate,Kerberos");
    }

    private final HubSettings settings;
    private final int timeoutMillis;

    /**
     * For one hub.
     *
     * @param timeout to connect, and between two reads
     */
    HubClient(HubSettings settings, Duration timeout) {
        this.settings = settings;
        timeoutMillis = Math.toIntExact(timeout.toMillis());
    }

    /**
     * Asks for the files of a model.
     *
     * @throws IOException if the hub cannot be reached or is overloaded; another try may help
     * @throws HubException if it refuses
     */
    HubListing list(HubId id) throws IOException {
        URI uri = URI.create(settings.endpoint() + "/api/models/" + id.repository() + "/revision/" + id.revisionInPath()
                + "?blobs=true");
        HttpURLConnection connection = open(uri, "", id);
        try (InputStream in = connection.getInputStream()) {
            byte[] json = in.readNBytes(LISTING_BYTES_MAX + 1);
            if (json.length > LISTING_BYTES_MAX) {
                throw new HubException("the hub's answer about " + id + " is longer than " + LISTING_BYTES_MAX);
            }
            return HubListing.parse(id, json);
        } finally {
            connection.disconnect();
        }
    }

    /**
     * Opens a file from a byte on; the status is 206, or 200 if the server sends all of it.
     *
     * @throws IOException if it cannot be reached or is overloaded; another try may help
     * @throws HubException if it refuses
     */
    HttpURLConnection open(HubId commit, HubFile file, long from, long to) throws IOException {
        URI uri = URI.create(
                settings.endpoint() + "/" + commit.repository() + "/resolve/" + commit.revision() + "/" + file.name());
        return open(uri, "bytes=" + from + "-" + (to - 1), commit);
    }

    private HttpURLConnection open(URI uri, String range, HubId id) throws IOException {
        URI at = uri;
        for (int i = 0; i <= REDIRECTS_MAX; i++) {
            HttpURLConnection connection = send(at, range);
            int status = status(connection, at);
            switch (status) {
                case 200, 206 -> {
                    return connection;
                }
                case 301, 302, 303, 307, 308 -> {
                    String location = connection.getHeaderField("Location");
                    connection.disconnect();
                    at = redirect(at, location);
                }
                default -> {
                    connection.disconnect();
                    throw refusal(status, at, id);
                }
            }
        }
        throw new HubException("the hub redirects " + uri + " more than " + REDIRECTS_MAX + " times");
    }

    private int status(HttpURLConnection connection, URI uri) throws IOException {
        try {
            return connection.getResponseCode();
        } catch (IOException e) {
            // The name of the host that a redirect led to is seen nowhere else, nor is that of the proxy.
            String through = settings.proxies()
                    .proxy(uri)
                    .map(proxy -> " through the proxy " + proxy)
                    .orElse("");
            throw new IOException(uri.getAuthority() + through + ": " + HubException.reason(e), e);
        }
    }

    private HttpURLConnection send(URI uri, String range) throws IOException {
        HttpURLConnection connection = settings.proxies().connection(uri);
        connection.setInstanceFollowRedirects(false);
        connection.setConnectTimeout(timeoutMillis);
        connection.setReadTimeout(timeoutMillis);
        connection.setUseCaches(false);
        connection.setRequestProperty("User-Agent", "basalt");
        connection.setRequestProperty("Accept-Encoding", "identity");
        if (!range.isEmpty()) {
            connection.setRequestProperty("Range", range);
        }
        if (settings.token().isPresent() && isEndpoint(uri)) {
            connection.setRequestProperty(
                    "Authorization", "Bearer " + settings.token().get());
        }
        return connection;
    }

    private boolean isEndpoint(URI uri) {
        URI endpoint = settings.endpoint();
        return endpoint.getScheme().equals(uri.getScheme())
                && endpoint.getHost().equalsIgnoreCase(uri.getHost())
                && endpoint.getPort() == uri.getPort();
    }

    private static URI redirect(URI from, @Nullable String location) {
        try {
            URI to = from.resolve(location == null ? "" : location);
            boolean isSafer = "https".equals(to.getScheme()) || "http".equals(from.getScheme());
            if (isSafer && HubSettings.isWeb(to) && location != null) {
                return to;
            }
        } catch (IllegalArgumentException e) {
            // Said below.
        }
        throw new HubException("the hub redirects " + from + " to \"" + location + "\", which is not followed");
    }

    /** What a refusal means; one that another try may turn is thrown. */
    private HubException refusal(int status, URI uri, HubId id) throws IOException {
        return switch (status) {
            case 401, 403 ->
                new HubException(
                        "the hub refuses model " + id + " (" + status + "): it does not exist, or is private or"
                                + " gated: accept its terms on the hub and set HF_TOKEN");
            case 404 ->
                new HubException("the hub " + settings.endpoint() + " has no model " + id
                        + ": look for a typing error, or give the directory of a checkpoint");
            case 407 ->
                throw new ProxyRefusal("the proxy "
                        + settings.proxies()
                                .proxy(uri)
                                .map(proxy -> proxy + " ")
                                .orElse("")
                        + "refuses who asks (407): give its user and password, as in"
                        + " HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT");
            case 408, 429, 500, 502, 503, 504 -> throw new IOException("status " + status + " from " + uri.getHost());
            default -> new HubException("the hub answers " + status + " to " + uri.getPath());
        };
    }
}
