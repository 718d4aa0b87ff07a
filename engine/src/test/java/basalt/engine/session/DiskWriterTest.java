package basalt.engine.session;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.reflect.Proxy;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class DiskWriterTest {
    static List<Runnable> failures() {
        return List.of(
                () -> {
                    throw new IllegalStateException("a test");
                },
                () -> {
                    throw new OutOfMemoryError("a test");
                });
    }

    /** Fails as soon as it is brought to the disk, and tells that it was. */
    private static Path failing(Runnable failure, AtomicBoolean isUsed) {
        return (Path) Proxy.newProxyInstance(
                DiskWriterTest.class.getClassLoader(),
                new Class<?>[] {Path.class},
                (proxy, method, arguments) -> switch (method.getName()) {
                    case "equals" -> System.identityHashCode(proxy) == System.identityHashCode(arguments[0]);
                    case "hashCode" -> System.identityHashCode(proxy);
                    case "toString" -> "failing";
                    default -> {
                        isUsed.set(true);
                        failure.run();
                        throw new AssertionError(method);
                    }
                });
    }

    @ParameterizedTest
    @MethodSource("failures")
    void failureOfOneFileLeavesTheOthers(Runnable failure) {
        var isFirstUsed = new AtomicBoolean();
        var isSecondUsed = new AtomicBoolean();
        try (var writer = new DiskWriter()) {
            writer.later(failing(failure, isFirstUsed));
            writer.later(failing(failure, isSecondUsed));
            writer.start();
        }

        assertTrue(isFirstUsed.get());
        assertTrue(isSecondUsed.get(), "its thread has ended");
    }
}
