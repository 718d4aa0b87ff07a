package basalt.engine.model;

import basalt.engine.EngineException.InvalidCheckpoint;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Reads the pickle of a torch state dictionary: tensors by name and nothing else. It is a machine for the opcodes that
 * torch writes; every other opcode and every global but those of {@link #global} is refused, so nothing of the file is
 * ever run. Strings are no longer than the bytes that are there, containers share their items, keys are strings: memory
 * and time are linear in the size of the pickle.
 */
final class TorchPickle {
    /** Larger pickles are refused; that of a 1.3B model has 40 kB. */
    static final int BYTES_MAX = 8 << 20;

    /**
     * A part of a storage.
     *
     * @param storage it lies in
     * @param offset first element
     * @param shape lengths, outermost first
     * @param strides elements from one index to the next, for each length
     */
    record StridedTensor(Storage storage, long offset, List<Long> shape, List<Long> strides) {}

    /**
     * Elements in an entry of their own.
     *
     * @param key names the entry
     * @param count of elements
     */
    record Storage(TensorType type, String key, long count) {}

    /** What an allowed global name stands for. */
    private sealed interface Global {
        record StorageType(TensorType type) implements Global {}

        enum Constructor implements Global {
            ORDERED_DICT,
            TENSOR,
            PARAMETER
        }
    }

    private static final Object NONE = new Object();
    private static final Object MARK = new Object();

    private final String file;
    private final ByteBuffer input;
    private final ArrayList<Object> stack = new ArrayList<>();
    private final ArrayList<Object> memo = new ArrayList<>();

    private TorchPickle(String file, byte[] pickle) {
        this.file = file;
        input = ByteBuffer.wrap(pickle).order(ByteOrder.LITTLE_ENDIAN);
    }

    /**
     * Tensors by name.
     *
     * @param file named in errors
     * @throws InvalidCheckpoint if the pickle holds anything but a dictionary of tensors, or is damaged
     */
    static Map<String, StridedTensor> read(String file, byte[] pickle) {
        return new TorchPickle(file, pickle).tensors();
    }

    private Map<String, StridedTensor> tensors() {
        var tensors = new LinkedHashMap<String, StridedTensor>();
        dict(load()).forEach((name, value) -> {
            if (!(value instanceof StridedTensor tensor)) {
                throw wrong("entry " + name + " is no tensor");
            }
            tensors.put(name, tensor);
        });
        return tensors;
    }

    private Object load() {
        try {
            while (true) {
                int opcode = Byte.toUnsignedInt(input.get());
                if (opcode == '.') {
                    return pop();
                }
                if (!pushValue(opcode) && !useMemo(opcode)) {
                    build(opcode);
                }
            }
        } catch (BufferUnderflowException e) {
            throw new InvalidCheckpoint(file + ": is truncated", e);
        }
    }

    /** Opcodes that push a value of their own. */
    private boolean pushValue(int opcode) {
        switch (opcode) {
            case 0x80 -> checkProtocol(input.get());
            case 0x95 -> input.getLong(); // a frame: a hint for buffering
            case '(' -> push(MARK);
            case 'N' -> push(NONE);
            case 0x88 -> push(true);
            case 0x89 -> push(false);
            case 'K' -> push((long) Byte.toUnsignedInt(input.get()));
            case 'M' -> push((long) Short.toUnsignedInt(input.getShort()));
            case 'J' -> push((long) input.getInt());
            case 0x8a -> push(longInteger());
            case 'G' -> push(input.order(ByteOrder.BIG_ENDIAN).getDouble());
            case 'X' -> push(string(Integer.toUnsignedLong(input.getInt())));
            case 0x8c -> push(string(Byte.toUnsignedInt(input.get())));
            case 0x8d -> push(string(input.getLong()));
            case ')', ']' -> push(new ArrayList<>());
            case '}' -> push(new LinkedHashMap<String, Object>());
            case 'c' -> push(global(line(), line()));
            case 0x93 -> {
                String name = text(pop());
                push(global(text(pop()), name));
            }
            default -> {
                return false;
            }
        }
        input.order(ByteOrder.LITTLE_ENDIAN);
        return true;
    }

    private boolean useMemo(int opcode) {
        switch (opcode) {
            case 'q' -> memoize(Byte.toUnsignedInt(input.get()));
            case 'r' -> memoize(input.getInt());
            case 0x94 -> memoize(memo.size());
            case 'h' -> push(remembered(Byte.toUnsignedInt(input.get())));
            case 'j' -> push(remembered(input.getInt()));
            default -> {
                return false;
            }
        }
        return true;
    }

    /** Opcodes that make a value of those on the stack. */
    private void build(int opcode) {
        switch (opcode) {
            case 't' -> push(popToMark());
            case 0x85 -> push(popCount(1));
            case 0x86 -> push(popCount(2));
            case 0x87 -> push(popCount(3));
            case 'a' -> {
                Object item = pop();
                list(top()).add(item);
            }
            case 'e' -> {
                List<Object> items = popToMark();
                list(top()).addAll(items);
            }
            case 's' -> putAll(popCount(2));
            case 'u' -> putAll(popToMark());
            case 'Q' -> push(storage(list(pop())));
            case 'R' -> {
                List<Object> arguments = list(pop());
                push(construct(pop(), arguments));
            }
            case 'b' -> {
                pop();
                dict(top()); // attributes of a dictionary, such as _metadata, say nothing about its tensors
            }
            default -> throw wrong("opcode 0x" + Integer.toHexString(opcode) + " is not one of a state dictionary");
        }
    }

    private void checkProtocol(byte protocol) {
        if (protocol < 2 || protocol > 5) {
            throw wrong("pickle protocol " + protocol + " is not supported; 2 to 5 are");
        }
    }

    private long longInteger() {
        int bytes = Byte.toUnsignedInt(input.get());
        if (bytes > Long.BYTES) {
            throw wrong("has a number of " + bytes + " bytes");
        }
        long value = 0;
        for (int i = 0; i < bytes; i++) {
            value |= Byte.toUnsignedLong(input.get()) << (8 * i);
        }
        int unused = Long.SIZE - 8 * bytes;
        return bytes == 0 ? 0 : value << unused >> unused;
    }

    private String string(long bytes) {
        if (bytes < 0 || bytes > input.remaining()) {
            throw wrong("is truncated: a string of " + Long.toUnsignedString(bytes) + " bytes");
        }
        var utf8 = new byte[(int) bytes];
        input.get(utf8);
        return new String(utf8, StandardCharsets.UTF_8);
    }

    private String line() {
        int start = input.position();
        while (input.get() != '\n') {}
        return new String(input.array(), start, input.position() - 1 - start, StandardCharsets.UTF_8);
    }

    private Global global(String module, String name) {
        Optional<Global> known = switch (module) {
            case "collections" ->
                Optional.<Global>of(Global.Constructor.ORDERED_DICT).filter(x -> name.equals("OrderedDict"));
            case "torch._utils" ->
                switch (name) {
                    case "_rebuild_tensor_v2" -> Optional.of(Global.Constructor.TENSOR);
                    case "_rebuild_parameter" -> Optional.of(Global.Constructor.PARAMETER);
                    default -> Optional.empty();
                };
            case "torch" -> storageType(name).map(Global.StorageType::new);
            default -> Optional.empty();
        };
        return known.orElseThrow(
                () -> wrong("global " + shown(module) + "." + shown(name) + " is refused: only tensors are read"));
    }

    private static Optional<TensorType> storageType(String name) {
        return Optional.ofNullable(
                switch (name) {
                    case "FloatStorage" -> TensorType.F32;
                    case "HalfStorage" -> TensorType.F16;
                    case "BFloat16Storage" -> TensorType.BF16;
                    case "DoubleStorage" -> TensorType.F64;
                    case "LongStorage" -> TensorType.I64;
                    case "IntStorage" -> TensorType.I32;
                    case "ShortStorage" -> TensorType.I16;
                    case "CharStorage" -> TensorType.I8;
                    case "ByteStorage" -> TensorType.U8;
                    case "BoolStorage" -> TensorType.BOOL;
                    default -> null;
                });
    }

    private Object construct(Object constructor, List<Object> arguments) {
        if (!(constructor instanceof Global.Constructor known)) {
            throw wrong("calls what is no constructor");
        }
        return switch (known) {
            case ORDERED_DICT -> {
                if (!arguments.isEmpty()) {
                    throw wrong("an OrderedDict has arguments");
                }
                yield new LinkedHashMap<String, Object>();
            }
            case TENSOR -> {
                if (arguments.size() < 4 || !(arguments.getFirst() instanceof Storage storage)) {
                    throw wrong("a tensor has no storage, offset, size and stride");
                }
                var shape = integers(arguments.get(2));
                var strides = integers(arguments.get(3));
                if (shape.size() != strides.size()) {
                    throw wrong("a tensor has " + shape.size() + " lengths and " + strides.size() + " strides");
                }
                yield new StridedTensor(storage, integer(arguments.get(1)), shape, strides);
            }
            case PARAMETER -> {
                if (arguments.isEmpty() || !(arguments.getFirst() instanceof StridedTensor tensor)) {
                    throw wrong("a parameter has no tensor");
                }
                yield tensor;
            }
        };
    }

    /** {@code ('storage', type, key, device, count)}. */
    private Storage storage(List<Object> id) {
        if (id.size() != 5 || !id.getFirst().equals("storage") || !(id.get(1) instanceof Global.StorageType type)) {
            throw wrong("refers to something that is no storage");
        }
        return new Storage(type.type(), text(id.get(2)), integer(id.get(4)));
    }

    private void putAll(List<Object> keysAndValues) {
        Map<String, Object> dict = dict(top());
        if (keysAndValues.size() % 2 != 0) {
            throw wrong("a key has no value");
        }
        for (int i = 0; i < keysAndValues.size(); i += 2) {
            String key = text(keysAndValues.get(i));
            if (dict.put(key, keysAndValues.get(i + 1)) != null) {
                throw wrong("has two entries " + shown(key));
            }
        }
    }

    private void memoize(int index) {
        if (index == memo.size()) {
            memo.add(top());
        } else if (index >= 0 && index < memo.size()) {
            memo.set(index, top());
        } else {
            throw wrong("memo " + Integer.toUnsignedString(index) + " is out of order");
        }
    }

    private Object remembered(int index) {
        if (index < 0 || index >= memo.size()) {
            throw wrong("memo " + Integer.toUnsignedString(index) + " is not there");
        }
        return memo.get(index);
    }

    private void push(Object value) {
        stack.add(value);
    }

    private Object top() {
        if (stack.isEmpty()) {
            throw wrong("takes from an empty stack");
        }
        return stack.getLast();
    }

    private Object pop() {
        Object value = top();
        stack.removeLast();
        return value;
    }

    private List<Object> popCount(int count) {
        if (stack.size() < count) {
            throw wrong("takes from an empty stack");
        }
        return take(stack.size() - count);
    }

    private List<Object> popToMark() {
        int mark = stack.size() - 1;
        while (mark >= 0 && stack.get(mark) != MARK) {
            mark--;
        }
        if (mark < 0) {
            throw wrong("has no mark");
        }
        List<Object> items = take(mark + 1);
        stack.removeLast();
        return items;
    }

    private List<Object> take(int from) {
        var tail = stack.subList(from, stack.size());
        var items = new ArrayList<>(tail);
        tail.clear();
        return items;
    }

    private String text(Object value) {
        if (!(value instanceof String text)) {
            throw wrong("has a name that is no string");
        }
        return text;
    }

    private long integer(Object value) {
        if (!(value instanceof Long number)) {
            throw wrong("a tensor has an offset, length or stride that is no whole number");
        }
        return number;
    }

    private List<Long> integers(Object value) {
        List<Object> items = list(value);
        if (items.size() > SafetensorsFile.RANK_MAX) {
            throw wrong("a tensor has " + items.size() + " dimensions");
        }
        return items.stream().map(this::integer).toList();
    }

    @SuppressWarnings("unchecked") // lists are made here only
    private List<Object> list(Object value) {
        if (!(value instanceof ArrayList<?> list)) {
            throw wrong("has something else where a list belongs");
        }
        return (List<Object>) list;
    }

    @SuppressWarnings("unchecked") // dictionaries are made here only
    private Map<String, Object> dict(Object value) {
        if (!(value instanceof LinkedHashMap<?, ?> dict)) {
            throw wrong("has something else where a dictionary belongs");
        }
        return (Map<String, Object>) dict;
    }

    private static String shown(String text) {
        return text.length() <= 80 ? text : text.substring(0, 80) + "...";
    }

    private InvalidCheckpoint wrong(String what) {
        return new InvalidCheckpoint(file + ": " + what);
    }
}
