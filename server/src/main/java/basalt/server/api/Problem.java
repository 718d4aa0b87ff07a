package basalt.server.api;

import basalt.engine.EngineException;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.UnaryOperator;

/**
 * What a client is told when a request fails.
 *
 * @param code what went wrong
 * @param message a sentence that says what to do
 * @param param the field at fault
 * @param retryAfterSeconds when to try again, at least 1
 */
public record Problem(ProblemCode code, String message, Optional<String> param, OptionalLong retryAfterSeconds) {
    private static final long STOPPING_RETRY_SECONDS = 5;
    private static final long SESSIONS_UNAVAILABLE_RETRY_SECONDS = 2;
    private static final long SESSIONS_FULL_RETRY_SECONDS = 60;

    /** A problem of no one field. */
    public static Problem of(ProblemCode code, String message) {
        return new Problem(code, message, Optional.empty(), OptionalLong.empty());
    }

    /** A problem of one field. */
    public static Problem of(ProblemCode code, String param, String message) {
        return new Problem(code, message, Optional.of(param), OptionalLong.empty());
    }

    /** A problem that passes. */
    public static Problem retryable(ProblemCode code, String message, long retryAfterSeconds) {
        return new Problem(code, message, Optional.empty(), OptionalLong.of(Math.max(1, retryAfterSeconds)));
    }

    /** What a client is told of a failure in the engine. */
    public static Problem of(EngineException failure) {
        String message = String.valueOf(failure.getMessage());
        return switch (failure) {
            case EngineException.InvalidRequest e -> invalidRequest(e, message);
            case EngineException.QueueFull e ->
                retryable(ProblemCode.QUEUE_FULL, message, Math.ceilDiv(e.retryAfterMillis(), 1_000));
            case EngineException.SessionNotFound e -> of(ProblemCode.SESSION_NOT_FOUND, "session", message);
            case EngineException.SessionBusy e -> of(ProblemCode.SESSION_BUSY, "session", message);
            case EngineException.SessionConflict e -> of(ProblemCode.SESSION_CONFLICT, "session", message);
            case EngineException.SessionsFull e ->
                retryable(ProblemCode.SESSIONS_FULL, message, SESSIONS_FULL_RETRY_SECONDS);
            case EngineException.InvalidState e -> of(ProblemCode.INVALID_STATE, message);
            case EngineException.ArchiveFailure e ->
                retryable(
                        ProblemCode.SESSIONS_UNAVAILABLE,
                        "The sessions' directory cannot be read or written now, so this was not kept; the server's log"
                                + " says why. Requests without a session can be served.",
                        SESSIONS_UNAVAILABLE_RETRY_SECONDS);
            case EngineException.ArchiveUnavailable e ->
                retryable(
                        ProblemCode.SESSIONS_UNAVAILABLE,
                        "Sessions cannot be reached now, and requests without one can be served. Look how many tokens"
                                + " the session has before a turn is sent again: it may have been kept.",
                        SESSIONS_UNAVAILABLE_RETRY_SECONDS);
            case EngineException.EngineStopped e ->
                retryable(ProblemCode.STOPPING, "The server is shutting down.", STOPPING_RETRY_SECONDS);
            case EngineException.DeviceFailure e ->
                of(ProblemCode.DEVICE_FAILURE, "The device that computes has failed; the server must be restarted.");
            case EngineException.InvalidCheckpoint e -> of(ProblemCode.SERVER_ERROR, "The checkpoint cannot be read.");
            case EngineException.InsufficientMemory e -> of(ProblemCode.SERVER_ERROR, "The server lacks memory.");
        };
    }

    /** What a client is told of a request that the engine refuses, by the names of its own fields. */
    public static Problem of(EngineException.InvalidRequest failure, CompletionRequest request) {
        return of(failure).named(name -> switch (name) {
            case "prompt" -> request.output().form() == CompletionRequest.Form.CHAT ? "messages" : name;
            case "n" -> request.isRanked() ? "best_of" : name;
            default -> name;
        });
    }

    /** The same of a field that has another name where the request came from. */
    public Problem named(UnaryOperator<String> nameOf) {
        return new Problem(code, message, param.map(nameOf), retryAfterSeconds);
    }

    /** The refusal of everything but health checks while the server stops. */
    public static Problem stopping() {
        return retryable(ProblemCode.STOPPING, "The server is shutting down.", STOPPING_RETRY_SECONDS);
    }

    /** A server that is no more did not finish what it had begun. */
    public static Problem abandoned() {
        return of(
                ProblemCode.STOPPING,
                "The server ended before the response did, and nobody goes on with it; send its request again.");
    }

    private static Problem invalidRequest(EngineException.InvalidRequest failure, String message) {
        return switch (failure.param()) {
            // Ids are checked before, so it is the length.
            case "prompt" -> of(ProblemCode.CONTEXT_LENGTH_EXCEEDED, "prompt", message);
            case "tokens" -> of(ProblemCode.INVALID_VALUE, "tokens", message);
            case "choiceCount" -> of(ProblemCode.CAPACITY_EXCEEDED, "n", message);
            case "stopStrings" -> of(ProblemCode.INVALID_REQUEST, "stop", message);
            case "stopTokenIds" -> of(ProblemCode.INVALID_TOKEN, "stop_token_ids", message);
            case "logitBias" -> of(ProblemCode.INVALID_TOKEN, "logit_bias", message);
            default -> of(ProblemCode.INVALID_REQUEST, message);
        };
    }

    /** The body of an error: OpenAI's form, all four keys. */
    public byte[] json() {
        var out = new JsonBuffer();
        write(out);
        return out.toByteArray();
    }

    /** Appends {@link #json}. */
    public void write(JsonBuffer out) {
        out.raw("{\"error\":{\"message\":")
                .string(message)
                .raw(",\"type\":")
                .string(code.type())
                .raw(",\"param\":");
        param.ifPresentOrElse(out::string, () -> out.raw("null"));
        out.raw(",\"code\":").string(code.code()).raw("}}");
    }
}
