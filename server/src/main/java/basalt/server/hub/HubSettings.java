package basalt.server.hub;

import java.io.IOException;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * Where models come from and where they are kept.
 *
 * @param endpoint address of the hub, without a slash at its end
 * @param cache directory of all models
 * @param token shown to the endpoint alone, not to where it redirects
 * @param isOffline whether only the cache is used
 * @param proxies between here and the endpoint, and where it redirects
 */
public record HubSettings(URI endpoint, Path cache, Optional<String> token, boolean isOffline, HubProxies proxies) {
    private static final String ENDPOINT = "https://huggingface.co";
    private static final int PORT_MAX = 65_535;
    private static final Pattern TOKEN = Pattern.compile("[A-Za-z0-9._~+/=-]*");

    /**
     * The settings that the hub's other tools take from the environment: {@code HF_ENDPOINT}, {@code HF_HUB_CACHE},
     * {@code HF_HOME}, {@code XDG_CACHE_HOME}, {@code HF_TOKEN}, {@code HF_TOKEN_PATH}, {@code HF_HUB_OFFLINE}, and
     * those of {@link HubProxies#of}.
     *
     * @param endpoint stronger than the environment; may be empty
     * @param cache stronger than the environment; may be empty
     * @param isOffline so does the environment ask
     * @throws HubException if the endpoint is no plain http or https address, or the token cannot be read or sent
     */
    public static HubSettings of(Map<String, String> environment, String endpoint, String cache, boolean isOffline) {
        Path home = home(environment);
        String address = first(endpoint, environment.getOrDefault("HF_ENDPOINT", ""), ENDPOINT);
        String directory = first(
                cache,
                environment.getOrDefault("HF_HUB_CACHE", ""),
                home.resolve("hub").toString());
        return new HubSettings(
                address(address),
                path(directory),
                token(environment, home),
                isOffline || isOn(environment.getOrDefault("HF_HUB_OFFLINE", "")),
                HubProxies.of(environment));
    }

    private static Path home(Map<String, String> environment) {
        String home = environment.getOrDefault("HF_HOME", "");
        if (!home.isEmpty()) {
            return path(home);
        }
        String caches = environment.getOrDefault("XDG_CACHE_HOME", "");
        return path(caches.isEmpty() ? "~/.cache" : caches).resolve("huggingface");
    }

    /** With {@code ~} as the user's home, which files of environment variables leave to whoever reads them. */
    private static Path path(String text) {
        if (text.equals("~") || text.startsWith("~/")) {
            return Path.of(System.getProperty("user.home"), text.substring(1));
        }
        return Path.of(text);
    }

    private static URI address(String text) {
        try {
            var address = new URI(text.replaceFirst("/+$", ""));
            boolean isPlain = address.getRawQuery() == null
                    && address.getRawFragment() == null
                    && address.getRawUserInfo() == null;
            if (isPlain && isWeb(address)) {
                return address;
            }
        } catch (URISyntaxException e) {
            // Said below.
        }
        throw new HubException("the hub's address \"" + text + "\" must be like " + ENDPOINT);
    }

    /** Whether an address can be asked by http or https. */
    static boolean isWeb(URI address) {
        return ("http".equals(address.getScheme()) || "https".equals(address.getScheme()))
                && address.getHost() != null
                && address.getPort() <= PORT_MAX;
    }

    private static Optional<String> token(Map<String, String> environment, Path home) {
        String token = environment.getOrDefault("HF_TOKEN", "").strip();
        String file = environment.getOrDefault("HF_TOKEN_PATH", "");
        Path path = file.isEmpty() ? home.resolve("token") : path(file);
        if (token.isEmpty()) {
            try {
                token = Files.readString(path, StandardCharsets.ISO_8859_1).strip();
            } catch (IOException e) {
                if (!file.isEmpty()) {
                    throw new HubException("the hub's token cannot be read from " + path
                            + ", which HF_TOKEN_PATH names: unset it, or set HF_TOKEN");
                }
                return Optional.empty(); // most users have none
            }
        }
        if (!TOKEN.matcher(token).matches()) {
            throw new HubException("the hub's token (HF_TOKEN, HF_TOKEN_PATH or " + path
                    + ") has a character that no token has: is it one line, without quotes around it?");
        }
        return token.isEmpty() ? Optional.empty() : Optional.of(token);
    }

    private static boolean isOn(String text) {
        return switch (text.toLowerCase(Locale.ROOT)) {
            case "1", "on", "yes", "true" -> true;
            default -> false;
        };
    }

    private static String first(String... texts) {
        for (String text : texts) {
            if (!text.isEmpty()) {
                return text;
            }
        }
        throw new IllegalArgumentException("all are empty");
    }
}
