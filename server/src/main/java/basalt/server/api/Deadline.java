package basalt.server.api;

import java.time.Duration;
import java.util.Optional;

/** The time that a request may take, by a field of its body or by a header, whichever is shorter. */
final class Deadline {
    static final int SECONDS_MAX = 86_400;

    private Deadline() {}

    static Duration of(double seconds) {
        return Duration.ofNanos(Math.round(seconds * 1e9));
    }

    /**
     * The shorter one of a body's and a header's.
     *
     * @throws ProblemException if the header is no number of seconds
     */
    static Optional<Duration> shorter(Optional<Duration> ofBody, Optional<String> header) {
        if (header.isEmpty()) {
            return ofBody;
        }
        Duration ofHeader = parse(header.get());
        return Optional.of(ofBody.filter(time -> time.compareTo(ofHeader) <= 0).orElse(ofHeader));
    }

    private static Duration parse(String header) {
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
