package basalt.server;

import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import basalt.engine.TokenEvent;
import basalt.engine.text.Tokenizer;
import basalt.server.api.ChoiceText;
import basalt.server.observe.LogSetup;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;

/** {@code basalt generate}: streams one completion to the terminal, without a server. */
final class GenerateCommand {
    private static final ConfigKey<String> PROMPT =
            ConfigKey.text("prompt", "", "TEXT", "text to go on from; also as plain argument");
    private static final ConfigKey<Long> MAX_TOKENS =
            ConfigKey.whole("max-tokens", 200, 1, Integer.MAX_VALUE, "tokens to generate at most");
    private static final ConfigKey<String> TEMPERATURE =
            ConfigKey.text("temperature", "0.8", "0 to 2", "0 takes the likeliest token");
    private static final ConfigKey<String> TOP_P =
            ConfigKey.text("top-p", "0.95", "above 0 to 1", "probability that the kept tokens sum to");
    private static final ConfigKey<String> SEED =
            ConfigKey.text("seed", "", "NUMBER", "the same seed gives the same text; random if not set");
    private static final ConfigKey<String> STOP = ConfigKey.text("stop", "", "TEXT", "text that ends the completion");
    private static final List<ConfigKey<?>> OWN_KEYS = List.of(PROMPT, MAX_TOKENS, TEMPERATURE, TOP_P, SEED, STOP);

    private GenerateCommand() {}

    /** Runs it and returns the exit code. */
    static int run(List<String> args, Map<String, String> environment, Path home, PrintStream out)
            throws InterruptedException {
        if (args.contains("--help")) {
            printHelp(out);
            return 0;
        }
        var ownArgs = new ArrayList<String>();
        var serverArgs = new ArrayList<String>(List.of("--log-level", "warning", "--slots", "1"));
        split(args, ownArgs, serverArgs);
        var sources = new ConfigSources(OWN_KEYS, ownArgs, Map.of());
        ServerConfig config = ServerConfig.load(serverArgs, environment, home);
        Main.installLogs(config.logs());
        LogSetup.alsoShow("basalt.server.hub");
        try (LoadedModel model = LoadedModel.load(config)) {
            Tokenizer tokenizer = model.served()
                    .tokenizer()
                    .orElseThrow(() -> new StartException("model " + config.modelName()
                            + " has no tokenizer; only the server takes prompts of token ids"));
            generate(model, tokenizer, request(sources, tokenizer, model), out);
        }
        return 0;
    }

    private static void printHelp(PrintStream out) {
        out.println("Usage: basalt generate [OPTIONS] PROMPT\n\nStreams one completion to the terminal.\n");
        for (ConfigKey<?> key : OWN_KEYS) {
            out.println("  " + key.flag() + " " + key.kind().bounds()
                    + (key.defaultText().isEmpty() ? "" : " [" + key.defaultText() + "]") + "\n      "
                    + key.meaning());
        }
        out.println("\nand the options of basalt serve that concern the model and the engine.");
    }

    private static void split(List<String> args, List<String> ownArgs, List<String> serverArgs) {
        for (int i = 0; i < args.size(); i++) {
            String arg = args.get(i);
            if (!arg.startsWith("--")) {
                ownArgs.addAll(List.of(PROMPT.flag(), arg));
                continue;
            }
            String flag = arg.contains("=") ? arg.substring(0, arg.indexOf('=')) : arg;
            boolean isOwn = OWN_KEYS.stream().anyMatch(key -> key.flag().equals(flag));
            List<String> target = isOwn ? ownArgs : serverArgs;
            if (!isOwn) {
                removeDefault(serverArgs, flag);
            }
            target.add(arg);
            if (flag.equals(arg) && i + 1 < args.size()) {
                target.add(args.get(++i));
            }
        }
    }

    /** What the user gives replaces what this command would have given. */
    private static void removeDefault(List<String> serverArgs, String flag) {
        int at = serverArgs.indexOf(flag);
        if (at >= 0) {
            serverArgs.subList(at, at + 2).clear();
        }
    }

    private static GenerationRequest request(ConfigSources sources, Tokenizer tokenizer, LoadedModel model) {
        String prompt = sources.get(PROMPT);
        int[] ids = tokenizer.encode(prompt);
        if (ids.length == 0) {
            int start = model.served().config().endOfSequence();
            if (start < 0) {
                throw new StartException("give a prompt: basalt generate \"Once upon a time\"");
            }
            ids = new int[] {start};
        }
        SamplingParams sampling = SamplingParams.DEFAULT
                .withTemperature(number(sources, TEMPERATURE, 0, 2))
                .withFilters(0, number(sources, TOP_P, Float.MIN_VALUE, 1), 0);
        String stop = sources.get(STOP);
        return new GenerationRequest(
                ids,
                Math.toIntExact(sources.get(MAX_TOKENS)),
                sampling,
                seed(sources),
                1,
                stop.isEmpty() ? List.of() : List.of(stop),
                new int[0],
                false,
                0,
                -1,
                false,
                0,
                Optional.empty());
    }

    private static float number(ConfigSources sources, ConfigKey<String> key, float min, float max) {
        try {
            float value = Float.parseFloat(sources.get(key));
            if (value >= min && value <= max) {
                return value;
            }
        } catch (NumberFormatException e) {
            // Said below.
        }
        throw new StartException(key.flag() + " = \"" + sources.get(key) + "\": must be "
                + key.kind().bounds());
    }

    private static long seed(ConfigSources sources) {
        String seed = sources.get(SEED);
        try {
            return seed.isEmpty() ? ThreadLocalRandom.current().nextLong() : Long.parseLong(seed);
        } catch (NumberFormatException e) {
            throw new StartException("--seed = \"" + seed + "\": must be a whole number", e);
        }
    }

    private static void generate(LoadedModel model, Tokenizer tokenizer, GenerationRequest request, PrintStream out)
            throws InterruptedException {
        var text = new ChoiceText();
        for (int token : request.prompt()) {
            text.addPrompt(tokenizer.bytes(token));
        }
        try (Generation generation = model.engine().submit(request)) {
            for (Optional<TokenEvent> event = generation.next(); event.isPresent(); event = generation.next()) {
                switch (event.get()) {
                    case TokenEvent.Sampled sampled ->
                        text.addOutput(tokenizer.bytes(sampled.token()), sampled.visibleBytes());
                    case TokenEvent.Finished finished -> text.finish(finished.visibleBytes());
                    case TokenEvent.Scored scored -> {}
                }
                out.print(text.takeNews());
                if (out.checkError()) { // nobody reads any more, as after "| head"
                    return;
                }
            }
        }
        out.println();
    }
}
