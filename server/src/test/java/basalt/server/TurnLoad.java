package basalt.server;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;

/**
 * Clients that stream turns, each of a session of its own, until they are stopped. A turn that was refused, or whose
 * connection ended before its answer began, is sent again; the session's count shows that it was not committed twice.
 */
final class TurnLoad {
    private final int maxTokens;
    private final int attemptsMax;
    private final Way way;
    private final List<Client> clients = new ArrayList<>();
    private final AtomicInteger committed = new AtomicInteger();
    private final AtomicInteger refused = new AtomicInteger();
    private final ConcurrentLinkedQueue<String> lost = new ConcurrentLinkedQueue<>();
    private volatile boolean isOver;

    /** Where a client sends a turn. */
    interface Way {
        /** The port for an attempt at a turn, of which the second comes after a refusal, which has begun nothing. */
        int port(int turn, int attempt);
    }

    private record Client(String id, List<String> texts, Thread thread) {}

    private TurnLoad(int maxTokens, int attemptsMax, Way way) {
        this.maxTokens = maxTokens;
        this.attemptsMax = attemptsMax;
        this.way = way;
    }

    /** Starts a client for each session. */
    static TurnLoad start(List<String> ids, int maxTokens, int attemptsMax, Way way) {
        var load = new TurnLoad(maxTokens, attemptsMax, way);
        for (int i = 0; i < ids.size(); i++) {
            String id = ids.get(i);
            int first = i;
            var texts = new CopyOnWriteArrayList<String>();
            var thread = Thread.ofPlatform().unstarted(() -> load.run(id, first, texts));
            load.clients.add(new Client(id, texts, thread));
        }
        load.clients.forEach(client -> client.thread().start());
        return load;
    }

    private void run(String id, int first, List<String> texts) {
        while (!isOver && lost.isEmpty()) {
            commit(id, first + texts.size(), texts);
        }
    }

    /** A turn, with its number as the seed. */
    static String body(String id, int turn, int maxTokens) {
        return "{\"session\":\"" + id + "\",\"prompt\":\" a\",\"max_tokens\":" + maxTokens
                + ",\"temperature\":0.8,\"seed\":" + turn + ",\"ignore_eos\":true}";
    }

    private void commit(String id, int turn, List<String> texts) {
        String request = TestServer.wire(body(id, turn, maxTokens).replaceFirst("\\{", "{\"stream\":true,"))
                .replaceFirst("\r\n", "\r\nX-Session-Id: " + id + "\r\n");
        for (int attempt = 0; attempt < attemptsMax; attempt++) {
            try (var socket = new Socket(InetAddress.getLoopbackAddress(), way.port(turn, attempt))) {
                var in = new BufferedInputStream(socket.getInputStream());
                if (isTaken(socket, request, in)) {
                    WireAnswer answer = WireAnswer.read(in).orElseThrow();
                    if (answer.status() != 503) {
                        take(answer, texts);
                        return;
                    }
                }
                refused.incrementAndGet();
            } catch (ConnectException e) {
                refused.incrementAndGet();
            } catch (IOException e) {
                lost.add(e.toString());
                return;
            }
        }
        lost.add("nobody takes a turn");
    }

    /** Whether an answer begins. A server that ends resets connections that it has not looked at yet. */
    private static boolean isTaken(Socket socket, String request, BufferedInputStream in) {
        try {
            socket.getOutputStream().write(request.getBytes(StandardCharsets.UTF_8));
            in.mark(1);
            boolean isTaken = in.read() >= 0;
            in.reset();
            return isTaken;
        } catch (IOException e) {
            return false;
        }
    }

    private void take(WireAnswer answer, List<String> texts) {
        boolean isWhole = answer.status() == 200
                && answer.body().contains("\"finish_reason\":\"length\"")
                && answer.body().endsWith("data: [DONE]\n\n");
        if (isWhole) {
            texts.add(text(answer.body()));
            committed.incrementAndGet();
        } else {
            lost.add(answer.toString());
        }
    }

    /** The text of a stream. */
    static String text(String stream) {
        var text = new StringBuilder();
        stream.lines()
                .filter(line -> line.startsWith("data: {"))
                .forEach(line -> text.append(TestServer.parse(line.substring("data: ".length()))
                        .path("choices")
                        .path(0)
                        .path("text")
                        .asText()));
        return text.toString();
    }

    /** Waits until each client has two turns more, the second of which it has begun since. */
    void awaitMore() {
        int[] before =
                clients.stream().mapToInt(client -> client.texts().size()).toArray();
        TestServer.await(
                "more turns",
                () -> !lost.isEmpty()
                        || IntStream.range(0, before.length)
                                .allMatch(i -> clients.get(i).texts().size() >= before[i] + 2));
    }

    /** Lets each client end the turn that it is at. Returns what was lost: nothing, if all went well. */
    List<String> stop() throws InterruptedException {
        isOver = true;
        for (Client client : clients) {
            client.thread().join();
        }
        return List.copyOf(lost);
    }

    /** What a client's turns answered; those of client i begin with seed i. */
    List<String> texts(int client) {
        return clients.get(client).texts();
    }

    @Override
    public String toString() {
        return committed + " turns were committed, refusals: " + refused;
    }
}
