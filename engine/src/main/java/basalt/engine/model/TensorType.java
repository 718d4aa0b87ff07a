package basalt.engine.model;

import java.util.Optional;

/** Element types of the safetensors format, with those that a model can use. */
enum TensorType {
    BOOL(1),
    U8(1),
    I8(1),
    F8_E4M3(1),
    F8_E5M2(1),
    I16(2),
    U16(2),
    F16(2, ElementType.F16),
    BF16(2, ElementType.BF16),
    I32(4),
    U32(4),
    F32(4, ElementType.F32),
    I64(8),
    U64(8),
    F64(8);

    private final int bytes;
    private final Optional<ElementType> elementType;

    TensorType(int bytes) {
        this.bytes = bytes;
        elementType = Optional.empty();
    }

    TensorType(int bytes, ElementType elementType) {
        this.bytes = bytes;
        this.elementType = Optional.of(elementType);
    }

    /** The type of a name. */
    static Optional<TensorType> of(String name) {
        for (TensorType type : values()) {
            if (type.name().equals(name)) {
                return Optional.of(type);
            }
        }
        return Optional.empty();
    }

    /** Size of one element. */
    int bytes() {
        return bytes;
    }

    /** The type in a model, where a model can use it. */
    Optional<ElementType> elementType() {
        return elementType;
    }
}
