package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.state.StateLayout;
import java.lang.foreign.ValueLayout;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What {@link PairProjections} tells its kernels of the residual stream, on a device that only takes notes. */
final class PairLaunchesTest {
    private static final int MULTIPROCESSORS = 132;
    private static final int ROWS_MAX = 8;
    private static final int ARGUMENTS = 30; // of project_pair
    private static final int RESIDUAL = 1;
    private static final int SUMS = 2;
    private static final int RESIDUAL_OUT = 3;
    private static final int PLACES = 9;
    private static final int SUMS_OUT = 28;
    private static final int SUMS_AFTER = 29;

    private final ModelConfig config = BenchmarkModels.narrow();
    private final List<Launch> launches = new ArrayList<>();
    private long nextAddress = 1 << 20;
    private DeviceModel model;
    private PairProjections pairs;

    private record Launch(Kernel kernel, int sharedBytes, List<Long> arguments) {}

    @BeforeEach
    void open() {
        var device = (Device) Proxy.newProxyInstance(
                Device.class.getClassLoader(), new Class<?>[] {Device.class}, (proxy, method, values) -> {
                    return answer(method, values);
                });
        model = model();
        assertTrue(PairProjections.fits(MULTIPROCESSORS, model));
        var sizes = new StepBuffers.Sizes(ROWS_MAX, ROWS_MAX, ROWS_MAX);
        var buffers = StepBuffers.allocate(device, config, ElementType.BF16, sizes);
        var slots = new SlotMemory(StateLayout.of(config, ElementType.BF16));
        pairs = new PairProjections(device, model, buffers, slots, address(), new KernelArguments());
    }

    private long address() {
        nextAddress += 1 << 20;
        return nextAddress;
    }

    private Object answer(Method method, Object[] values) {
        return switch (method.getName()) {
            case "multiprocessorCount" -> MULTIPROCESSORS;
            case "allocate", "mapTensor" -> address();
            case "launch" -> note((Kernel) values[0], (int) values[4], (KernelArguments) values[5]);
            case "launchClusters" ->
                note((Kernel) values[0], ((Device.Clusters) values[1]).sharedBytes(), (KernelArguments) values[2]);
            case "fill" -> "";
            default -> throw new AssertionError(method.getName());
        };
    }

    private Object note(Kernel kernel, int sharedBytes, KernelArguments arguments) {
        var values = new ArrayList<Long>();
        for (int i = 0; i < arguments.count(); i++) {
            values.add(arguments.values().getAtIndex(ValueLayout.JAVA_LONG, i));
        }
        launches.add(new Launch(kernel, sharedBytes, values));
        return "";
    }

    private DeviceModel model() {
        int width = config.width();
        int inner = config.mlp().innerWidth();
        var layers = new ArrayList<DeviceModel.Layer>();
        for (Mixer mixer : config.mixers()) {
            int rows = switch (mixer) {
                case Mixer.Convolution m -> 2 * m.channelCount();
                case Mixer.TaylorAttention m -> m.headCount() * (2 * m.featureDim() + m.headWidth());
                case Mixer.WindowAttention m -> (m.headCount() + 2 * m.keyHeadCount()) * m.headWidth();
            };
            int depth = mixer instanceof Mixer.Convolution m ? m.channelCount() : width;
            layers.add(new DeviceModel.Layer(
                    mixer,
                    norm(),
                    linear(rows, width),
                    address(),
                    0,
                    linear(width, depth),
                    norm(),
                    linear(2 * inner, width),
                    linear(width, inner)));
        }
        return new DeviceModel(config, 0, 0, 0, 0, layers, norm(), linear(config.paddedVocabSize(), width), 0);
    }

    private DeviceModel.Norm norm() {
        return new DeviceModel.Norm(address(), 0);
    }

    private DeviceModel.Linear linear(int rows, int depth) {
        return new DeviceModel.Linear(address(), 0, rows, depth);
    }

    /** The launches of a step, without the mixers'. */
    private List<Launch> step(int rows) {
        launches.clear();
        pairs.start();
        for (var layer : model.layers()) {
            if (layer.mixer() instanceof Mixer.Convolution m) {
                pairs.convolution(layer, m, 0, rows);
            } else {
                pairs.plain(layer.input(), layer.norm1(), rows);
                pairs.residual(layer.output(), rows);
            }
            pairs.gate(layer, rows);
        }
        pairs.finish(model.finalNorm(), rows);
        return List.copyOf(launches);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 7})
    void everyLaunchReadsWhatTheLastOneLeft(int rows) {
        var step = step(rows);
        long residual = step.getFirst().arguments().get(RESIDUAL);
        long sums = 0;
        for (var launch : step.subList(0, step.size() - 1)) {
            var told = launch.arguments();
            assertEquals(ARGUMENTS, told.size());
            assertEquals(residual, told.get(RESIDUAL));
            assertEquals(sums, told.get(SUMS));
            assertNotEquals(residual, told.get(RESIDUAL_OUT));
            residual = sums != 0 ? told.get(RESIDUAL_OUT) : residual;
            sums = told.get(SUMS_OUT);
        }
        var end = step.getLast();
        assertEquals(Kernel.ADD_SUMS, end.kernel());
        assertEquals(residual, end.arguments().get(0));
        assertEquals(sums, end.arguments().get(1));
    }

    @Test
    void sumsBeginAtZero() {
        var step = step(2);
        var pairsOfStep = step.stream()
                .filter(launch -> launch.kernel() == Kernel.PROJECT_PAIR)
                .map(Launch::arguments)
                .filter(told -> told.get(SUMS_OUT) != 0)
                .toList();
        assertEquals(6, pairsOfStep.size());
        for (int i = 0; i < pairsOfStep.size(); i++) {
            var told = pairsOfStep.get(i);
            assertNotEquals(told.get(SUMS_OUT), told.get(SUMS_AFTER));
            assertNotEquals(told.get(SUMS), told.get(SUMS_OUT));
            assertNotEquals(told.get(SUMS), told.get(SUMS_AFTER), "is still read");
            if (i + 1 < pairsOfStep.size()) {
                assertEquals(told.get(SUMS_AFTER), pairsOfStep.get(i + 1).get(SUMS_OUT));
            }
        }
        long first = pairsOfStep.getFirst().get(SUMS_OUT);
        assertEquals(first, step.getLast().arguments().get(5), "cleared for the next step");
        assertEquals(first, step(1).getFirst().arguments().get(SUMS_OUT));
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 7})
    void sharedMemorySuffices(int rows) {
        assertTrue(pairs.holds(rows));
        for (var launch : step(rows)) {
            assertTrue(launch.sharedBytes() <= launch.kernel().sharedBytesMax(), launch.toString());
            if (launch.kernel() == Kernel.PROJECT_PAIR) {
                assertTrue(launch.arguments().get(PLACES) >= 3, "the kernel has three stages under way");
            }
        }
    }

    @Test
    void longerStreamsGoElsewhere() {
        assertTrue(!pairs.holds(8), "8 rows of 512");
    }
}
