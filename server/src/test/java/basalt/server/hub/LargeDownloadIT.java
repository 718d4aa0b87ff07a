package basalt.server.hub;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.model.Checkpoint;
import basalt.engine.model.CheckpointWriter;
import basalt.engine.model.ElementType;
import basalt.server.fixture.LocalHub;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A checkpoint of 720 MB with random weights, on demand: {@code -Dhub.large=true}, with figures in the log. */
class LargeDownloadIT {
    private static final System.Logger LOG = System.getLogger(LargeDownloadIT.class.getName());
    private static final HubId ID = HubId.parse("owner/name").orElseThrow();
    private static final String WEIGHTS = "model.safetensors";
    private static final int CUTS = 3;

    @TempDir
    private Path folder;

    @BeforeEach
    void requireDemand() {
        assumeTrue(Boolean.getBoolean("hub.large"), "a download of 720 MB is made on demand: -Dhub.large=true");
    }

    private static Path fetch(LocalHub hub, Path cache) throws InterruptedException {
        var settings = new HubSettings(hub.endpoint(), cache, Optional.empty(), false, HubProxies.NONE);
        return new ModelHub(settings, Duration.ofSeconds(5), Duration.ofMillis(1)).fetch(ID);
    }

    private static LocalHub publish(Path checkpoint) throws IOException {
        var hub = new LocalHub();
        hub.files.put("config.json", Files.readAllBytes(checkpoint.resolve("config.json")));
        hub.files.put(WEIGHTS, Files.readAllBytes(checkpoint.resolve(WEIGHTS)));
        return hub;
    }

    private static void log(String what, long bytes, long nanos) {
        LOG.log(
                System.Logger.Level.INFO,
                "event={0} megabytes={1} seconds={2} megabytes_a_second={3}",
                what,
                Long.toString(bytes / 1_000_000),
                Double.toString(Math.round(nanos / 1e7) / 100.0),
                Long.toString(Math.round(bytes * 1e3 / nanos)));
    }

    @Test
    void wholeCutThreeTimesAndCorrupted() throws Exception {
        Path checkpoint = folder.resolve("checkpoint");
        CheckpointWriter.writeRandom(checkpoint, CheckpointWriter.namedConfig("based-360m"), ElementType.BF16, 1);
        String fingerprint;
        try (var written = Checkpoint.open(checkpoint)) {
            fingerprint = written.fingerprint();
        }
        try (var hub = publish(checkpoint)) {
            long size = Files.size(checkpoint.resolve(WEIGHTS));
            assertTrue(size > 700_000_000, "the weights have " + size + " bytes");

            long began = System.nanoTime();
            Path whole = fetch(hub, folder.resolve("whole"));
            log("whole", size, System.nanoTime() - began);
            assertEquals(-1, Files.mismatch(checkpoint.resolve(WEIGHTS), whole.resolve(WEIGHTS)));
            try (var downloaded = Checkpoint.open(whole)) {
                assertEquals(fingerprint, downloaded.fingerprint());
            }

            long before = hub.sentBytes.get();
            long spent = 0;
            Path cache = folder.resolve("cut");
            for (int cut = 1; cut <= CUTS; cut++) {
                hub.bytesUntilDown = before + cut * size / (CUTS + 1);
                began = System.nanoTime();
                assertThrows(HubException.class, () -> fetch(hub, cache));
                spent += System.nanoTime() - began;
            }
            hub.bytesUntilDown = Long.MAX_VALUE;
            began = System.nanoTime();
            Path resumed = fetch(hub, cache);
            log("cut_three_times", size, spent + System.nanoTime() - began);
            assertEquals(-1, Files.mismatch(checkpoint.resolve(WEIGHTS), resumed.resolve(WEIGHTS)));
            long again = hub.sentBytes.get() - before - size;
            LOG.log(System.Logger.Level.INFO, "event=sent_again megabytes={0}", Long.toString(again / 1_000_000));
            assertTrue(again <= CUTS * 5 * FileDownload.PART_BYTES, again + " bytes were sent again");

            hub.corruptFile = Optional.of(WEIGHTS);
            String message = String.valueOf(assertThrows(HubException.class, () -> fetch(hub, folder.resolve("bad")))
                    .getMessage());
            assertTrue(message.contains("has not the hash it tells"), message);
        }
    }
}
