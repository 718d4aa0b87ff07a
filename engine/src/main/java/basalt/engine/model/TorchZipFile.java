package basalt.engine.model;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.FileFault;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Reads {@code pytorch_model.bin}: a zip file of one pickle, which says what lies where, and one entry for each
 * storage. The file is mapped and tensors are slices of it; only tensors that are not row-major are copied. Many
 * tensors may share a storage.
 */
final class TorchZipFile {
    private static final String PICKLE = "data.pkl";

    private final String fileName;
    private final MemorySegment file;
    private final Arena arena;
    private long copiedBytes;

    private TorchZipFile(String fileName, MemorySegment file, Arena arena) {
        this.fileName = fileName;
        this.file = file;
        this.arena = arena;
    }

    /**
     * Maps a file.
     *
     * @param arena owns the mapping and the copies
     * @throws InvalidCheckpoint saying what is wrong with the file or the tensor
     */
    static TensorSet map(Path path, Arena arena) {
        try (var channel = FileChannel.open(path, StandardOpenOption.READ)) {
            var file = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
            return new TorchZipFile(String.valueOf(path.getFileName()), file, arena).read();
        } catch (IOException e) {
            throw new InvalidCheckpoint(path + ": " + FileFault.reason(e), e);
        }
    }

    /**
     * Reads a file that is in memory already.
     *
     * @param fileName named in errors
     */
    static TensorSet read(String fileName, MemorySegment file, Arena arena) {
        return new TorchZipFile(fileName, file, arena).read();
    }

    private TensorSet read() {
        Map<String, MemorySegment> entries = ZipDirectory.entries(fileName, file);
        String prefix = prefix(entries);
        checkByteOrder(entries.get(prefix + "byteorder"));
        MemorySegment pickle = entries.get(prefix + PICKLE);
        if (pickle == null || pickle.byteSize() > TorchPickle.BYTES_MAX) {
            throw wrong(PICKLE + " is over the limit of " + TorchPickle.BYTES_MAX + " bytes");
        }
        var set = new TensorSet(new LinkedHashMap<>(), new LinkedHashMap<>());
        TorchPickle.read(fileName + " " + PICKLE, pickle.toArray(ValueLayout.JAVA_BYTE))
                .forEach((name, tensor) -> {
                    MemorySegment storage = storage(
                            name,
                            tensor,
                            entries.get(prefix + "data/" + tensor.storage().key()));
                    TensorType type = tensor.storage().type();
                    type.elementType()
                            .ifPresentOrElse(
                                    element -> set.tensors().put(name, tensor(name, tensor, element, storage)),
                                    () -> set.otherTypes().put(name, type.name()));
                });
        return set;
    }

    private String prefix(Map<String, MemorySegment> entries) {
        List<String> pickles = entries.keySet().stream()
                .filter(name -> name.endsWith("/" + PICKLE))
                .toList();
        if (pickles.size() != 1) {
            throw wrong("must have one entry */" + PICKLE + ", has " + pickles.size());
        }
        String pickle = pickles.getFirst();
        return pickle.substring(0, pickle.length() - PICKLE.length());
    }

    private void checkByteOrder(@Nullable MemorySegment entry) {
        if (entry != null) {
            byte[] text = entry.asSlice(0, Math.min(16, entry.byteSize())).toArray(ValueLayout.JAVA_BYTE);
            if (!new String(text, StandardCharsets.UTF_8).strip().equals("little")) {
                throw wrong("byteorder is not little");
            }
        }
    }

    private MemorySegment storage(String name, TorchPickle.StridedTensor tensor, @Nullable MemorySegment entry) {
        TorchPickle.Storage storage = tensor.storage();
        if (entry == null) {
            throw wrong("tensor " + name + ": its storage is missing");
        }
        if (storage.count() < 0
                || storage.count() > entry.byteSize() / storage.type().bytes()) {
            throw wrong("tensor " + name + ": its storage has " + entry.byteSize() + " bytes, not " + storage.count()
                    + " elements of " + storage.type());
        }
        return entry;
    }

    private Tensor tensor(String name, TorchPickle.StridedTensor tensor, ElementType type, MemorySegment storage) {
        checkExtent(name, tensor);
        List<Integer> shape = tensor.shape().stream().map(Math::toIntExact).toList();
        long count = elementCount(tensor.shape());
        MemorySegment data = isRowMajor(tensor)
                ? storage.asSlice(tensor.offset() * type.bytes(), count * type.bytes())
                : copy(name, tensor, type, storage);
        return new Tensor(name, type, shape, data);
    }

    /** No element may lie outside the storage, and no element may be counted twice to make a large tensor of it. */
    private void checkExtent(String name, TorchPickle.StridedTensor tensor) {
        long room = tensor.storage().count() - tensor.offset();
        boolean isInside = tensor.offset() >= 0 && room >= 0 && tensor.shape().size() <= SafetensorsFile.RANK_MAX;
        long count = 1;
        for (int i = 0; i < tensor.shape().size() && isInside; i++) {
            long length = tensor.shape().get(i);
            long stride = tensor.strides().get(i);
            isInside = length >= 0 && length <= Integer.MAX_VALUE && stride >= 0;
            if (isInside && length > 0) {
                isInside = count <= tensor.storage().count() / length
                        && (length == 1 || stride <= (room - 1) / (length - 1));
                room -= (length - 1) * stride;
            }
            count *= length;
        }
        if (!isInside || (count > 0 && room < 1)) {
            throw wrong("tensor " + name + ": size " + tensor.shape() + " with strides " + tensor.strides() + " at "
                    + tensor.offset() + " does not fit into a storage of "
                    + tensor.storage().count());
        }
    }

    private static boolean isRowMajor(TorchPickle.StridedTensor tensor) {
        long expected = 1;
        for (int i = tensor.shape().size() - 1; i >= 0; i--) {
            long length = tensor.shape().get(i);
            if (length != 1 && tensor.strides().get(i) != expected) {
                return elementCount(tensor.shape()) == 0;
            }
            expected *= length;
        }
        return true;
    }

    private MemorySegment copy(String name, TorchPickle.StridedTensor tensor, ElementType type, MemorySegment storage) {
        long bytes = elementCount(tensor.shape()) * type.bytes();
        copiedBytes += bytes;
        if (copiedBytes > file.byteSize()) {
            throw wrong("tensor " + name + ": the tensors that are not row-major are larger than the file");
        }
        MemorySegment data = arena.allocate(bytes, 64);
        var index = new long[tensor.shape().size()];
        for (long to = 0; to < bytes; to += type.bytes()) {
            long from = tensor.offset();
            for (int i = 0; i < index.length; i++) {
                from += index[i] * tensor.strides().get(i);
            }
            MemorySegment.copy(storage, from * type.bytes(), data, to, type.bytes());
            for (int i = index.length - 1;
                    i >= 0 && ++index[i] == tensor.shape().get(i);
                    i--) {
                index[i] = 0;
            }
        }
        return data;
    }

    private static long elementCount(List<Long> shape) {
        return shape.stream().reduce(1L, (one, other) -> one * other);
    }

    private InvalidCheckpoint wrong(String what) {
        return new InvalidCheckpoint(fileName + ": " + what);
    }
}
