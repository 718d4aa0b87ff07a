package basalt.bench;

import java.io.IOException;
import java.io.PrintStream;
import java.util.Arrays;
import java.util.Map;

/** {@code basalt bench}: picks a measurement by its first argument. */
public final class Main {
    private static final String USAGE = """
        Usage: basalt bench KIND [OPTIONS]

          engine    prefill and decode of the embedded engine
          serve     concurrent streams against a running server
          overload  many times the capacity of a running server
          streams   thousands of streams of a running server: rate, gaps, memory
          bare      a server that only writes events, to compare streams with
          long      one long prompt and answer: memory, speed, loss against position
          sessions  what a known past saves: turns, shared beginnings, forks
          soak      sessions of a server that it starts, and kills in between
          recall    numbers that a running server finds again in its prompt
          jmh       single operations; options are those of JMH, such as a pattern of names

        "basalt bench KIND --help" lists the options of a kind.
        """;

    /** Measures and prints; false if what was measured is not as it must be. */
    private interface Measurement {
        boolean run(String[] arguments, PrintStream out) throws IOException;
    }

    private record Kind(String usage, Measurement measurement) {}

    private static final Map<String, Kind> KINDS = Map.of(
            "engine",
                    new Kind(EngineBench.USAGE, (rest, out) -> {
                        new EngineBench(rest, out).run();
                        return true;
                    }),
            "serve", new Kind(ServeBench.USAGE, (rest, out) -> new ServeBench(rest, out).run()),
            "overload", new Kind(OverloadBench.USAGE, (rest, out) -> new OverloadBench(rest, out).run()),
            "streams", new Kind(StreamsBench.USAGE, (rest, out) -> new StreamsBench(rest, out).run()),
            "bare",
                    new Kind(BareServer.USAGE, (rest, out) -> {
                        new BareServer(rest, out).run();
                        return true;
                    }),
            "long",
                    new Kind(LongBench.USAGE, (rest, out) -> {
                        new LongBench(rest, out).run();
                        return true;
                    }),
            "sessions",
                    new Kind(SessionBench.USAGE, (rest, out) -> {
                        new SessionBench(rest, out).run();
                        return true;
                    }),
            "soak", new Kind(SoakBench.USAGE, (rest, out) -> new SoakBench(rest, out).run()),
            "recall", new Kind(RecallBench.USAGE, (rest, out) -> new RecallBench(rest, out).run()));

    private Main() {}

    /** Exits with 0 if the measurement ran, 2 if the arguments are wrong, 1 if it failed. */
    public static void main(String[] arguments) throws IOException {
        System.exit(run(arguments, System.out, System.err));
    }

    static int run(String[] arguments, PrintStream out, PrintStream err) throws IOException {
        var name = arguments.length == 0 ? "help" : arguments[0];
        var rest = arguments.length == 0 ? arguments : Arrays.copyOfRange(arguments, 1, arguments.length);
        var kind = KINDS.get(name);
        try {
            if (kind != null && Arrays.asList(rest).contains("--help")) {
                out.print(kind.usage());
                return 0;
            }
            if (kind != null) {
                return kind.measurement().run(rest, out) ? 0 : 1;
            }
            switch (name) {
                // JMH's own word for it is -h.
                case "jmh" ->
                    org.openjdk.jmh.Main.main(Arrays.asList(rest).contains("--help") ? new String[] {"-h"} : rest);
                case "help", "-h", "--help" -> out.print(USAGE);
                default -> {
                    err.println("basalt bench: unknown kind: " + name);
                    err.print(USAGE);
                    return 2;
                }
            }
        } catch (BenchException e) {
            err.println("basalt bench: " + e.getMessage());
            return 2;
        }
        return 0;
    }
}
