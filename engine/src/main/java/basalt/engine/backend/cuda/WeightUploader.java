package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;
import basalt.engine.model.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/**
 * Copies tensors to the device as its element type, through two mapped buffers: one is filled while the other travels.
 * Confined to the thread that opens the backend.
 */
final class WeightUploader {
    private static final long BUFFER_BYTES = 32L << 20;
    private static final long ALIGNMENT_BYTES = 256;

    private final Device device;
    private final ElementType type;
    private final MemorySegment[] buffers; // [2, BUFFER_BYTES]
    private final int[] events; // when each buffer's last copy was done
    private long totalBytes;
    private int next;

    WeightUploader(Device device, ElementType type) {
        this.device = device;
        this.type = type;
        buffers = new MemorySegment[] {device.allocateMapped(BUFFER_BYTES), device.allocateMapped(BUFFER_BYTES)};
        events = new int[] {device.createEvent(), device.createEvent()};
        device.record(events[0]);
        device.record(events[1]);
    }

    /** Bytes of weights on the device so far. */
    long totalBytes() {
        return totalBytes;
    }

    /** One tensor on the device. */
    long upload(Tensor tensor) {
        return upload(List.of(tensor), List.of(tensor.elementCount()));
    }

    /** The first {@code counts} elements of several tensors, one after another; returns their address. */
    long upload(List<Tensor> tensors, List<Long> counts) {
        long elements = counts.stream().mapToLong(Long::longValue).sum();
        long address = device.allocate(elements * type.bytes() + ALIGNMENT_BYTES);
        totalBytes += elements * type.bytes();
        long to = address;
        for (int i = 0; i < tensors.size(); i++) {
            long count = counts.get(i);
            long perBuffer = BUFFER_BYTES / type.bytes();
            for (long from = 0; from < count; from += perBuffer) {
                long length = Math.min(perBuffer, count - from);
                send(tensors.get(i), from, length, to);
                to += length * type.bytes();
            }
        }
        return address;
    }

    private void send(Tensor tensor, long from, long count, long to) {
        MemorySegment buffer = buffers[next];
        device.await(events[next]);
        if (tensor.type() == type) {
            MemorySegment.copy(tensor.data(), from * type.bytes(), buffer, 0, count * type.bytes());
        } else if (type == ElementType.BF16) {
            for (long i = 0; i < count; i++) {
                buffer.setAtIndex(ValueLayout.JAVA_SHORT, i, SlotMemory.bf16(tensor.at(from + i)));
            }
        } else {
            for (long i = 0; i < count; i++) {
                buffer.setAtIndex(ValueLayout.JAVA_FLOAT, i, tensor.at(from + i));
            }
        }
        device.upload(to, buffer, 0, count * type.bytes());
        device.record(events[next]);
        next = 1 - next;
    }
}
