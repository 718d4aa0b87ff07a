package basalt.server.http;

import io.helidon.webserver.http.ServerRequest;

/** A request's place among those that its API key has open. Confined to the request's thread. */
final class KeyLease {
    private final Runnable leave;
    private boolean isKept;

    /** @param leave gives the place back */
    KeyLease(Runnable leave) {
        this.leave = leave;
    }

    /** That of a request, or of none where nothing is counted. */
    static KeyLease of(ServerRequest request) {
        return request.context().get(KeyLease.class).orElseGet(() -> new KeyLease(() -> {}));
    }

    /** Keeps the place beyond the request's end; whoever asks gives it back, once. */
    Runnable keep() {
        isKept = true;
        return leave;
    }

    /** The request has ended. */
    void end() {
        if (!isKept) {
            leave.run();
        }
    }
}
