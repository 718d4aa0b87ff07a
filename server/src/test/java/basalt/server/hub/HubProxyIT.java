package basalt.server.hub;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.Main;
import basalt.server.fixture.Pem;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLSocket;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Processes of their own: whom a proxy's password is told to is a setting of the virtual machine. */
class HubProxyIT {
    private static final String ASK = String.join(
            "\r\n",
            "HTTP/1.1 407 Proxy Authentication Required",
            "Proxy-Authenticate: Basic realm=\"office\"",
            "Content-Length: 0",
            "Connection: close",
            "",
            "");
    private static final String TUNNEL = "HTTP/1.1 200 Connection established\r\n\r\n";
    private static final String LOGIN =
            "Basic " + Base64.getEncoder().encodeToString("anna:s@fe".getBytes(StandardCharsets.UTF_8));
    private static final int PATIENCE_MS = 60_000;

    @TempDir
    private Path folder;

    private ServerSocket proxy;
    private Path log;

    @BeforeEach
    void listen() throws IOException {
        proxy = new ServerSocket(0, 10, InetAddress.getLoopbackAddress());
        proxy.setSoTimeout(PATIENCE_MS);
        log = folder.resolve("log");
    }

    @AfterEach
    void close() throws IOException {
        proxy.close();
    }

    private Process serve(String endpoint, String... options) throws IOException {
        var arguments = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-cp",
                System.getProperty("java.class.path"),
                "--add-modules",
                "jdk.incubator.vector"));
        arguments.addAll(List.of(options));
        arguments.addAll(List.of(Main.class.getName(), "serve", "--port", "0", "--model", "owner/name"));
        var command = new ProcessBuilder(arguments);
        command.environment().put("HF_HOME", folder.toString());
        command.environment().put("HF_ENDPOINT", endpoint);
        for (String name : List.of("https_proxy", "http_proxy", "no_proxy", "NO_PROXY")) {
            command.environment().remove(name);
        }
        String address = "http://anna:s%40fe@127.0.0.1:" + proxy.getLocalPort();
        command.environment().put("HTTPS_PROXY", address);
        command.environment().put("HTTP_PROXY", address);
        return command.redirectErrorStream(true).redirectOutput(log.toFile()).start();
    }

    /** Waits for the end, and returns what was said last. */
    private String failure(Process process) throws IOException, InterruptedException {
        assertTrue(process.waitFor(PATIENCE_MS, TimeUnit.MILLISECONDS));
        assertEquals(1, process.exitValue());
        String text = Files.readString(log);
        assertFalse(text.contains("s@fe") || text.contains("s%40fe") || text.contains(LOGIN), text);
        return text.lines().toList().getLast();
    }

    @Test
    void proxyThatAsksIsToldItsPasswordOnce() throws Exception {
        Process process = serve("https://hub.invalid");
        try {
            List<String> first = answered(ASK);
            List<String> second = answered(ASK);
            String line = failure(process);

            assertEquals("CONNECT hub.invalid:443 HTTP/1.1", first.getFirst());
            assertEquals(Optional.empty(), login(first));
            assertEquals(Optional.of(LOGIN), login(second));
            assertTrue(
                    line.contains(": the proxy 127.0.0.1:" + proxy.getLocalPort() + " refuses who asks (407)"), line);
        } finally {
            process.destroyForcibly().waitFor();
        }
    }

    /** It is not the proxy, although it says so. */
    @Test
    void hubBehindAProxyIsNotToldItsPassword() throws Exception {
        KeyStore keys = Pem.store(folder.resolve("hub.p12"), "hub.invalid");
        Process process = serve(
                "https://hub.invalid",
                "-Djavax.net.ssl.trustStore=" + folder.resolve("hub.p12"),
                "-Djavax.net.ssl.trustStorePassword=" + Pem.PASSWORD);
        try {
            answered(ASK);
            try (Socket client = proxy.accept()) {
                assertEquals(Optional.of(LOGIN), login(answered(client, TUNNEL)));
                try (SSLSocket hub = Pem.secured(client, keys)) {
                    List<String> request = answered(hub, ASK);

                    assertTrue(request.getFirst().startsWith("GET /api/models/owner/name"), request.toString());
                    assertEquals(Optional.empty(), login(request));
                }
            }
            String line = failure(process); // comes, so no other request did
            assertTrue(line.contains("(407)"), line);
        } finally {
            process.destroyForcibly().waitFor();
        }
    }

    @Test
    void proxyWithoutTlsIsToldThePasswordAtOnce() throws Exception {
        Process process = serve("http://hub.invalid");
        try {
            List<String> request = answered(ASK);
            String line = failure(process);

            assertEquals(
                    "GET http://hub.invalid/api/models/owner/name/revision/main?blobs=true HTTP/1.1",
                    request.getFirst());
            assertEquals(Optional.of(LOGIN), login(request));
            assertTrue(line.contains("refuses who asks (407)"), line);
        } finally {
            process.destroyForcibly().waitFor();
        }
    }

    @Test
    void proxyThatIsNotThereIsNamed() throws Exception {
        proxy.close();
        Process process = serve("https://hub.invalid");
        try {
            String line = failure(process);

            assertTrue(
                    line.contains(
                            "hub.invalid through the proxy 127.0.0.1:" + proxy.getLocalPort() + ": Connection refused"),
                    line);
        } finally {
            process.destroyForcibly().waitFor();
        }
    }

    private List<String> answered(String answer) throws IOException {
        try (Socket client = proxy.accept()) {
            return answered(client, answer);
        }
    }

    /** Reads a request, answers, and returns the request's head. */
    private static List<String> answered(Socket client, String answer) throws IOException {
        client.setSoTimeout(PATIENCE_MS);
        var in = new BufferedReader(new InputStreamReader(client.getInputStream(), StandardCharsets.ISO_8859_1), 1);
        var head = new ArrayList<String>();
        for (String line = in.readLine(); line != null && !line.isEmpty(); line = in.readLine()) {
            head.add(line);
        }
        client.getOutputStream().write(answer.getBytes(StandardCharsets.ISO_8859_1));
        return head;
    }

    private static Optional<String> login(List<String> head) {
        return head.stream()
                .filter(line -> line.toLowerCase(Locale.ROOT).startsWith("proxy-authorization: "))
                .map(line -> line.substring(line.indexOf(' ') + 1))
                .findFirst();
    }
}
