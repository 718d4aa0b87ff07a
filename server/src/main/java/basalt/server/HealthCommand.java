package basalt.server;

import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.List;
import java.util.Map;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;

/** {@code basalt health}: whether the server of this machine and configuration is ready, for container engines. */
final class HealthCommand {
    private static final int TIMEOUT_MILLIS = 3_000;

    private HealthCommand() {}

    /**
     * Asks it and returns the exit code.
     *
     * @throws StartException if the configuration cannot be read, or the certificate in it
     */
    static int run(List<String> args, Map<String, String> environment, PrintStream out) {
        if (args.contains("--help")) {
            out.println("Usage: basalt health [OPTIONS]\n\nAsks the server of this machine and configuration whether it"
                    + " is ready, and exits with 0 if so.\nOptions are those of basalt serve.");
            return 0;
        }
        var sources = new ConfigSources(ConfigKeys.KEYS, args, environment);
        long opsPort = sources.get(ConfigKeys.OPS_PORT);
        long port = opsPort > 0 ? opsPort : sources.get(ConfigKeys.PORT);
        String certificate = opsPort > 0 ? "" : sources.get(ConfigKeys.TLS_CERTIFICATE); // the ops port is in the clear
        String scheme = certificate.isEmpty() ? "http" : "https";
        try {
            var uri = URI.create(scheme + "://" + host(sources.get(ConfigKeys.HOST)) + ":" + port + "/health/ready");
            var connection = (HttpURLConnection) uri.toURL().openConnection();
            if (connection instanceof HttpsURLConnection secure) {
                secure.setSSLSocketFactory(trusting(Path.of(certificate)));
                // The certificate is for the names by which clients call the server, not for this machine's address.
                secure.setHostnameVerifier((name, session) -> true);
            }
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

    /** Trusts one certificate alone, the first of a file: whoever shows it is the server. */
    private static SSLSocketFactory trusting(Path file) {
        try (InputStream in = Files.newInputStream(file)) {
            KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            store.setCertificateEntry(
                    "server", CertificateFactory.getInstance("X.509").generateCertificate(in));
            var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(store);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, trust.getTrustManagers(), null);
            return context.getSocketFactory();
        } catch (IOException | GeneralSecurityException e) {
            throw new StartException("tls-certificate " + file + " cannot be read, or holds no certificate", e);
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
