package basalt.server.api;

import java.util.Locale;

/**
 * What can go wrong with a request. The names in lower case are the {@code code} of an error, listed in openapi.yaml.
 */
public enum ProblemCode {
    /** The body is not JSON in UTF-8, or has a field twice. */
    INVALID_JSON(400, Type.INVALID_REQUEST),
    /** A field has a value of the wrong type. */
    INVALID_TYPE(400, Type.INVALID_REQUEST),
    /** A field has a value out of its bounds. */
    INVALID_VALUE(400, Type.INVALID_REQUEST),
    /** A field that must be there is not. */
    MISSING_PARAMETER(400, Type.INVALID_REQUEST),
    /** A field that nobody knows. */
    UNKNOWN_PARAMETER(400, Type.INVALID_REQUEST),
    /** A field that others know and this server cannot honour. */
    UNSUPPORTED_PARAMETER(400, Type.INVALID_REQUEST),
    /** A token id that the vocabulary lacks. */
    INVALID_TOKEN(400, Type.INVALID_REQUEST),
    /** Text where the checkpoint has no tokenizer. */
    TOKENIZER_MISSING(400, Type.INVALID_REQUEST),
    /** More choices at once than the server has slots, now or later. */
    CAPACITY_EXCEEDED(400, Type.INVALID_REQUEST),
    /** A model with learned positions has too few of them. */
    CONTEXT_LENGTH_EXCEEDED(400, Type.INVALID_REQUEST),
    /** Anything else that makes a request impossible. */
    INVALID_REQUEST(400, Type.INVALID_REQUEST),
    /** An uploaded state that is torn, of another model or tenant, or not one at all. */
    INVALID_STATE(400, Type.INVALID_REQUEST),
    /** Not HTTP/1.1 as it is written. */
    BAD_HTTP(400, Type.INVALID_REQUEST),
    /** No API key, or not one of ours. */
    INVALID_API_KEY(401, Type.AUTHENTICATION),
    /** Another model's name. */
    MODEL_NOT_FOUND(404, Type.INVALID_REQUEST),
    /** No such session, or another tenant's. */
    SESSION_NOT_FOUND(404, Type.INVALID_REQUEST),
    /** No such stored response, or another tenant's. */
    RESPONSE_NOT_FOUND(404, Type.INVALID_REQUEST),
    /** No such resumable stream, another tenant's, or one whose time is over. */
    STREAM_NOT_FOUND(404, Type.INVALID_REQUEST),
    /** No such path. */
    NOT_FOUND(404, Type.INVALID_REQUEST),
    /** The path exists, the method on it does not. */
    METHOD_NOT_ALLOWED(405, Type.INVALID_REQUEST),
    /** Headers or body took too long to arrive. */
    REQUEST_TIMEOUT(408, Type.INVALID_REQUEST),
    /** The client did not read for too long; only seen inside streams. */
    SLOW_READER(408, Type.INVALID_REQUEST),
    /** A turn of the session runs. */
    SESSION_BUSY(409, Type.INVALID_REQUEST),
    /** Another server has committed a turn of the session meanwhile. */
    SESSION_CONFLICT(409, Type.INVALID_REQUEST),
    /** The session was deleted while a turn of it ran. */
    SESSION_DELETED(410, Type.INVALID_REQUEST),
    /** Events of a stream that are no longer kept. */
    EVENTS_GONE(410, Type.INVALID_REQUEST),
    /** The body is larger than {@code body-bytes-max}. */
    BODY_TOO_LARGE(413, Type.INVALID_REQUEST),
    /** The URL is too long. */
    URL_TOO_LONG(414, Type.INVALID_REQUEST),
    /** The body is not {@code application/json}. */
    UNSUPPORTED_MEDIA_TYPE(415, Type.INVALID_REQUEST),
    /** Every place in the queue is taken. */
    QUEUE_FULL(429, Type.RATE_LIMIT),
    /** The API key has as many requests open as it may. */
    KEY_CONCURRENCY_EXCEEDED(429, Type.RATE_LIMIT),
    /** The API key has sent as many requests as it may. */
    KEY_RATE_EXCEEDED(429, Type.RATE_LIMIT),
    /** As many sessions are kept as there may be. */
    SESSIONS_FULL(429, Type.RATE_LIMIT),
    /** As many resumable streams are open as there may be. */
    STREAMS_FULL(429, Type.RATE_LIMIT),
    /** Our fault. */
    SERVER_ERROR(500, Type.SERVER),
    /** The device failed. */
    DEVICE_FAILURE(500, Type.SERVER),
    /** The request's deadline passed before there was a token to show. */
    DEADLINE_EXCEEDED(504, Type.TIMEOUT),
    /** Other bodies that are being read take all the memory there is for them. */
    BODIES_TOO_LARGE(503, Type.UNAVAILABLE),
    /** The model is not loaded yet. */
    LOADING(503, Type.UNAVAILABLE),
    /** What servers share their sessions by does not answer. */
    SESSIONS_UNAVAILABLE(503, Type.UNAVAILABLE),
    /** The server is shutting down. */
    STOPPING(503, Type.UNAVAILABLE);

    private final int status;
    private final String type;

    ProblemCode(int status, String type) {
        this.status = status;
        this.type = type;
    }

    /** The HTTP status. */
    public int status() {
        return status;
    }

    /** OpenAI's {@code type} of such errors. */
    public String type() {
        return type;
    }

    /** The {@code code} of such errors. */
    public String code() {
        return name().toLowerCase(Locale.ROOT);
    }

    private static final class Type {
        static final String INVALID_REQUEST = "invalid_request_error";
        static final String AUTHENTICATION = "authentication_error";
        static final String RATE_LIMIT = "rate_limit_error";
        static final String TIMEOUT = "timeout_error";
        static final String SERVER = "server_error";
        static final String UNAVAILABLE = "unavailable_error";
    }
}
