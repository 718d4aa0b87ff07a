package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.regex.Pattern;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What a server with the options of the launcher leaves to the garbage collector. Garbage shows wherever C2 leaves a
 * call that vectors go through; without the option that takes {@code VectorOps} in, it does so in some starts only.
 */
class GarbageIT {
    private static final int STREAMS = 32;
    private static final int TOKENS = 250; // of each
    /** A token takes 3 KB at most; with a mask as an object for each vector of the vocabulary, 35 KB or more. */
    private static final long BYTES_PER_TOKEN_MAX = 20_000;

    /** In the log of the collector: what the heap held before and after, in MB. */
    private static final Pattern PAUSE = Pattern.compile("Pause .* ([0-9]+)M->([0-9]+)M");

    private static final String WARM_UP = "700ms"; // as by default
    /** Time for the compiler, and work enough for it to see on a machine on which that time is short. */
    private static final Duration COMPILATION_MAX = Duration.ofSeconds(60);

    private static final int ROUNDS_MIN = 20;

    @TempDir
    private Path folder;

    private static List<String> options() throws IOException, InterruptedException {
        Process launcher = new ProcessBuilder(Path.of("..", "basalt").toString(), "vm-options").start();
        String options = new String(launcher.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(0, launcher.waitFor());
        return options.lines().toList();
    }

    private static void generate(ServerProcess server, String sampling) throws Exception {
        var requests = new ArrayList<Callable<Integer>>();
        for (int i = 0; i < STREAMS; i++) {
            String body =
                    "{\"prompt\":\"The " + i + "\",\"max_tokens\":" + TOKENS + ",\"ignore_eos\":true" + sampling + "}";
            requests.add(() -> server.send("POST", "/v1/completions", body)
                    .path("usage")
                    .path("completion_tokens")
                    .asInt());
        }
        try (var executor = Executors.newVirtualThreadPerTaskExecutor()) {
            for (var answer : executor.invokeAll(requests)) {
                assertEquals(TOKENS, answer.get());
            }
        }
    }

    /** Megabytes that were allocated until the last collection. */
    private static long allocated(Path log) throws IOException {
        long allocated = 0;
        long left = 0;
        var pauses = PAUSE.matcher(Files.readString(log));
        while (pauses.find()) {
            allocated += Long.parseLong(pauses.group(1)) - left;
            left = Long.parseLong(pauses.group(2));
        }
        return allocated;
    }

    /** Without the first a start in several makes garbage, and the others compute half as fast. */
    @ParameterizedTest
    @ValueSource(
            strings = {"inline,%s.VectorOps::*", "dontinline,%s.Sampler::fill*", "dontinline,%s.PhiloxBlock::fill"})
    void theCompilerIsTold(String command) throws Exception {
        String option = "-XX:CompileCommand=" + command.formatted("basalt.engine.backend.cpu");
        assertTrue(options().contains(option), option);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", ",\"top_k\":50,\"top_p\":0.95,\"logprobs\":5"})
    void noVectorIsAnObjectOnceTheKernelsAreCompiled(String sampling) throws Exception {
        Path collections = folder.resolve("collections");
        var options = new ArrayList<>(options());
        options.add("-Xlog:gc:file=" + collections);
        try (var server = ServerProcess.start(
                folder.resolve("log"), options, "--backend", "cpu", "--slots", "32", "--warm-up", WARM_UP)) {
            var rounds = new ArrayList<Long>();
            long began = System.nanoTime();
            do {
                long before = allocated(collections);
                generate(server, sampling);
                rounds.add((allocated(collections) - before) * (1 << 20) / (STREAMS * TOKENS));
            } while (rounds.getLast() > BYTES_PER_TOKEN_MAX
                    && (rounds.size() < ROUNDS_MIN || System.nanoTime() - began < COMPILATION_MAX.toNanos()));

            assertTrue(rounds.getLast() <= BYTES_PER_TOKEN_MAX, "bytes of garbage a token, by rounds: " + rounds);
        }
    }
}
