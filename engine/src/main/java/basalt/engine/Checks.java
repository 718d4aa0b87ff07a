package basalt.engine;

/** Checks of arguments from our own code, always on. */
public final class Checks {
    private Checks() {}

    /**
     * Throws unless the condition holds.
     *
     * @throws IllegalArgumentException naming the argument and its value
     */
    public static void argument(boolean isValid, String name, Object value) {
        if (!isValid) {
            throw new IllegalArgumentException(name + " = " + value);
        }
    }

    /** As {@link #argument(boolean, String, Object)}, without boxing. */
    public static void argument(boolean isValid, String name, long value) {
        if (!isValid) {
            throw new IllegalArgumentException(name + " = " + value);
        }
    }
}
