package basalt.server.http;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.helidon.http.RequestException;
import org.junit.jupiter.api.Test;

class HeldBytesTest {
    private final HeldBytes held = new HeldBytes(100);

    @Test
    void oneBodyAloneIsLetThroughAndOthersAreRefusedUntilItIsGone() {
        held.hold(60, 0);
        held.hold(90, 60);

        var refusal = assertThrows(RequestException.class, () -> held.hold(1, 0));
        assertEquals(503, refusal.status().code());

        held.release(150);
        held.hold(70, 0);
        held.hold(30, 0);
        assertThrows(RequestException.class, () -> held.hold(1, 0));
    }

    @Test
    void whatIsRefusedIsNotCounted() {
        held.hold(80, 0);

        assertThrows(RequestException.class, () -> held.hold(40, 0));

        held.hold(20, 0);
    }
}
