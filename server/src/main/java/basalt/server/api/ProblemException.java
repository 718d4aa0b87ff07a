package basalt.server.api;

/** Ends a request with a {@link Problem}. */
public final class ProblemException extends RuntimeException {
    private static final long serialVersionUID = 1L;
    private final transient Problem problem;

    /** With what the client is told. */
    public ProblemException(Problem problem) {
        // No stack trace: it is the client's failure, and clients can cause many.
        super(problem.message(), null, false, false);
        this.problem = problem;
    }

    /** What the client is told. */
    public Problem problem() {
        return problem;
    }
}
