package basalt.bench;

import io.helidon.common.socket.SocketOptions;
import io.helidon.http.HeaderNames;
import io.helidon.webserver.WebServer;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/**
 * {@code basalt bench bare URL}: what streams cost without anything that makes them. A handler of Helidon's writes the
 * events of one real answer again and again, one at a time, with the socket options of the real server.
 */
final class BareServer {
    static final String USAGE = """
            basalt bench bare URL: a server that only writes the events of one answer of another server, for ever

              --port N               port to listen on (8090)
              --step-micros N        pause between two events of a stream; 0 writes as fast as it can (0)
            """;

    private static final Set<String> FLAGS = Set.of("port", "step-micros");
    private static final int SEND_BUFFER_BYTES = 64 * 1024; // as the real server
    private static final int RECORDED_TOKENS = 64;

    private final int port;
    private final long stepNanos;
    private final PrintStream out;
    private final List<byte[]> events;

    BareServer(String[] arguments, PrintStream out) {
        var flags = Flags.parse(arguments, FLAGS);
        port = flags.number("port", 8_090, 0);
        stepNanos = TimeUnit.MICROSECONDS.toNanos(flags.number("step-micros", 0, 0));
        this.out = out;
        events = record(ServeBench.server(flags));
    }

    /** The events of an answer, of one token each unless that server is faster than its streams. */
    private static List<byte[]> record(URI server) {
        var events = new ArrayList<byte[]>();
        byte[] body = StreamsBench.body(ServeBench.modelName(server), 0, RECORDED_TOKENS);
        try (var socket = new Socket(server.getHost(), server.getPort())) {
            socket.getOutputStream().write(Completion.request(server, body));
            var response = new HttpResponse(socket.getInputStream());
            while (response.nextLine()) {
                var line = response.lineText();
                if (line.startsWith("data: {") && line.contains("\"finish_reason\":null")) {
                    events.add((line + "\n\n").getBytes(StandardCharsets.UTF_8));
                }
            }
        } catch (IOException e) {
            throw new BenchException("cannot reach " + server + ": " + e.getMessage(), e);
        }
        return events;
    }

    /** Serves until the process is ended. */
    void run() {
        var server = WebServer.builder()
                .host("127.0.0.1")
                .port(port)
                .writeBufferSize(0)
                .maxTcpConnections(-1)
                .connectionOptions(SocketOptions.builder()
                        .tcpNoDelay(true)
                        .socketSendBufferSize(SEND_BUFFER_BYTES)
                        .build())
                .routing(routing -> routing.post("/v1/completions", this::stream)
                        .get("/v1/models", (request, response) -> response.send("{\"data\":[{\"id\":\"bare\"}]}")))
                .build()
                .start();
        out.println("Serving " + events.size() + " events on http://127.0.0.1:" + server.port());
        out.flush();
        try {
            new CountDownLatch(1).await();
        } catch (InterruptedException e) {
            server.stop();
        }
    }

    private void stream(ServerRequest request, ServerResponse response) throws IOException {
        request.content().inputStream().readAllBytes();
        response.header(HeaderNames.CONTENT_TYPE, "text/event-stream; charset=utf-8");
        try (OutputStream stream = response.outputStream()) {
            long due = System.nanoTime();
            for (int i = 0; ; i = (i + 1) % events.size()) {
                stream.write(events.get(i));
                stream.flush();
                due += stepNanos;
                for (long left = due - System.nanoTime(); stepNanos > 0 && left > 0; left = due - System.nanoTime()) {
                    LockSupport.parkNanos(left);
                }
            }
        }
    }
}
