package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.fixture.LocalHub;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Servers that are asked for a model by its name, in processes of their own. */
class DownloadIT {
    private static final Path MODEL = Path.of("..", "models", "based-10m");
    private static final long PART_BYTES = 8 << 20;
    /** What may be on its way to connections that have just ended; a part that comes again is much more. */
    private static final long LOST_BYTES_MAX = PART_BYTES / 4;

    @TempDir
    private Path folder;

    private final LocalHub hub = LocalHub.of(MODEL);
    private final long bytes =
            hub.files.values().stream().mapToLong(file -> file.length).sum();

    DownloadIT() throws IOException {}

    @AfterEach
    void close() {
        hub.close();
    }

    private String[] args() {
        return new String[] {
            "--model",
            "owner/name",
            "--model-name",
            "based-10m",
            "--hub-endpoint",
            hub.endpoint().toString(),
            "--hub-cache",
            folder.resolve("cache").toString()
        };
    }

    private ServerProcess start(String log) {
        try {
            return ServerProcess.start(folder.resolve(log), args());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String text(ServerProcess server) throws IOException, InterruptedException {
        String body = "{\"prompt\":\"The old house\",\"max_tokens\":10,\"temperature\":0}";
        return server.send("POST", "/v1/completions", body).toString().replaceAll("\"(id|created)\":[^,]*,", "");
    }

    @Test
    void killedDownloadGoesOnWhereItWas() throws Exception {
        Path log = folder.resolve("killed");
        hub.bytesUntilDown = PART_BYTES + 1_000_000;
        Process killed = ServerProcess.launch(log, List.of(), args());
        TestServer.await("a cut", () -> Files.exists(log) && read(log).contains("event=download_cut"));
        killed.destroyForcibly().waitFor();
        long sent = hub.sentBytes.get();
        hub.bytesUntilDown = Long.MAX_VALUE;

        try (ServerProcess server = start("next")) {
            assertTrue(text(server).contains("\"text\""), server.log());
        }

        assertTrue(sent > PART_BYTES, sent + " bytes sent");
        assertTrue(
                hub.sentBytes.get() - sent <= bytes - PART_BYTES + LOST_BYTES_MAX,
                () -> hub.sentBytes + " bytes sent in the end");
    }

    private static String read(Path log) {
        try {
            return Files.readString(log);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Test
    void twoProcessesAtOnceDownloadItOnce() throws Exception {
        var other = CompletableFuture.supplyAsync(() -> start("other"));

        try (ServerProcess one = start("one");
                ServerProcess two = other.join()) {
            assertEquals(text(one), text(two));
        }

        assertEquals(bytes, hub.sentBytes.get());
    }
}
