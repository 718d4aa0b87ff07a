package basalt.server.hub;

import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.Proxy;
import java.net.URI;
import java.net.URL;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * Proxies between here and a hub, as the hub's other tools take them from the environment.
 *
 * @param byScheme what names a proxy, by the scheme of what is asked for, {@code http} or {@code https}
 * @param direct what is asked without one: names of hosts, which stand for what is below them too, addresses, either
 *     with a port if only that is meant, ranges of addresses such as 10.0.0.0/8, or {@code *}; and this machine
 */
record HubProxies(Map<String, Variable> byScheme, List<String> direct) {
    /** No proxy but what the virtual machine was told. */
    static final HubProxies NONE = new HubProxies(Map.of(), List.of());

    private static final Map<String, Integer> PORTS = Map.of("http", 80, "https", 443);

    /** Read when it matters: what is wrong with it must not stop who needs no proxy. */
    record Variable(String name, String value) {
        /** Without the value, which may hold a password. */
        @Override
        public String toString() {
            return name;
        }
    }

    /**
     * Of {@code HTTPS_PROXY}, {@code HTTP_PROXY}, {@code ALL_PROXY} and {@code NO_PROXY}; in lower case they are
     * stronger, and what is empty is as if it were not set.
     */
    static HubProxies of(Map<String, String> environment) {
        var byScheme = new HashMap<String, Variable>();
        for (String scheme : PORTS.keySet()) {
            first(environment, scheme + "_proxy", "all_proxy").ifPresent(variable -> byScheme.put(scheme, variable));
        }
        String direct = first(environment, "no_proxy").map(Variable::value).orElse("");
        return new HubProxies(
                Map.copyOf(byScheme),
                Stream.of(direct.toLowerCase(Locale.ROOT).split("[\\s,]+"))
                        .filter(entry -> !entry.isEmpty())
                        .toList());
    }

    private static Optional<Variable> first(Map<String, String> environment, String... names) {
        return Stream.of(names)
                .flatMap(name -> Stream.of(name, name.toUpperCase(Locale.ROOT)))
                .map(name -> new Variable(name, environment.getOrDefault(name, "")))
                .filter(variable -> !variable.value().isBlank())
                .findFirst();
    }

    /**
     * The proxy between here and an address; empty for none, and for what the virtual machine was told.
     *
     * @throws HubException if the variable that names it names none; it does not show the password
     */
    Optional<HubProxy> proxy(URI uri) {
        return Optional.ofNullable(byScheme.get(uri.getScheme()))
                .filter(_ -> !isDirect(uri))
                .map(variable -> HubProxy.of(variable.name(), variable.value()));
    }

    /**
     * A connection to an address, through its proxy if there is one.
     *
     * @throws HubException as {@link #proxy}
     */
    HttpURLConnection connection(URI uri) throws IOException {
        URL url = uri.toURL();
        Optional<HubProxy> proxy = proxy(uri);
        if (proxy.isPresent()) {
            var connection = (HttpURLConnection) url.openConnection(proxy.get().proxy());
            proxy.get().introduce(connection);
            return connection;
        }
        return (HttpURLConnection)
                (byScheme.containsKey(uri.getScheme()) ? url.openConnection(Proxy.NO_PROXY) : url.openConnection());
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
