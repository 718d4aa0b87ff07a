package basalt.bench;

import basalt.engine.state.TokenHistory;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Queue;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.StreamSupport;

/** {@code basalt bench soak}: many sessions of a server that is killed in between. */
final class SoakBench {
    static final String USAGE = """
        basalt bench soak --server COMMAND: whether sessions outlive vanishing clients and kills of their server

        Starts a server and takes random turns of its sessions, greedily. From every fourth turn its client vanishes,
        and within turns the server is killed (SIGKILL) and started again. In the end each session must have
        the tokens of all turns that were answered, and go on as a prompt of all its tokens goes on; no slot may be
        busy. Exits with 1 where that is not so. On a GPU the server needs --deterministic. Such as

          basalt bench soak --directory /tmp/soak --server "./basalt serve --port 0 --slots 32 \\
              --sessions-dir /tmp/soak --sessions-memory-max 16MiB --sessions-disk-max 32MiB"

          --server COMMAND       starts a server; a shell runs it, and it must become the server's process
          --directory DIR        the server's --sessions-dir, in which no file of a session may be left
          --sessions N           (10000)
          --seconds N            of turns (60)
          --kills N              of the server, evenly in that time (2)
          --clients N            at a time (8)
        """;

    private static final Set<String> FLAGS = Set.of("server", "directory", "sessions", "seconds", "kills", "clients");
    private static final int PROMPT_TOKENS_MAX = 8;
    private static final int ANSWER_TOKENS_MAX = 12;
    private static final int CUT_TOKENS = 8; // of the turns during which the server is killed
    private static final int CONTINUED_TOKENS = 10;
    private static final int VANISHING = 4; // one in so many
    private static final int READ_BYTES_MAX = 1_500; // of a stream, before its client vanishes
    private static final int KILL_MILLIS_MAX = 50;
    private static final long FREE_NANOS = TimeUnit.SECONDS.toNanos(60);
    /** What a server keeps in its directory besides sessions. */
    private static final List<String> LASTING = List.of("lock", "secret");

    private final Flags flags;
    private final PrintStream out;
    private final String command;
    private final int clientCount;
    private final int killCount;
    private final int sessionCount;
    private final int seconds;
    private final List<SoakSession> sessions = new ArrayList<>();
    private final Queue<String> wrong = new ConcurrentLinkedQueue<>();
    private final AtomicInteger committed = new AtomicInteger();
    private final AtomicInteger vanished = new AtomicInteger();
    private SoakServer server;
    private Api api;
    private int vocabSize;

    SoakBench(String[] arguments, PrintStream out) throws IOException {
        flags = Flags.parse(arguments, FLAGS);
        this.out = out;
        command = flags.text("server")
                .orElseThrow(() -> new BenchException("--server is missing: the command that starts a server"));
        if (!flags.words().isEmpty()) {
            throw new BenchException("not a flag: " + flags.words().getFirst() + "; quote --server's command");
        }
        clientCount = flags.number("clients", 8, 1);
        killCount = flags.number("kills", 2, 0);
        sessionCount = flags.number("sessions", 10_000, 1);
        seconds = flags.number("seconds", 60, 1);
        server = SoakServer.start(command);
        api = new Api(server.uri());
    }

    /** Returns whether nothing was wrong. */
    boolean run() throws IOException {
        long began = System.nanoTime();
        try {
            vocabSize = api.vocabSize();
            create();
            int parts = Math.max(1, killCount);
            long nanos = TimeUnit.SECONDS.toNanos(seconds) / parts;
            for (int part = 0; part < parts; part++) {
                turns(part, nanos);
                if (killCount > 0) {
                    kill(part);
                    settle();
                }
            }
            int continued = check();
            report(continued, (System.nanoTime() - began) / 1e9);
        } finally {
            server.close();
        }
        return wrong.isEmpty();
    }

    private void create() throws IOException {
        for (int i = 0; i < sessionCount; i++) {
            sessions.add(new SoakSession(
                    api.json("POST", "/v1/sessions", "{}").path("id").asText()));
        }
    }

    private interface Work {
        void run(int client);
    }

    /** Lets each client do its work, and waits for all. */
    private void together(Work work) throws IOException {
        var runs = new ArrayList<Future<?>>();
        try (var clients = Executors.newVirtualThreadPerTaskExecutor()) {
            for (int i = 0; i < clientCount; i++) {
                int client = i;
                runs.add(clients.submit(() -> work.run(client)));
            }
        }
        for (var run : runs) {
            try {
                run.get();
            } catch (ExecutionException | InterruptedException e) {
                throw new IOException(e);
            }
        }
    }

    private void turns(int part, long nanos) throws IOException {
        long end = System.nanoTime() + nanos;
        together(client -> {
            var random = new Random(31L * part + client);
            boolean goesOn = true;
            for (int n = 0; goesOn && (System.nanoTime() < end || n < VANISHING); n++) {
                var session = sessions.get(random.nextInt(sessions.size()));
                if (session.lock.tryLock()) {
                    try {
                        boolean vanishes = n % VANISHING == 1;
                        goesOn = attempt(session, () -> {
                            if (vanishes) {
                                vanish(session, random);
                            } else {
                                turn(session, random);
                            }
                        });
                    } finally {
                        session.lock.unlock();
                    }
                }
            }
        });
    }

    private interface Attempt {
        void run() throws IOException;
    }

    /** Returns whether the server did what it was asked for; if not, that is wrong. */
    private boolean attempt(SoakSession session, Attempt attempt) {
        try {
            attempt.run();
            return true;
        } catch (IOException e) {
            wrong.add(session.id + ": " + e.getMessage());
            return false;
        }
    }

    private int[] prompt(Random random) {
        return random.ints(1 + random.nextInt(PROMPT_TOKENS_MAX), 0, vocabSize).toArray();
    }

    private static String request(String start, int maxTokens) {
        return "{" + start + ",\"max_tokens\":" + maxTokens
                + ",\"temperature\":0,\"ignore_eos\":true,\"return_token_ids\":true}";
    }

    private static String request(SoakSession session, int[] prompt, int maxTokens) {
        String turn = "\"session\":\"" + session.id + "\",\"session_wait\":60,\"prompt\":" + Arrays.toString(prompt);
        return request(turn, maxTokens);
    }

    private int[] answer(String body) throws IOException {
        JsonNode ids = api.json("POST", "/v1/completions", body)
                .path("choices")
                .path(0)
                .path("token_ids");
        return StreamSupport.stream(ids.spliterator(), false)
                .mapToInt(JsonNode::asInt)
                .toArray();
    }

    /** What a request answers that has all tokens in its prompt. */
    private int[] alone(int[] tokens, int maxTokens) throws IOException {
        return answer(request("\"prompt\":" + Arrays.toString(tokens), maxTokens));
    }

    private void turn(SoakSession session, Random random) throws IOException {
        int[] prompt = prompt(random);
        int count = 1 + random.nextInt(ANSWER_TOKENS_MAX);
        int[] answer = answer(request(session, prompt, count));
        if (answer.length != count) {
            wrong.add(session.id + ": " + answer.length + " tokens instead of " + count);
        }
        session.append(prompt);
        session.append(answer);
        committed.incrementAndGet();
    }

    /** A turn whose client goes before its end, so that it is no part of the session. */
    private void vanish(SoakSession session, Random random) throws IOException {
        String body =
                request(session, prompt(random), 1_000_000).replace("{\"session\"", "{\"stream\":true,\"session\"");
        try (var socket = api.open("POST", "/v1/completions", body.getBytes(StandardCharsets.UTF_8))) {
            socket.getInputStream().readNBytes(random.nextInt(READ_BYTES_MAX));
        }
        vanished.incrementAndGet();
    }

    /** Kills the server while each client takes one more turn, and starts another. */
    private void kill(int part) throws IOException {
        var random = new Random(part);
        var began = new ArrayList<Thread>();
        for (var session : sessions.subList(0, Math.min(clientCount, sessions.size()))) {
            session.cut(prompt(random));
            String body = request(session, session.unsure(), CUT_TOKENS);
            began.add(Thread.ofVirtual().start(() -> {
                try {
                    answer(body);
                } catch (IOException e) {
                    return; // as expected: the server is gone
                }
            }));
        }
        try {
            Thread.sleep(random.nextInt(KILL_MILLIS_MAX));
            server.close();
            for (var turn : began) {
                turn.join();
            }
        } catch (InterruptedException e) {
            throw new IOException(e);
        }
        server = SoakServer.start(command);
        api = new Api(server.uri());
    }

    /** Finds out whether the turns that the kill interrupted were committed, and that nothing else was lost. */
    private void settle() throws IOException {
        together(client -> {
            for (int i = client; i < sessions.size(); i += clientCount) {
                var session = sessions.get(i);
                attempt(session, () -> settle(session));
            }
        });
    }

    private void settle(SoakSession session) throws IOException {
        int count =
                api.json("GET", "/v1/sessions/" + session.id, "").path("tokens").asInt();
        if (session.unsure().length > 0 && count > session.tokens().length) {
            session.append(session.unsure());
            session.append(alone(session.tokens(), CUT_TOKENS));
            committed.incrementAndGet();
        }
        session.settled();
        if (count != session.tokens().length) {
            wrong.add(session.id + ": " + count + " tokens after a kill instead of " + session.tokens().length);
        }
    }

    /** Compares and deletes all sessions; returns how many went on. */
    private int check() throws IOException {
        var continued = new AtomicInteger();
        together(client -> {
            for (int i = client; i < sessions.size(); i += clientCount) {
                var session = sessions.get(i);
                attempt(session, () -> {
                    if (check(session)) {
                        continued.incrementAndGet();
                    }
                    api.json("DELETE", "/v1/sessions/" + session.id, "");
                });
            }
        });
        awaitFree();
        if (flags.text("directory").isPresent()) {
            checkFiles(Path.of(flags.text("directory").orElseThrow()));
        }
        return continued.get();
    }

    /** Returns whether there was something to go on from. */
    private boolean check(SoakSession session) throws IOException {
        int[] tokens = session.tokens();
        String digest =
                api.json("GET", "/v1/sessions/" + session.id, "").path("digest").asText();
        if (!digest.equals(TokenHistory.EMPTY.append(tokens).digestText())) {
            wrong.add(session.id + ": other tokens than those of its turns");
        }
        if (tokens.length == 0) {
            return false;
        }
        int[] next = answer(request("\"session\":\"" + session.id + "\"", CONTINUED_TOKENS));
        int[] expected = alone(tokens, CONTINUED_TOKENS);
        if (!Arrays.equals(next, expected)) {
            wrong.add(session.id + ": goes on with " + Arrays.toString(next) + " instead of "
                    + Arrays.toString(expected));
        }
        return true;
    }

    private void awaitFree() {
        long end = System.nanoTime() + FREE_NANOS;
        while (ServerMetrics.value(server.uri(), ServerMetrics.SLOTS_BUSY) > 0) {
            if (System.nanoTime() > end) {
                wrong.add("slots are busy though no request is left");
                return;
            }
            try {
                Thread.sleep(100);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return;
            }
        }
    }

    private void checkFiles(Path directory) throws IOException {
        try (var files = Files.list(directory)) {
            files.map(path -> path.getFileName().toString())
                    .filter(name -> !LASTING.contains(name))
                    .forEach(name -> wrong.add("left behind: " + name));
        }
    }

    private void report(int continued, double taken) {
        wrong.stream().limit(20).forEach(line -> out.println("wrong: " + line));
        out.printf(
                Locale.ROOT,
                "%,d sessions, %,d turns committed, %,d clients vanished, %d kills: %,d went on, %d wrong; %.0f s%n",
                sessions.size(),
                committed.get(),
                vanished.get(),
                killCount,
                continued,
                wrong.size(),
                taken);
    }
}
