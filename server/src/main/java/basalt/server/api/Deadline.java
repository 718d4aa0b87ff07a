package basalt.server.api;

import java.time.Duration;

/** The seconds that a request may take, in a field of its body or in a header. */
final class Deadline {
    static final int SECONDS_MAX = 86_400;

    private Deadline() {}

    static Duration of(double seconds) {
        return Duration.ofNanos(Math.round(seconds * 1e9));
    }

    /**
     * That of a header.
     *
     * @throws ProblemException if it is no number of seconds
     */
    static Duration parse(String header) {
        try {
            double seconds = Double.parseDouble(header);
            if (seconds >= 0 && seconds <= SECONDS_MAX) {
                return of(seconds);
            }
        } catch (NumberFormatException e) {
            // Said below.
        }
        throw new ProblemException(Problem.of(
                ProblemCode.INVALID_VALUE,
                CompletionRequest.DEADLINE_HEADER,
                "The header " + CompletionRequest.DEADLINE_HEADER + " must be 0 to " + SECONDS_MAX + "."));
    }
}
