package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import basalt.engine.state.StateLayout.Role;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class SlotMemoryTest {
    /** Of a model that has all mixers. */
    private static StateLayout layout(ElementType ringType) {
        try (var checkpoint = Checkpoint.open(Golden.open("g03_deep").directory())) {
            return StateLayout.of(checkpoint.config(), ringType);
        }
    }

    private static StateImage randomImage(StateLayout layout) {
        var random = new SplittableRandom(3);
        var image = new StateImage(layout);
        for (int i = 0; i < layout.tensors().size(); i++) {
            var tensor = layout.tensors().get(i);
            float[] elements = image.tensor(i);
            for (int n = 0; n < elements.length; n++) {
                float value = (float) random.nextDouble(-4, 4);
                elements[n] =
                        tensor.type() == ElementType.BF16 ? Float.intBitsToFloat(SlotMemory.bf16(value) << 16) : value;
            }
        }
        return image;
    }

    @ParameterizedTest
    @EnumSource(
            value = ElementType.class,
            names = {"BF16", "F32"})
    void whatIsWrittenIsRead(ElementType type) {
        var layout = layout(type);
        var memory = new SlotMemory(layout);
        var image = randomImage(layout);
        try (var arena = Arena.ofConfined()) {
            MemorySegment slot = arena.allocate(memory.bytes(), 256).fill((byte) 0xff);

            memory.write(image, slot);
            var read = new StateImage(layout);
            memory.read(slot, read);

            for (int i = 0; i < layout.tensors().size(); i++) {
                assertArrayEquals(
                        image.tensor(i), read.tensor(i), layout.tensors().get(i).toString());
            }
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = ElementType.class,
            names = {"BF16", "F32"})
    void elementsLieWhereKernelsReadThem(ElementType type) {
        var layout = layout(type);
        var memory = new SlotMemory(layout);
        var image = randomImage(layout);
        try (var arena = Arena.ofConfined()) {
            MemorySegment slot = arena.allocate(memory.bytes(), 256);
            memory.write(image, slot);

            for (int i = 0; i < layout.tensors().size(); i++) {
                var tensor = layout.tensors().get(i);
                long offset = memory.offset(tensor.layer(), tensor.role());
                assertTrue(tensor.elementCount() > 0);
                for (int n = 0; n < tensor.elementCount(); n++) {
                    assertEquals(
                            image.tensor(i)[n], elementAt(slot.asSlice(offset), tensor, n), () -> tensor.toString());
                }
            }
        }
    }

    /** As taylor.cu and window.cu have them: u16 [H, 2, D, e], element [heads, ring, width], others in order. */
    private static float elementAt(MemorySegment data, StateLayout.StateTensor tensor, int n) {
        if (tensor.role() == Role.TAYLOR_SUMS) {
            int plane = tensor.shape().get(1) * tensor.shape().get(2);
            int high = data.getAtIndex(ValueLayout.JAVA_SHORT, n / plane * 2 * plane + n % plane);
            int low = data.getAtIndex(ValueLayout.JAVA_SHORT, (n / plane * 2 + 1) * plane + n % plane);
            return Float.intBitsToFloat((high << 16) + low);
        }
        int at = n;
        if (tensor.shape().size() == 3) {
            int rows = tensor.shape().get(0);
            int heads = tensor.shape().get(1);
            int width = tensor.shape().get(2);
            at = (n / width % heads * rows + n / (heads * width)) * width + n % width;
        }
        return tensor.type() == ElementType.BF16
                ? Float.intBitsToFloat(data.getAtIndex(ValueLayout.JAVA_SHORT, at) << 16)
                : data.getAtIndex(ValueLayout.JAVA_FLOAT, at);
    }
}
