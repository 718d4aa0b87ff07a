package basalt.server.hub;

import java.io.IOException;

/** A proxy does not let through who asks: another try does not help, and may lock an account. */
final class ProxyRefusal extends IOException {
    private static final long serialVersionUID = 1L;

    ProxyRefusal(String message) {
        super(message);
    }
}
