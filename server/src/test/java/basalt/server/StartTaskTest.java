package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import org.junit.jupiter.api.Test;

class StartTaskTest {
    @Test
    void resultIsThatOfTheWork() throws Exception {
        var gate = new CompletableFuture<String>();
        StartTask<String> task = StartTask.start(
                "work", () -> gate.join() + Thread.currentThread().getName());

        assertFalse(task.isDone());
        gate.complete("done by ");
        assertEquals("done by work", task.get());
        assertTrue(task.isDone());
    }

    @Test
    void exceptionOfTheWorkIsTheCause() {
        var failure = new UncheckedIOException(new IOException("no such file"));
        StartTask<String> task = StartTask.start("work", () -> {
            throw failure;
        });

        assertSame(failure, assertThrows(ExecutionException.class, task::get).getCause());
        assertTrue(task.isDone());
    }

    @Test
    void errorOfTheWorkIsTheCause() {
        var failure = new NoClassDefFoundError("basalt/Missing");
        StartTask<String> task = StartTask.start("work", () -> {
            throw failure;
        });

        assertSame(failure, assertThrows(ExecutionException.class, task::get).getCause());
    }

    @Test
    void fullHeapIsTold() {
        StartTask<String> task = StartTask.start("work", () -> {
            throw new OutOfMemoryError("Java heap space");
        });

        assertThrows(OutOfMemoryError.class, task::get);
    }
}
