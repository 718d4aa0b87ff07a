package basalt.server.hub;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.Main;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A process of its own: whether a proxy is told a password before TLS is a setting of the virtual machine. */
class HubProxyIT {
    private static final String ASK = String.join(
            "\r\n",
            "HTTP/1.1 407 Proxy Authentication Required",
            "Proxy-Authenticate: Basic realm=\"office\"",
            "Content-Length: 0",
            "Connection: close",
            "",
            "");
    private static final int PATIENCE_MS = 60_000;

    @TempDir
    private Path folder;

    @Test
    void proxyOfTheEnvironmentIsToldItsPassword() throws Exception {
        Path log = folder.resolve("log");
        try (var proxy = new ServerSocket(0, 10, InetAddress.getLoopbackAddress())) {
            proxy.setSoTimeout(PATIENCE_MS);
            var command = new ProcessBuilder(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                    "-cp",
                    System.getProperty("java.class.path"),
                    "--add-modules",
                    "jdk.incubator.vector",
                    Main.class.getName(),
                    "serve",
                    "--port",
                    "0",
                    "--model",
                    "owner/name");
            command.environment().put("HF_HOME", folder.toString());
            command.environment().put("HF_ENDPOINT", "https://hub.invalid");
            command.environment().put("HTTPS_PROXY", "http://anna:s%40fe@127.0.0.1:" + proxy.getLocalPort());
            command.environment().remove("NO_PROXY");
            command.environment().remove("no_proxy");
            Process process = command.redirectErrorStream(true)
                    .redirectOutput(log.toFile())
                    .start();
            try {
                List<String> first = answered(proxy);
                List<String> second = answered(proxy);

                assertEquals("CONNECT hub.invalid:443 HTTP/1.1", first.getFirst());
                assertFalse(
                        first.stream()
                                .anyMatch(line -> line.toLowerCase(Locale.ROOT).startsWith("proxy-auth")),
                        first.toString());
                String login = Base64.getEncoder().encodeToString("anna:s@fe".getBytes(StandardCharsets.UTF_8));
                assertTrue(
                        second.stream().anyMatch(("Proxy-Authorization: Basic " + login)::equalsIgnoreCase),
                        second.toString());
            } finally {
                process.destroyForcibly().waitFor();
            }
        }
        assertFalse(Files.readString(log).contains("s@fe"));
        assertFalse(Files.readString(log).contains("s%40fe"));
    }

    /** Asks whoever comes for a password, and returns the head of the request. */
    private static List<String> answered(ServerSocket proxy) throws IOException {
        try (Socket client = proxy.accept();
                var in = new BufferedReader(
                        new InputStreamReader(client.getInputStream(), StandardCharsets.ISO_8859_1))) {
            var head = new ArrayList<String>();
            for (String line = in.readLine(); line != null && !line.isEmpty(); line = in.readLine()) {
                head.add(line);
            }
            client.getOutputStream().write(ASK.getBytes(StandardCharsets.ISO_8859_1));
            return head;
        }
    }
}
