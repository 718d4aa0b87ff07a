package basalt.server.hub;

import java.net.Authenticator;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.Proxy;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A proxy, which is spoken to without TLS. As text it is {@code HOST:PORT}.
 *
 * @param host a name, or an address without brackets
 * @param user empty if it need not know who asks
 * @param password may be empty
 */
record HubProxy(String host, int port, String user, String password) {
    private static final int PORT_DEFAULT = 80;
    private static final int PORT_MAX = 65_535;

    // Names as those of containers, with underscores, are none to java.net.URI.
    private static final Pattern ADDRESS = Pattern.compile(
            "(?:http://)?(?:([^/?#\\s]*)@)?(?:\\[([0-9a-f:.]+)]|([a-z0-9._-]+))(?::([0-9]{1,5})?)?/?",
            Pattern.CASE_INSENSITIVE);

    /**
     * Of the text of an environment variable.
     *
     * @param variable its name
     * @throws HubException if it is no address of a proxy; it does not show the password
     */
    static HubProxy of(String variable, String text) {
        Matcher address = ADDRESS.matcher(text.strip());
        if (address.matches()) {
            String host = address.group(2) == null ? address.group(3) : address.group(2);
            int port = address.group(4) == null ? PORT_DEFAULT : Integer.parseInt(address.group(4));
            String login = address.group(1) == null ? "" : address.group(1);
            int colon = login.indexOf(':');
            try {
                if (port <= PORT_MAX) {
                    return new HubProxy(
                            host,
                            port,
                            decoded(colon < 0 ? login : login.substring(0, colon)),
                            decoded(colon < 0 ? "" : login.substring(colon + 1)));
                }
            } catch (IllegalArgumentException e) {
                // Said below, without the text, which may hold a password.
            }
        }
        throw new HubException(variable + " must be like http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, with what"
                + " is special in a password as %XX: set it so, or unset it");
    }

    private static String decoded(String text) {
        return URLDecoder.decode(text.replace("+", "%2B"), StandardCharsets.UTF_8);
    }

    Proxy proxy() {
        return new Proxy(Proxy.Type.HTTP, InetSocketAddress.createUnresolved(host, port));
    }

    /**
     * Lets a connection that goes through it tell who asks. The proxy alone is told: with TLS it is asked for the
     * tunnel, and without the header is for it.
     */
    void introduce(HttpURLConnection connection) {
        if (user.isEmpty()) {
            return;
        }
        if ("https".equals(connection.getURL().getProtocol())) {
            connection.setAuthenticator(new Login());
        } else {
            byte[] login = (user + ":" + password).getBytes(StandardCharsets.UTF_8);
            connection.setRequestProperty(
                    "Proxy-Authorization", "Basic " + Base64.getEncoder().encodeToString(login));
        }
    }

    /** Of one connection. Tells a proxy once: the JDK asks 20 times where it is refused, which locks accounts. */
    private final class Login extends Authenticator {
        private boolean isTold;

        @Override
        protected @Nullable PasswordAuthentication getPasswordAuthentication() {
            if (isTold || getRequestorType() != RequestorType.PROXY) {
                return null;
            }
            isTold = true;
            return new PasswordAuthentication(user, password.toCharArray());
        }
    }

    @Override
    public String toString() {
        return (host.contains(":") ? "[" + host + "]" : host) + ":" + port;
    }
}
