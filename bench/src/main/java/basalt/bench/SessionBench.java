package basalt.bench;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.Set;

/** {@code basalt bench sessions URL}: what a known past saves, by a running server. */
final class SessionBench {
    static final String USAGE = """
        basalt bench sessions URL: time to the first token where the past of a prompt is known

        Resumes sessions of different lengths, turn by turn, against reading a prompt; prompts that begin with a
        known one; one long beginning with many tails; forks of a session and of a turn that runs. Best against a
        server that does nothing else. With --sessions-memory-max 0B each turn of the server begins in its archive.

          --lengths N,..         tokens of the sessions (100,100000)
          --turns N              of each of them (30)
          --prefix N             tokens of the beginning that prompts share (2000)
          --tails N              prompts that share it (100)
          --forks N              of one session (16)
        """;

    private static final Set<String> FLAGS = Set.of("lengths", "turns", "prefix", "tails", "forks");
    private static final int[] LENGTHS = {100, 100_000};
    private static final int TAIL_TOKENS = 20;
    private static final int RUNNING_TOKENS = 100_000;

    private final Flags flags;
    private final PrintStream out;
    private final Api api;
    private final Random random = new Random(1);
    private final int vocabSize;
    private int salt;

    SessionBench(String[] arguments, PrintStream out) throws IOException {
        flags = Flags.parse(arguments, FLAGS);
        this.out = out;
        api = new Api(ServeBench.server(flags));
        vocabSize = api.vocabSize();
    }

    void run() throws IOException {
        double read = readPrompt(flags.number("prefix", 2_000, 1));
        out.printf(Locale.ROOT, "reading %d tokens: %.1f ms%n", flags.number("prefix", 2_000, 1), read);
        out.printf(Locale.ROOT, "%n%10s %8s %10s %10s %8s%n", "session", "turns", "p50 ms", "p90 ms", "tier");
        for (int length : flags.numbers("lengths", LENGTHS, 1)) {
            resume(length);
        }
        prefixes(flags.number("prefix", 2_000, 512));
        tails(flags.number("prefix", 2_000, 512), flags.number("tails", 100, 1));
        forks(flags.number("forks", 16, 1));
    }

    private int[] tokens(int count) {
        return random.ints(count, 0, vocabSize).toArray();
    }

    private static String request(String field, int[] prompt) {
        return "{" + field + "\"prompt\":" + Arrays.toString(prompt)
                + ",\"max_tokens\":1,\"temperature\":0,\"ignore_eos\":true}";
    }

    private String salted() {
        return "\"cache_salt\":\"" + salt++ + "\",";
    }

    /** Milliseconds to the first token of a prompt that nothing is known of. */
    private double readPrompt(int count) throws IOException {
        var millis = new ArrayList<Double>();
        for (int i = 0; i < 5; i++) {
            long began = System.nanoTime();
            api.json("POST", "/v1/completions", request(salted(), tokens(count)));
            millis.add((System.nanoTime() - began) / 1e6);
        }
        return quantile(millis, 0.5);
    }

    private void resume(int length) throws IOException {
        String id = create(length);
        var millis = new ArrayList<Double>();
        String tier = "";
        for (int turn = 0; turn < flags.number("turns", 30, 1); turn++) {
            tier = api.json("GET", "/v1/sessions/" + id, "").path("tier").asText();
            long began = System.nanoTime();
            api.json("POST", "/v1/completions", request("\"session\":\"" + id + "\",", tokens(1)));
            millis.add((System.nanoTime() - began) / 1e6);
        }
        out.printf(
                Locale.ROOT,
                "%10d %8d %10.2f %10.2f %8s%n",
                length,
                millis.size(),
                quantile(millis, 0.5),
                quantile(millis, 0.9),
                tier);
        api.json("DELETE", "/v1/sessions/" + id, "");
    }

    private String create(int length) throws IOException {
        return api.json("POST", "/v1/sessions", "{\"prompt\":" + Arrays.toString(tokens(length)) + "}")
                .path("id")
                .asText();
    }

    /** Prompts of one length that have more and more in common with a known one. */
    private void prefixes(int length) throws IOException {
        out.printf(Locale.ROOT, "%n%10s %10s %10s   prompts of %d tokens%n", "shared", "cached", "p50 ms", length);
        for (int eighths = 0; eighths <= 8; eighths += 2) {
            int shared = Math.min(length - 1, length * eighths / 8);
            var millis = new ArrayList<Double>();
            int cached = 0;
            for (int i = 0; i < 5; i++) {
                String field = salted();
                int[] known = tokens(length);
                api.json("POST", "/v1/completions", request(field, known));
                int[] prompt = tokens(length);
                System.arraycopy(known, 0, prompt, 0, shared);
                long began = System.nanoTime();
                var answer = api.json("POST", "/v1/completions", request(field, prompt));
                millis.add((System.nanoTime() - began) / 1e6);
                cached = cached(answer);
            }
            out.printf(Locale.ROOT, "%10d %10d %10.2f%n", shared, cached, quantile(millis, 0.5));
        }
    }

    private static int cached(JsonNode answer) {
        return answer.path("usage")
                .path("prompt_tokens_details")
                .path("cached_tokens")
                .asInt();
    }

    private void tails(int length, int count) throws IOException {
        String field = salted();
        int[] head = tokens(length);
        var millis = new ArrayList<Double>();
        long readTokens = 0;
        for (int i = 0; i < count; i++) {
            int[] prompt = Arrays.copyOf(head, length + TAIL_TOKENS);
            System.arraycopy(tokens(TAIL_TOKENS), 0, prompt, length, TAIL_TOKENS);
            long began = System.nanoTime();
            var answer = api.json("POST", "/v1/completions", request(field, prompt));
            millis.add((System.nanoTime() - began) / 1e6);
            readTokens += prompt.length - cached(answer);
        }
        out.printf(
                Locale.ROOT,
                "%n%d prompts of %d + %d tokens: %,d of %,d tokens read, first %.1f ms, second %.1f, p50 %.2f%n",
                count,
                length,
                TAIL_TOKENS,
                readTokens,
                (long) count * (length + TAIL_TOKENS),
                millis.get(0),
                millis.get(Math.min(1, count - 1)),
                quantile(millis, 0.5));
    }

    private void forks(int count) throws IOException {
        String id = create(1_000);
        out.printf(Locale.ROOT, "%n%d forks of a session that rests: %.2f ms%n", count, fork(id, count));
        String body = request("\"session\":\"" + id + "\",\"stream\":true,", tokens(1))
                .replace("\"max_tokens\":1,", "\"max_tokens\":" + RUNNING_TOKENS + ",");
        try (var socket = api.open("POST", "/v1/completions", body.getBytes(StandardCharsets.UTF_8))) {
            socket.getInputStream().readNBytes(2_000); // some tokens
            out.printf(Locale.ROOT, "%d forks of a turn that runs: %.2f ms%n", count, fork(id, count));
        }
    }

    private double fork(String id, int count) throws IOException {
        long began = System.nanoTime();
        var made = api.json("POST", "/v1/sessions/" + id + "/fork", "{\"count\":" + count + "}");
        double millis = (System.nanoTime() - began) / 1e6;
        for (JsonNode session : made.path("data")) {
            api.json("DELETE", "/v1/sessions/" + session.path("id").asText(), "");
        }
        return millis;
    }

    private static double quantile(List<Double> values, double share) {
        var sorted = values.stream().sorted().toList();
        return sorted.get((int) Math.min(sorted.size() - 1L, Math.round(share * (sorted.size() - 1))));
    }
}
