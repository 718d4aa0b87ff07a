package basalt.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.io.IOException;
import java.io.PrintStream;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
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
              --streams N            questions at a time (4)
              --seed N               other directories (1)
              --at-least P,..        exits with 1 where a share is lower: one in [0, 1] for each of --pairs
              --json FILE            also writes the figures there
            """;

    private static final Set<String> FLAGS =
            Set.of("pairs", "questions", "sentences", "streams", "seed", "at-least", "json");
    private static final int[] PAIRS = {8, 16, 32, 64, 128};
    /** Enough for a number whose digits are tokens of their own, a space, and the end of the line. */
    private static final int ANSWER_TOKENS_MAX = 8;

    private static final ObjectMapper JSON = new ObjectMapper();

    private final Flags flags;
    private final PrintStream out;
    private final URI server;
    private final int[] pairs;
    private final double[] floors;

    RecallBench(String[] arguments, PrintStream out) {
        this.flags = Flags.parse(arguments, FLAGS);
        this.out = out;
        server = ServeBench.server(flags);
        pairs = flags.numbers("pairs", PAIRS, 1);
        for (int pairCount : pairs) {
            if (pairCount > RecallQuestion.PAIRS_MAX) {
                throw new BenchException("--pairs: at most " + RecallQuestion.PAIRS_MAX + " names are there");
            }
        }
        floors = floors(flags.text("at-least").orElse(""), pairs.length);
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

    /** A question and what came back. */
    private record Answered(RecallQuestion question, boolean isRight, int promptTokens) {}

    /** Runs; false if a share is lower than it must be. */
    boolean run() {
        String model = ServeBench.modelName(server);
        int questions = flags.number("questions", 200, 1);
        int sentences = flags.number("sentences", 0, 0);
        out.printf(Locale.ROOT, "model %s, %d questions each, %d sentences between%n", model, questions, sentences);
        out.printf(Locale.ROOT, "%8s %8s %10s%n", "pairs", "right", "95 % +-");
        var byPairs = new TreeMap<Integer, RecallCount>();
        var byDistance = new TreeMap<Integer, RecallCount>();
        boolean isEnough = true;
        for (int i = 0; i < pairs.length; i++) {
            var count = byPairs.computeIfAbsent(pairs[i], p -> new RecallCount());
            for (var answered : ask(model, pairs[i], questions, sentences)) {
                count.add(answered.isRight);
                int distance = (int) (answered.promptTokens * answered.question.shareAfter());
                byDistance
                        .computeIfAbsent(Integer.highestOneBit(Math.max(distance, 1)), d -> new RecallCount())
                        .add(answered.isRight);
            }
            print("" + pairs[i], count);
            isEnough &= count.share() >= floors[i];
        }
        out.printf(Locale.ROOT, "%8s %8s %10s   tokens from the pair to the question%n", "tokens", "right", "95 % +-");
        byDistance.forEach((distance, count) -> print(distance + "+", count));
        writeJson(byPairs, byDistance);
        return isEnough;
    }

    private void print(String name, RecallCount count) {
        out.printf(Locale.ROOT, "%8s %6.1f %% %8.1f %%%n", name, 100 * count.share(), 100 * count.margin());
    }

    private List<Answered> ask(String model, int pairCount, int questions, int sentences) {
        int seed = flags.number("seed", 1, 0);
        var answers = new ArrayList<Future<Answered>>();
        try (var threads = Executors.newFixedThreadPool(flags.number("streams", 4, 1))) {
            for (int i = 0; i < questions; i++) {
                var question = RecallQuestion.of(seed, i, pairCount, sentences);
                answers.add(threads.submit(() -> ask(model, question)));
            }
        }
        var answered = new ArrayList<Answered>();
        for (var answer : answers) {
            try {
                answered.add(answer.get());
            } catch (ExecutionException e) {
                throw new BenchException("a question failed: " + e.getCause(), e);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new BenchException("interrupted", e);
            }
        }
        return answered;
    }

    private Answered ask(String model, RecallQuestion question) throws IOException {
        var request = JSON.createObjectNode()
                .put("model", model)
                .put("prompt", question.prompt())
                .put("max_tokens", ANSWER_TOKENS_MAX)
                .put("temperature", 0);
        request.putArray("stop").add("\n");
        JsonNode answer = post(request.toString());
        String text = answer.path("choices").path(0).path("text").asText();
        int promptTokens = answer.path("usage").path("prompt_tokens").asInt();
        return new Answered(question, text.strip().equals(question.answer()), promptTokens);
    }

    private JsonNode post(String json) throws IOException {
        byte[] body = json.getBytes(StandardCharsets.UTF_8);
        var head = "POST /v1/completions HTTP/1.1\r\nHost: " + server.getAuthority()
                + "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " + body.length
                + "\r\n\r\n";
        try (var socket = new Socket(server.getHost(), server.getPort() < 0 ? 80 : server.getPort())) {
            socket.getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
            socket.getOutputStream().write(body);
            var response = new HttpResponse(socket.getInputStream());
            String answer = response.rest();
            if (response.status() != 200) {
                throw new IOException(response.status() + " " + answer.strip());
            }
            return JSON.readTree(answer);
        }
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
