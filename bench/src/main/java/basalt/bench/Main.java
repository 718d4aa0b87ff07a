package basalt.bench;

import java.io.IOException;
import java.io.PrintStream;
import java.util.Arrays;

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
              recall    numbers that a running server finds again in its prompt
              jmh       single operations; options are those of JMH, such as a pattern of names

            "basalt bench KIND --help" lists the options of a kind.
            """;

    private Main() {}

    /** Exits with 0 if the measurement ran, 2 if the arguments are wrong, 1 if it failed. */
    public static void main(String[] arguments) throws IOException {
        System.exit(run(arguments, System.out, System.err));
    }

    static int run(String[] arguments, PrintStream out, PrintStream err) throws IOException {
        var kind = arguments.length == 0 ? "help" : arguments[0];
        var rest = arguments.length == 0 ? arguments : Arrays.copyOfRange(arguments, 1, arguments.length);
        boolean wantsHelp = Arrays.asList(rest).contains("--help");
        try {
            switch (kind) {
                case "engine" -> {
                    if (wantsHelp) {
                        out.print(EngineBench.USAGE);
                    } else {
                        new EngineBench(rest, out).run();
                    }
                }
                case "serve" -> {
                    if (wantsHelp) {
                        out.print(ServeBench.USAGE);
                    } else if (!new ServeBench(rest, out).run()) {
                        return 1;
                    }
                }
                case "overload" -> {
                    if (wantsHelp) {
                        out.print(OverloadBench.USAGE);
                    } else if (!new OverloadBench(rest, out).run()) {
                        return 1;
                    }
                }
                case "streams" -> {
                    if (wantsHelp) {
                        out.print(StreamsBench.USAGE);
                    } else if (!new StreamsBench(rest, out).run()) {
                        return 1;
                    }
                }
                case "bare" -> {
                    if (wantsHelp) {
                        out.print(BareServer.USAGE);
                    } else {
                        new BareServer(rest, out).run();
                    }
                }
                case "long" -> {
                    if (wantsHelp) {
                        out.print(LongBench.USAGE);
                    } else {
                        new LongBench(rest, out).run();
                    }
                }
                case "recall" -> {
                    if (wantsHelp) {
                        out.print(RecallBench.USAGE);
                    } else if (!new RecallBench(rest, out).run()) {
                        return 1;
                    }
                }
                case "jmh" -> org.openjdk.jmh.Main.main(rest);
                case "help", "-h", "--help" -> out.print(USAGE);
                default -> {
                    err.println("basalt bench: unknown kind: " + kind);
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
