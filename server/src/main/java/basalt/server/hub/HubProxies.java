package basalt.server.hub;

import java.net.Authenticator;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.Proxy;
import java.net.URI;
import java.net.URISyntaxException;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Proxies between here and a hub, as the hub's other tools take them from the environment.
 *
 * @param byScheme addresses of proxies by the scheme of what is asked for, {@code http} or {@code https}; with user and
 *     password where one is needed
 * @param direct what is asked without one: names of hosts, which stand for what is below them too, addresses, ranges of
 *     addresses such as 10.0.0.0/8, each with a port if only that is meant, or {@code *}
 */
record HubProxies(Map<String, URI> byScheme, List<String> direct) {
    /** No proxy but what the virtual machine was told. */
    static final HubProxies NONE = new HubProxies(Map.of(), List.of());

    private static final int PORT_DEFAULT = 80;
    private static final Map<String, Integer> PORTS = Map.of("http", 80, "https", 443);

    /**
     * Of {@code HTTPS_PROXY}, {@code HTTP_PROXY}, {@code ALL_PROXY} and {@code NO_PROXY}; in lower case they are
     * stronger.
     *
     * @throws HubException if one is no address of a proxy; it does not show the password
     */
    static HubProxies of(Map<String, String> environment) {
        var byScheme = new HashMap<String, URI>();
        for (String scheme : PORTS.keySet()) {
            Stream.of(scheme + "_proxy", "all_proxy")
                    .flatMap(name -> Stream.of(name, name.toUpperCase(Locale.ROOT)))
                    .filter(name -> !environment.getOrDefault(name, "").isBlank())
                    .findFirst()
                    .ifPresent(name -> byScheme.put(scheme, address(name, environment.getOrDefault(name, ""))));
        }
        String direct = environment.getOrDefault("no_proxy", environment.getOrDefault("NO_PROXY", ""));
        return new HubProxies(
                Map.copyOf(byScheme),
                Stream.of(direct.toLowerCase(Locale.ROOT).split("[\\s,]+"))
                        .filter(entry -> !entry.isEmpty())
                        .toList());
    }

    private static URI address(String name, String text) {
        try {
            var address = new URI(text.contains("://") ? text.strip() : "http://" + text.strip());
            if ("http".equals(address.getScheme()) && HubSettings.isWeb(address)) {
                return address;
            }
        } catch (URISyntaxException e) {
            // Said below, without the text, which may hold a password.
        }
        throw new HubException(name + " must be like http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, with what is"
                + " special in a password as %XX: set it so, or unset it");
    }

    /** Through which proxy an address is asked; empty for what the virtual machine was told. */
    Optional<Proxy> proxy(URI uri) {
        return Optional.ofNullable(byScheme.get(uri.getScheme()))
                .map(address -> isDirect(uri)
                        ? Proxy.NO_PROXY
                        : new Proxy(
                                Proxy.Type.HTTP,
                                InetSocketAddress.createUnresolved(
                                        bare(address.getHost()),
                                        address.getPort() < 0 ? PORT_DEFAULT : address.getPort())));
    }

    /** What tells the proxy of an address who asks. */
    Optional<Authenticator> authenticator(URI uri) {
        return Optional.ofNullable(byScheme.get(uri.getScheme()))
                .map(URI::getUserInfo)
                .map(userInfo -> {
                    int colon = userInfo.indexOf(':');
                    String user = colon < 0 ? userInfo : userInfo.substring(0, colon);
                    return new ProxyLogin(user, colon < 0 ? "" : userInfo.substring(colon + 1));
                });
    }

    private static final class ProxyLogin extends Authenticator {
        private final PasswordAuthentication login;

        ProxyLogin(String user, String password) {
            login = new PasswordAuthentication(user, password.toCharArray());
        }

        @Override
        protected @Nullable PasswordAuthentication getPasswordAuthentication() {
            return getRequestorType() == RequestorType.PROXY ? login : null;
        }
    }

    private boolean isDirect(URI uri) {
        String host = bare(uri.getHost().toLowerCase(Locale.ROOT));
        int port = uri.getPort() < 0 ? PORTS.getOrDefault(uri.getScheme(), -1) : uri.getPort();
        Optional<InetAddress> address = literal(host);
        return host.equals("localhost")
                || address.filter(InetAddress::isLoopbackAddress).isPresent()
                || direct.stream().anyMatch(entry -> matches(entry, host, address, port));
    }

    private static boolean matches(String entry, String host, Optional<InetAddress> address, int port) {
        if (entry.equals("*")) {
            return true;
        }
        int slash = entry.indexOf('/');
        if (slash > 0) {
            return address.filter(a -> isIn(entry.substring(0, slash), entry.substring(slash + 1), a))
                    .isPresent();
        }
        String name = withoutPort(entry);
        if (!name.equals(entry) && !entry.equals(name + ":" + port)) {
            return false;
        }
        String bare = bare(name.replaceFirst("^\\*?\\.", ""));
        if (address.isPresent()) {
            return address.equals(literal(bare));
        }
        return host.equals(bare) || host.endsWith("." + bare);
    }

    /** An address of version 6 has colons of its own, and stands in brackets if a port follows. */
    private static String withoutPort(String entry) {
        int colon = entry.lastIndexOf(':');
        boolean isPort = colon > 0 && (entry.indexOf(':') == colon || entry.charAt(colon - 1) == ']');
        return isPort ? entry.substring(0, colon) : entry;
    }

    private static boolean isIn(String start, String length, InetAddress address) {
        byte[] first = literal(start).map(InetAddress::getAddress).orElse(new byte[0]);
        byte[] bytes = address.getAddress();
        int bits;
        try {
            bits = Integer.parseInt(length);
        } catch (NumberFormatException e) {
            return false;
        }
        if (first.length != bytes.length || bits < 0 || bits > Byte.SIZE * bytes.length) {
            return false;
        }
        for (int bit = 0; bit < bits; bit++) {
            int mask = 0x80 >> bit % Byte.SIZE;
            if (((first[bit / Byte.SIZE] ^ bytes[bit / Byte.SIZE]) & mask) != 0) {
                return false;
            }
        }
        return true;
    }

    private static String bare(String host) {
        return host.startsWith("[") && host.endsWith("]") ? host.substring(1, host.length() - 1) : host;
    }

    /** An address that is written as one; no name is looked up. */
    private static Optional<InetAddress> literal(String host) {
        try {
            return Optional.of(InetAddress.ofLiteral(host));
        } catch (IllegalArgumentException e) {
            return Optional.empty();
        }
    }
}
