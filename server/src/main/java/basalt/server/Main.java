package basalt.server;

import basalt.engine.EngineException;
import basalt.server.observe.LogSetup;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CountDownLatch;

/** The program: {@code serve}, {@code generate}, {@code checkpoint} and {@code health}. */
public final class Main {
    private Main() {}

    /** Runs a subcommand; the exit code is not 0 if it failed. */
    public static void main(String[] args) throws InterruptedException {
        // Before anything logs, and without initialising the class, which would be too late.
        System.setProperty("java.util.logging.manager", DrainLogManager.class.getName());
        int exitCode = run(List.of(args), System.out, System.err);
        if (exitCode != 0) {
            System.exit(exitCode);
        }
    }

    /** Runs a subcommand and returns the exit code. Failures are one line on {@code err}. */
    static int run(List<String> args, PrintStream out, PrintStream err) throws InterruptedException {
        return run(args, LoadedModel::load, out, err);
    }

    static int run(List<String> args, LoadedModel.Loader loader, PrintStream out, PrintStream err)
            throws InterruptedException {
        boolean isNamed = !args.isEmpty() && !args.getFirst().startsWith("--");
        String command = isNamed ? args.getFirst() : "serve";
        List<String> rest = isNamed ? args.subList(1, args.size()) : args;
        try {
            return switch (command) {
                case "serve" -> serve(rest, loader, out);
                case "checkpoint" -> CheckpointCommand.run(rest, out);
                case "health" -> HealthCommand.run(rest, System.getenv(), out);
                case "generate" -> GenerateCommand.run(rest, System.getenv(), home(), out);
                default -> {
                    err.println("basalt: unknown command " + command
                            + "; there are serve, generate, checkpoint and health");
                    yield 2;
                }
            };
        } catch (StartException | EngineException e) {
            err.println("basalt: " + e.getMessage());
            return 1;
        } catch (OutOfMemoryError e) { // wherever; what was being made is dropped by now
            err.println("basalt: a heap with room for " + (Runtime.getRuntime().maxMemory() >> 20)
                    + " MB does not hold all that is to be loaded: raise it (-Xmx), or use a machine with more memory");
            return 1;
        }
    }

    /** The folder of the launcher, which holds the default model. */
    private static Path home() {
        return Path.of(System.getProperty("basalt.home", "."));
    }

    private static int serve(List<String> args, LoadedModel.Loader loader, PrintStream out)
            throws InterruptedException {
        if (args.contains("--help")) {
            out.println("Usage: basalt serve [OPTIONS]\n\nServes a model over HTTP. Options, with [defaults]:\n");
            out.print(ConfigKeys.help());
            return 0;
        }
        ServerConfig config = ServerConfig.load(args, System.getenv(), home());
        installLogs(config.logs());
        StartCache.warnIfUnused();
        Application application = Application.start(config, loader);
        var stopped = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(application, stopped), "drain"));
        out.println("Serving " + config.modelName() + " on " + application.url());
        out.flush();
        stopped.await();
        return 0;
    }

    static void installLogs(ServerConfig.Logs logs) {
        LogSetup.install(
                System.Logger.Level.valueOf(logs.level().name()), logs.format() == ServerConfig.LogFormat.JSON);
    }

    /** On SIGTERM and SIGINT. The exit code of a signal is not 0 unless the process ends itself. */
    private static void stop(Application application, CountDownLatch stopped) {
        try {
            application.drain();
            application.close();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        stopped.countDown();
        Runtime.getRuntime().halt(0);
    }
}
