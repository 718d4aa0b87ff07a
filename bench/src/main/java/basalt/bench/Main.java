package basalt.bench;

import java.io.PrintStream;
import java.util.Arrays;

/** {@code basalt bench}: picks a measurement by its first argument. */
public final class Main {
    private static final String USAGE = """
            Usage: basalt bench KIND [OPTIONS]

              jmh       single operations; options are those of JMH, such as a pattern of names
            """;

    private Main() {}

    /** Exits with 0 if the measurement ran, 2 if the arguments are wrong, 1 if it failed. */
    public static void main(String[] arguments) throws Exception {
        System.exit(run(arguments, System.out, System.err));
    }

    static int run(String[] arguments, PrintStream out, PrintStream err) throws Exception {
        var kind = arguments.length == 0 ? "help" : arguments[0];
        var rest = arguments.length == 0 ? arguments : Arrays.copyOfRange(arguments, 1, arguments.length);
        switch (kind) {
            case "jmh" -> org.openjdk.jmh.Main.main(rest);
            case "help", "-h", "--help" -> out.print(USAGE);
            default -> {
                err.println("basalt bench: unknown kind: " + kind);
                err.print(USAGE);
                return 2;
            }
        }
        return 0;
    }
}
