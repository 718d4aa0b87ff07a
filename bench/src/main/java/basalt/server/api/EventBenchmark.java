package basalt.server.api;

import basalt.engine.TokenEvent;
import basalt.engine.model.Checkpoint;
import basalt.engine.text.Tokenizer;
import basalt.engine.text.Tokenizers;
import basalt.server.chat.PlainTemplate;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/** From a sampled token to the bytes of its server-sent event, without the socket. */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class EventBenchmark {
    private static final int TOKENS = 256;
    private static final int TOP = 5;

    /** Text or message. */
    @Param
    CompletionRequest.Form form = CompletionRequest.Form.TEXT;

    /** Whether each token comes with the five likeliest. */
    @Param({"false", "true"})
    boolean hasLogprobs;

    private final JsonBuffer buffer = new JsonBuffer();
    private final TokenEvent.Sampled[] tokens = new TokenEvent.Sampled[TOKENS];
    private CompletionWriter writer = writer(CompletionRequest.Form.TEXT, false);
    private ChoiceOutput output = writer.outputs(0).getFirst();
    private int next;

    private static ServedModel model() {
        var directory = Path.of(System.getProperty("basalt.home", "."), "models", "based-10m");
        try (var checkpoint = Checkpoint.open(directory)) {
            var config = checkpoint.config();
            var tokenizer = Tokenizers.open(directory, config);
            return new ServedModel("based-10m", "fp", 0, config, tokenizer, new PlainTemplate(), 0, 0, 0);
        }
    }

    private static CompletionWriter writer(CompletionRequest.Form form, boolean hasLogprobs) {
        var model = model();
        String prompt = form == CompletionRequest.Form.TEXT
                ? "{\"prompt\":\"Once\"" + (hasLogprobs ? ",\"logprobs\":" + TOP : "")
                : "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"
                        + (hasLogprobs ? ",\"logprobs\":true,\"top_logprobs\":" + TOP : "");
        byte[] body = (prompt + ",\"stream\":true}").getBytes(StandardCharsets.UTF_8);
        var names = new TokenNames(model.tokenizer(), model.config().vocabSize());
        return new CompletionWriter(
                "0123456789abcdef",
                0,
                CompletionRequest.read(form, body, model, new Random(1), RequestTime.withoutDeadline()),
                model,
                names);
    }

    /** Makes the tokens of one answer. */
    @Setup
    public void prepare() {
        writer = writer(form, hasLogprobs);
        Tokenizer tokenizer = model().tokenizer().orElseThrow();
        int[] ids = tokenizer.encode("The quick brown fox jumps over the lazy dog, and then she said: \"Why?\"\n");
        long visible = 0;
        for (int i = 0; i < TOKENS; i++) {
            int token = ids[i % ids.length];
            visible += tokenizer.bytes(token).length;
            var logprobs = new TokenEvent.Logprobs(
                    -0.5f, new int[] {token, 300, 400, 500, 600}, new float[] {-0.5f, -1.25f, -2.5f, -3.75f, -4.5f});
            tokens[i] = new TokenEvent.Sampled(
                    0, i, token, visible, hasLogprobs ? Optional.of(logprobs) : Optional.empty());
        }
        next = TOKENS;
    }

    /** Writes the event of one token. */
    @Benchmark
    public int event() {
        if (next == TOKENS) {
            next = 0;
            output = writer.outputs(0).getFirst();
        }
        buffer.clear();
        output.sampled(tokens[next++]);
        writer.writeChunks(buffer, output);
        return buffer.length();
    }
}
