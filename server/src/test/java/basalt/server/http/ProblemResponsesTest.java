package basalt.server.http;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.helidon.http.DirectHandler;
import io.helidon.http.DirectHandler.EventType;
import io.helidon.http.DirectHandler.TransportRequest;
import io.helidon.http.ServerRequestHeaders;
import io.helidon.http.ServerResponseHeaders;
import io.helidon.http.Status;
import java.util.ArrayList;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;

class ProblemResponsesTest {
    /** A request that a handler fails to answer. */
    private record Request(String method) implements TransportRequest {
        @Override
        public String protocolVersion() {
            return "1.1";
        }

        @Override
        public String path() {
            return "/v1/sessions/sess_1";
        }

        @Override
        public ServerRequestHeaders headers() {
            return ServerRequestHeaders.create();
        }
    }

    private static DirectHandler.TransportResponse fail(String method) {
        var given = ServerResponseHeaders.create();
        given.set(RequestFilter.REQUEST_ID, "request-7");
        return ProblemResponses.directHandlers()
                .handler(EventType.INTERNAL_ERROR)
                .handle(
                        new Request(method),
                        EventType.INTERNAL_ERROR,
                        Status.INTERNAL_SERVER_ERROR_500,
                        given,
                        new IllegalStateException("a bug"),
                        null);
    }

    @Test
    void failureIsLoggedWithTheIdThatTheClientSees() {
        var lines = new ArrayList<String>();
        var logger = Logger.getLogger(ProblemResponses.class.getName());
        var handler = new Handler() {
            @Override
            public void publish(LogRecord line) {
                lines.add(line.getMessage());
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };
        logger.addHandler(handler);
        try {
            var answer = fail("POST");

            assertEquals(1, lines.size(), lines.toString());
            assertTrue(lines.getFirst().startsWith("event=failure id=request-7 "), lines.toString());
            assertEquals(
                    "request-7",
                    answer.headers().first(RequestFilter.REQUEST_ID).orElse(""));
        } finally {
            logger.removeHandler(handler);
        }
    }

    @Test
    void failureOfHeadHasNoEntity() {
        assertEquals(0, fail("HEAD").entity().orElse(new byte[0]).length);
        assertTrue(fail("GET").entity().orElse(new byte[0]).length > 0);
    }
}
