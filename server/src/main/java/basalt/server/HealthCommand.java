package basalt.server;

import java.io.IOException;
import java.io.PrintStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.util.List;
import java.util.Map;

/** {@code basalt health}: whether the server of this machine and configuration is ready, for container engines. */
final class HealthCommand {
    private static final int TIMEOUT_MILLIS = 3_000;

    private HealthCommand() {}

    /** Asks it and returns the exit code. */
    static int run(List<String> args, Map<String, String> environment, PrintStream out) {
        var sources = new ConfigSources(ConfigKeys.KEYS, args, environment);
        long opsPort = sources.get(ConfigKeys.OPS_PORT);
        long port = opsPort > 0 ? opsPort : sources.get(ConfigKeys.PORT);
        try {
            var uri = URI.create("http://" + host(sources.get(ConfigKeys.HOST)) + ":" + port + "/health/ready");
            var connection = (HttpURLConnection) uri.toURL().openConnection();
            connection.setConnectTimeout(TIMEOUT_MILLIS);
            connection.setReadTimeout(TIMEOUT_MILLIS);
            int status = connection.getResponseCode();
            out.println(uri + " answers " + status);
            return status == HttpURLConnection.HTTP_OK ? 0 : 1;
        } catch (IOException e) {
            out.println("port " + port + " cannot be reached: " + e.getMessage());
            return 1;
        }
    }

    /** The address to ask a server at that listens on another. */
    private static String host(String host) {
        if (host.equals("0.0.0.0") || host.equals("::")) {
            return "127.0.0.1";
        }
        return host.contains(":") ? "[" + host + "]" : host;
    }
}
