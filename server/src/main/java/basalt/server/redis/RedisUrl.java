package basalt.server.redis;

import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashSet;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import redis.clients.jedis.HostAndPort;

/**
 * Where a Redis is: at an address, or where Sentinels say that the primary of a name is. It may hold a password, which
 * is never shown.
 */
public final class RedisUrl {
    /** What a URL looks like; all but hosts, ports and the name of a primary may be left out. */
    public static final String FORMS = "redis://USER:PASSWORD@HOST:PORT/DATABASE, or"
            + " redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/PRIMARY/DATABASE where the hosts are Sentinels";

    private static final String NODE = "(?:[A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+]):[0-9]{1,5}";
    private static final Pattern URL = Pattern.compile("redis(?<tls>s?)(?<sentinel>\\+sentinel)?://"
            + "(?:(?<user>[^\\s/@:]*):(?<password>[^\\s/@]*)@)?(?<nodes>" + NODE + "(?:," + NODE + ")*)"
            + "(?:/(?<first>[A-Za-z0-9._-]*))?(?:/(?<second>[0-9]*))?");
    private static final int PORT_MAX = 65_535;
    private static final int DATABASE_DIGITS_MAX = 5;

    private final Set<HostAndPort> nodes;
    private final @Nullable String primary;
    private final @Nullable String user;
    private final @Nullable String password;
    private final int database;
    private final boolean isTls;

    private RedisUrl(Matcher url) {
        nodes = new LinkedHashSet<>();
        for (String node : url.group("nodes").split(",", -1)) {
            int colon = node.lastIndexOf(':');
            int port = Integer.parseInt(node.substring(colon + 1));
            require(port >= 1 && port <= PORT_MAX);
            nodes.add(new HostAndPort(node.substring(0, colon), port));
        }
        String first = Objects.requireNonNullElse(url.group("first"), "");
        String second = Objects.requireNonNullElse(url.group("second"), "");
        boolean isSentinel = url.group("sentinel") != null;
        require(isSentinel ? !first.isEmpty() : nodes.size() == 1 && url.group("second") == null);
        primary = isSentinel ? first : null;
        String number = isSentinel ? second : first;
        require(number.matches("[0-9]{0," + DATABASE_DIGITS_MAX + "}"));
        database = number.isEmpty() ? 0 : Integer.parseInt(number);
        user = decoded(url.group("user"));
        password = decoded(url.group("password"));
        isTls = !url.group("tls").isEmpty();
    }

    private static void require(boolean isSo) {
        if (!isSo) {
            throw new IllegalArgumentException("not the URL of a Redis");
        }
    }

    /** Null where there is nothing. */
    private static @Nullable String decoded(@Nullable String text) {
        return text == null || text.isEmpty()
                ? null
                : URLDecoder.decode(text.replace("+", "%2B"), StandardCharsets.UTF_8);
    }

    /** Reads one of {@link #FORMS}, {@code rediss} for TLS; empty if it is none. */
    public static Optional<RedisUrl> parse(String text) {
        Matcher url = URL.matcher(text);
        if (!url.matches()) {
            return Optional.empty();
        }
        try {
            return Optional.of(new RedisUrl(url));
        } catch (IllegalArgumentException e) {
            return Optional.empty();
        }
    }

    /** The Redis, or the Sentinels. */
    Set<HostAndPort> nodes() {
        return Set.copyOf(nodes);
    }

    /** What the Sentinels call the Redis; null if there are none. */
    @Nullable String primary() {
        return primary;
    }

    @Nullable String user() {
        return user;
    }

    @Nullable String password() {
        return password;
    }

    int database() {
        return database;
    }

    boolean isTls() {
        return isTls;
    }

    /** Without the password. */
    @Override
    public String toString() {
        var hosts = new StringBuilder();
        nodes.forEach(node -> hosts.append(hosts.isEmpty() ? "" : ",").append(node));
        return primary == null ? hosts.toString() : primary + " of the Sentinels " + hosts;
    }

    @Override
    public boolean equals(@Nullable Object other) {
        return other instanceof RedisUrl that
                && nodes.equals(that.nodes)
                && Objects.equals(primary, that.primary)
                && Objects.equals(user, that.user)
                && Objects.equals(password, that.password)
                && database == that.database
                && isTls == that.isTls;
    }

    @Override
    public int hashCode() {
        return Objects.hash(nodes, primary, database);
    }
}
