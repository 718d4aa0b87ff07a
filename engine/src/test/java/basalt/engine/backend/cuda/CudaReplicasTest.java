package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Objects;
import java.util.function.BiConsumer;
import java.util.function.IntConsumer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The rules of several devices on the kernels, emulated on the CPU. */
@Timeout(240)
final class CudaReplicasTest {
    private static final int DEVICES = 2;

    private final HashMap<Integer, FailingDevice> open = new HashMap<>();

    @BeforeEach
    void requireEmulation() {
        assumeTrue(EmulatedDevice.library(ElementType.F32).isPresent(), "the kernels were not compiled for emulation");
    }

    private Device open(int ordinal) {
        var device = new FailingDevice("emulated (device " + ordinal + ")", new EmulatedDevice(ElementType.F32));
        open.put(ordinal, device);
        return device.device();
    }

    private FailingDevice device(int ordinal) {
        return Objects.requireNonNull(open.get(ordinal));
    }

    private void run(int deviceCount, IntConsumer fail, BiConsumer<String, Object> report) {
        var devices = new GpuReplicas.Devices(deviceCount, this::open, fail);
        var sizes = new GpuReplicas.Sizes(3, 8, 24, 64);
        try (var checkpoint = Checkpoint.open(Golden.open("g05_fla").directory())) {
            new GpuReplicas(checkpoint, ElementType.F32, devices, sizes, report).run();
        }
    }

    /** The names of the rules, all of which held. */
    private List<String> rules(IntConsumer fail) {
        var failures = new ArrayList<String>();
        var names = new ArrayList<String>();
        run(DEVICES, fail, (name, value) -> {
            names.add(name);
            if (!value.toString().startsWith("ok")) {
                failures.add(name + ": " + value);
            }
        });
        assertEquals(List.of(), failures);
        return names;
    }

    @Test
    void devicesSayWhatOneSaysAndFailAlone() {
        var names = rules(ordinal -> device(ordinal).fail());

        assertEquals(12, names.size(), names.toString());
        assertEquals(0, device(DEVICES - 1).lentCount(), "blocks that the device which failed still has");
    }

    @Test
    void aDriverThatEndsAllDevicesEndsAllStreams() {
        var names = rules(ordinal -> open.values().forEach(FailingDevice::fail));

        assertTrue(names.contains("failure: the driver ended all devices"), names.toString());
    }

    @Test
    void oneDeviceIsSaidToBeTooFew() {
        var lines = new ArrayList<String>();

        run(1, ordinal -> {}, (name, value) -> lines.add(name + ": " + value));

        assertEquals(List.of("devices: skipped: needs two, there is 1"), lines);
    }

    @Test
    void rateOfAllDevicesIsMeasured() {
        var lines = new ArrayList<String>();
        var options = new CudaBackend.Options(5, 4, 64, false, ElementType.F32);

        try (var checkpoint = Checkpoint.open(Golden.open("g05_fla").directory())) {
            int vocabSize = checkpoint.config().vocabSize();
            new GpuReplicasBench(
                            DEVICES,
                            ordinal ->
                                    CudaBackend.open(open(ordinal), checkpoint.config(), checkpoint.weights(), options),
                            new GpuReplicasBench.Sizes(4, 100, vocabSize, 3, 5),
                            (name, value) -> lines.add(name + ": " + value))
                    .run();
        }

        assertEquals(3, lines.size(), lines.toString());
        assertTrue(lines.getLast().matches("2 devices, B=4 each: [0-9,]+ tok/s, [0-9.]+ times one"), lines.getLast());
    }
}
