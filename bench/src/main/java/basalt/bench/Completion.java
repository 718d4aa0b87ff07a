package basalt.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.atomic.LongAdder;

/**
 * One streamed completion: sends the request, reads the events, and notes when tokens arrived. Confined to the thread
 * that runs it.
 */
final class Completion {
    private static final JsonFactory JSON = new JsonFactory();
    private static final byte[] DATA = "data: ".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] DONE = "[DONE]".getBytes(StandardCharsets.US_ASCII);
    private static final int CONNECT_MILLIS_MAX = 5_000;

    private static final int UNKNOWN_TOKEN = -1;

    private final Samples gaps = new Samples();
    private final LongAdder arrivedCount;
    private int[] tokens = new int[64];
    private int tokenCount;
    private long firstTokenNanos; // from the request; 0 if there was none
    private long lastTokenAt;
    private String finishReason = "";
    private int usageTokens = -1;
    private boolean hasTokenIds;
    private boolean hasText; // of the current event
    private long refusedNanos;
    private int retryAfterSeconds;
    private boolean isDone;
    private boolean isCancelled;

    /**
     * Prepares a request.
     *
     * @param arrivedCount also counts the tokens, while they arrive
     */
    Completion(LongAdder arrivedCount) {
        this.arrivedCount = arrivedCount;
    }

    /** How the request ended. */
    enum Outcome {
        /** Finished with all its tokens. */
        COMPLETE,
        /** Closed by this client on purpose. */
        CANCELLED,
        /** Refused with 429. */
        REFUSED,
        /** Anything else. */
        FAILED
    }

    /**
     * What one request gave.
     *
     * @param failure why, for {@link Outcome#FAILED}; else empty
     * @param tokens sampled ids in order of arrival
     * @param firstTokenNanos from sending the request to the first token; 0 if none came
     * @param gaps between events with tokens
     * @param refusedNanos from connecting to the end of a refusal; 0 if there was none
     * @param retryAfterSeconds what the refusal said; 0 if it did not
     */
    record Result(
            Outcome outcome,
            String failure,
            int[] tokens,
            long firstTokenNanos,
            Samples gaps,
            long refusedNanos,
            int retryAfterSeconds) {}

    /**
     * Runs one request to its end.
     *
     * @param body JSON of the request
     * @param cancelAfterTokens tokens after which this side closes the connection; 0 never does
     */
    Result run(URI server, byte[] body, int cancelAfterTokens) {
        long beganAt = System.nanoTime();
        try (var socket = new Socket()) {
            socket.setTcpNoDelay(true);
            socket.connect(new InetSocketAddress(server.getHost(), port(server)), CONNECT_MILLIS_MAX);
            long sentAt = System.nanoTime();
            socket.getOutputStream().write(request(server, body));
            var response = new HttpResponse(socket.getInputStream());
            if (response.status() == 429) {
                response.rest();
                refusedNanos = System.nanoTime() - beganAt;
                retryAfterSeconds = Integer.parseInt(response.header("retry-after", "0"));
                return result(Outcome.REFUSED, "");
            }
            if (response.status() != 200) {
                return result(
                        Outcome.FAILED,
                        response.status() + " " + response.rest().strip());
            }
            readEvents(response, sentAt, cancelAfterTokens);
        } catch (IOException e) {
            return result(Outcome.FAILED, String.valueOf(e.getMessage()));
        }
        return isCancelled ? result(Outcome.CANCELLED, "") : checked();
    }

    private void readEvents(HttpResponse response, long sentAt, int cancelAfterTokens) throws IOException {
        while (!isDone && response.nextLine()) {
            if (!startsWith(response.line(), response.lineLength(), 0, DATA)) {
                continue; // an empty line between events, or a comment that keeps the connection alive
            }
            if (startsWith(response.line(), response.lineLength(), DATA.length, DONE)) {
                isDone = true;
                continue;
            }
            int before = tokenCount;
            readEvent(response);
            if (tokenCount > before) {
                arrivedCount.add(tokenCount - before);
                long now = System.nanoTime();
                if (before == 0) {
                    firstTokenNanos = now - sentAt;
                } else {
                    gaps.add(now - lastTokenAt);
                }
                lastTokenAt = now;
            }
            if (cancelAfterTokens > 0 && tokenCount >= cancelAfterTokens) {
                isCancelled = true;
                return;
            }
        }
    }

    /**
     * Picks the token ids, the finish reason and the usage out of an event, wherever they stand. A server that sends
     * no ids is taken to send a token an event.
     */
    private void readEvent(HttpResponse response) throws IOException {
        hasText = false;
        try (var parser = JSON.createParser(response.line(), DATA.length, response.lineLength() - DATA.length)) {
            for (var token = parser.nextToken(); token != null; token = parser.nextToken()) {
                if (token == JsonToken.FIELD_NAME) {
                    readField(parser, response);
                }
            }
        }
        if (hasText && !hasTokenIds) {
            append(UNKNOWN_TOKEN);
        }
    }

    private void readField(JsonParser parser, HttpResponse response) throws IOException {
        switch (parser.currentName()) {
            case "text" -> hasText = parser.nextToken() == JsonToken.VALUE_STRING && parser.getTextLength() > 0;
            case "token_ids" -> {
                hasTokenIds = true;
                if (parser.nextToken() == JsonToken.START_ARRAY) {
                    while (parser.nextToken() == JsonToken.VALUE_NUMBER_INT) {
                        append(parser.getIntValue());
                    }
                }
            }
            case "prompt_token_ids" -> {
                parser.nextToken();
                parser.skipChildren();
            }
            case "finish_reason" -> {
                if (parser.nextToken() == JsonToken.VALUE_STRING) {
                    finishReason = parser.getText();
                }
            }
            case "completion_tokens" -> {
                if (parser.nextToken() == JsonToken.VALUE_NUMBER_INT) {
                    usageTokens = parser.getIntValue();
                }
            }
            case "error" -> throw new IOException("error event: " + response.lineText());
            default -> {
                // Other fields are of no interest.
            }
        }
    }

    private void append(int token) {
        if (tokenCount == tokens.length) {
            tokens = Arrays.copyOf(tokens, 2 * tokenCount);
        }
        tokens[tokenCount++] = token;
    }

    /** A stream is complete when it ended by the protocol and every token that was counted has arrived. */
    private Result checked() {
        if (!isDone) {
            return result(Outcome.FAILED, "the stream ended without [DONE]");
        }
        if (finishReason.isEmpty()) {
            return result(Outcome.FAILED, "no finish_reason");
        }
        if (hasTokenIds && usageTokens != tokenCount) {
            return result(Outcome.FAILED, "usage counts " + usageTokens + " tokens, " + tokenCount + " arrived");
        }
        return result(Outcome.COMPLETE, "");
    }

    private Result result(Outcome outcome, String failure) {
        return new Result(
                outcome,
                failure,
                Arrays.copyOf(tokens, tokenCount),
                firstTokenNanos,
                gaps,
                refusedNanos,
                retryAfterSeconds);
    }

    /** A streamed completion as it goes over the wire. */
    static byte[] request(URI server, byte[] body) {
        var head = "POST /v1/completions HTTP/1.1\r\nHost: " + server.getAuthority()
                + "\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\nConnection: close\r\n"
                + "Content-Length: " + body.length + "\r\n\r\n";
        var headBytes = head.getBytes(StandardCharsets.US_ASCII);
        var bytes = Arrays.copyOf(headBytes, headBytes.length + body.length);
        System.arraycopy(body, 0, bytes, headBytes.length, body.length);
        return bytes;
    }

    private static int port(URI server) {
        return server.getPort() < 0 ? 80 : server.getPort();
    }

    private static boolean startsWith(byte[] line, int length, int from, byte[] prefix) {
        return length >= from + prefix.length
                && Arrays.equals(line, from, from + prefix.length, prefix, 0, prefix.length);
    }
}
