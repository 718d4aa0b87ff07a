package basalt.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** {@code basalt bench recall URL}: numbers looked up in directories that stand in the prompt, by a running server. */
final class RecallBench {
    static final String USAGE = """
            basalt bench recall URL: share of numbers that a running server finds again in its prompt

            A prompt is a directory of random names and numbers and a question about one of them, asked greedily. An
            answer is right when its line is the number and nothing else.

              --pairs N,..           names in a directory (8,16,32,64,128)
              --questions N          for each of them (200)
              --sentences N          sentences between the directory and the question (0)
              --way prompt|move|fork how a question reaches its directory: in one prompt; as a turn of a session that
                                     read the directory, was saved, loaded by the server --to and resumed there; or as
                                     a turn in each of 16 forks, each with a question of its own (prompt)
              --to URL               another server of the same model, with the same --state-secret
              --streams N            questions at a time (4)
              --seed N               other directories (1)
              --at-least P,..        exits with 1 where a share is lower: one in [0, 1] for each of --pairs
              --json FILE            also writes the figures there
            """;

    private static final Set<String> FLAGS =
            Set.of("pairs", "questions", "sentences", "way", "to", "streams", "seed", "at-least", "json");
    private static final int[] PAIRS = {8, 16, 32, 64, 128};
    /** Enough for a number whose digits are tokens of their own, a space, and the end of the line. */
    private static final int ANSWER_TOKENS_MAX = 8;

    private static final int FORKS = 16;
    private static final ObjectMapper JSON = new ObjectMapper();

    private final Flags flags;
    private final PrintStream out;
    private final Api api;
    private final Api other;
    private final Way way;
    private final int[] pairs;
    private final double[] floors;

    RecallBench(String[] arguments, PrintStream out) {
        this.flags = Flags.parse(arguments, FLAGS);
        this.out = out;
        api = new Api(ServeBench.server(flags));
        way = way(flags.text("way").orElse("prompt"));
        if (flags.text("to").isPresent() != (way == Way.MOVE)) {
            throw new BenchException("--way move needs --to, the server that loads the sessions; nothing else does");
        }
        other = new Api(flags.text("to").map(URI::create).orElse(api.server()));
        pairs = flags.numbers("pairs", PAIRS, 1);
        for (int pairCount : pairs) {
            if (pairCount > RecallQuestion.PAIRS_MAX) {
                throw new BenchException("--pairs: at most " + RecallQuestion.PAIRS_MAX + " names are there");
            }
        }
        floors = floors(flags.text("at-least").orElse(""), pairs.length);
    }

    private static Way way(String name) {
        return Arrays.stream(Way.values())
                .filter(w -> w.name().toLowerCase(Locale.ROOT).equals(name))
                .findFirst()
                .orElseThrow(() -> new BenchException("--way must be prompt, move or fork, not " + name));
    }

    private static double[] floors(String text, int count) {
        if (text.isEmpty()) {
            return new double[count];
        }
        String[] parts = text.split(",", -1);
        var floors = new double[parts.length];
        try {
            for (int i = 0; i < parts.length; i++) {
                floors[i] = Double.parseDouble(parts[i].strip());
            }
        } catch (NumberFormatException e) {
            throw new BenchException("--at-least must be numbers separated by commas, not " + text);
        }
        if (floors.length != count) {
            throw new BenchException("--at-least needs one share for each of --pairs");
        }
        return floors;
    }

    /** How a question reaches its directory. */
    private enum Way {
        PROMPT,
        MOVE,
        FORK
    }

    /**
     * A question and what came back.
     *
     * @param tokens of directory and question
     * @param cachedTokens of those, what a state had read before
     */
    private record Answered(RecallQuestion question, boolean isRight, int tokens, int cachedTokens) {}

    /** Runs; false if a share is lower than it must be. */
    boolean run() {
        String model = ServeBench.modelName(api.server());
        int questions = flags.number("questions", 200, 1);
        int sentences = flags.number("sentences", 0, 0);
        out.printf(
                Locale.ROOT,
                "model %s, %d questions each, %d sentences between, way %s%n",
                model,
                questions,
                sentences,
                way.name().toLowerCase(Locale.ROOT));
        out.printf(Locale.ROOT, "%8s %8s %10s%n", "pairs", "right", "95 % +-");
        var byPairs = new TreeMap<Integer, RecallCount>();
        var byDistance = new TreeMap<Integer, RecallCount>();
        int askedCount = 0;
        int resumedCount = 0;
        boolean isEnough = true;
        for (int i = 0; i < pairs.length; i++) {
            var count = byPairs.computeIfAbsent(pairs[i], p -> new RecallCount());
            for (var answered : ask(model, pairs[i], questions, sentences)) {
                count.add(answered.isRight);
                askedCount++;
                resumedCount += answered.cachedTokens > 0 ? 1 : 0;
                int distance = (int) (answered.tokens * answered.question.shareAfter());
                byDistance
                        .computeIfAbsent(Integer.highestOneBit(Math.max(distance, 1)), d -> new RecallCount())
                        .add(answered.isRight);
            }
            print("" + pairs[i], count);
            isEnough &= count.share() >= floors[i];
        }
        out.printf(Locale.ROOT, "%8s %8s %10s   tokens from the pair to the question%n", "tokens", "right", "95 % +-");
        byDistance.forEach((distance, count) -> print(distance + "+", count));
        if (way != Way.PROMPT) {
            out.printf(
                    Locale.ROOT,
                    "%d of %d questions went on from the state of their session; for the others it was read again%n",
                    resumedCount,
                    askedCount);
        }
        writeJson(byPairs, byDistance);
        return isEnough;
    }

    private void print(String name, RecallCount count) {
        out.printf(Locale.ROOT, "%8s %6.1f %% %8.1f %%%n", name, 100 * count.share(), 100 * count.margin());
    }

    private List<Answered> ask(String model, int pairCount, int questions, int sentences) {
        int seed = flags.number("seed", 1, 0);
        int perDirectory = way == Way.FORK ? FORKS : 1;
        var answers = new ArrayList<Future<List<Answered>>>();
        try (var threads = Executors.newFixedThreadPool(flags.number("streams", 4, 1))) {
            for (int i = 0; i * perDirectory < questions; i++) {
                var asked = new ArrayList<RecallQuestion>();
                for (int next = 0; next < Math.min(perDirectory, questions - i * perDirectory); next++) {
                    asked.add(RecallQuestion.of(seed, i, pairCount, sentences, next));
                }
                answers.add(threads.submit(() -> ask(model, asked)));
            }
        }
        var answered = new ArrayList<Answered>();
        for (var answer : answers) {
            try {
                answered.addAll(answer.get());
            } catch (ExecutionException e) {
                throw new BenchException("a question failed: " + e.getCause(), e);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new BenchException("interrupted", e);
            }
        }
        return answered;
    }

    /** Asks questions about one directory. */
    private List<Answered> ask(String model, List<RecallQuestion> asked) throws IOException {
        var first = asked.getFirst();
        return switch (way) {
            case PROMPT -> List.of(complete(api, request(model, first.prompt()), first));
            case MOVE -> List.of(askMoved(model, first));
            case FORK -> askForks(model, asked);
        };
    }

    private Answered askMoved(String model, RecallQuestion question) throws IOException {
        JsonNode session = read(question);
        String path = path(session);
        byte[] state = api.bytes("GET", path + "/state", new byte[0]);
        api.json("DELETE", path, "");
        JsonNode moved = other.json("POST", "/v1/sessions", "{}");
        other.bytes("PUT", path(moved) + "/state", state);
        var answered = turn(other, model, moved, question);
        other.json("DELETE", path(moved), "");
        return answered;
    }

    private List<Answered> askForks(String model, List<RecallQuestion> asked) throws IOException {
        JsonNode session = read(asked.getFirst());
        JsonNode forks = api.json("POST", path(session) + "/fork", "{\"count\":" + asked.size() + "}")
                .path("data");
        api.json("DELETE", path(session), "");
        var answered = new ArrayList<Answered>();
        for (int i = 0; i < asked.size(); i++) {
            answered.add(turn(api, model, forks.path(i), asked.get(i)));
        }
        for (JsonNode fork : forks) {
            api.json("DELETE", path(fork), "");
        }
        return answered;
    }

    /** A session that has read the directory. */
    private JsonNode read(RecallQuestion question) throws IOException {
        var request = JSON.createObjectNode().put("prompt", question.directory());
        return api.json("POST", "/v1/sessions", request.toString());
    }

    private static String path(JsonNode session) {
        return "/v1/sessions/" + session.path("id").asText();
    }

    /** Asks a session that has read the directory. */
    private static Answered turn(Api where, String model, JsonNode session, RecallQuestion question)
            throws IOException {
        var request =
                request(model, question.ask()).put("session", session.path("id").asText());
        return complete(where, request, question);
    }

    private static ObjectNode request(String model, String prompt) {
        var request = JSON.createObjectNode()
                .put("model", model)
                .put("prompt", prompt)
                .put("max_tokens", ANSWER_TOKENS_MAX)
                .put("temperature", 0);
        request.putArray("stop").add("\n");
        return request;
    }

    private static Answered complete(Api where, ObjectNode request, RecallQuestion question) throws IOException {
        JsonNode answer = where.json("POST", "/v1/completions", request.toString());
        String text = answer.path("choices").path(0).path("text").asText();
        JsonNode usage = answer.path("usage"); // what the session has read is in it
        int cached = usage.path("prompt_tokens_details").path("cached_tokens").asInt();
        boolean isRight = text.strip().equals(question.answer());
        return new Answered(question, isRight, usage.path("prompt_tokens").asInt(), cached);
    }

    private void writeJson(Map<Integer, RecallCount> byPairs, Map<Integer, RecallCount> byDistance) {
        flags.text("json").ifPresent(file -> {
            var root = JSON.createObjectNode();
            var pairsNode = root.putObject("pairs");
            byPairs.forEach((pairCount, count) -> pairsNode.put("" + pairCount, count.share()));
            var distanceNode = root.putObject("tokens-after");
            byDistance.forEach((distance, count) -> distanceNode
                    .putObject("" + distance)
                    .put("asked", count.askedCount())
                    .put("right", count.rightCount()));
            try {
                JSON.writer()
                        .with(SerializationFeature.INDENT_OUTPUT)
                        .writeValue(Path.of(file).toFile(), root);
            } catch (IOException e) {
                throw new BenchException("cannot write " + file + ": " + e.getMessage(), e);
            }
        });
    }
}
