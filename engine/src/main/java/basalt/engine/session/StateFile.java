package basalt.engine.session;

import basalt.engine.EngineException.InvalidState;
import basalt.engine.model.ElementType;
import basalt.engine.state.SavedState;
import basalt.engine.state.SessionState;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import basalt.engine.state.TokenHistory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Optional;
import java.util.zip.CRC32C;

/**
 * The bytes of a {@link SessionState}: the portable form between processes. Little-endian:
 *
 * <pre>
 * magic, version i32, SHA-256 of the model's fingerprint, tokens consumed i64 (0: no image), pending ids, history:
 * count
 * i64, digest, ids; tensors: layer, role, type, shape each; then their elements; CRC-32C of all that
 * </pre>
 *
 * <p>Rings are written in the type of the backend that made them and are converted on load. Sizes are checked before
 * anything is allocated, and every number before anything is believed.
 */
public final class StateFile {
    private static final long MAGIC = 0x5453544C41534142L; // "BASALTST"
    private static final int VERSION = 2; // 1 had rings of 16 rows more
    private static final int CRC_BYTES = Integer.BYTES;
    private static final int SHA_BYTES = 32;
    /** Magic, version, fingerprint, consumed, pending count, history count, digest, id count, tensor count. */
    private static final int FIXED_BYTES =
            8 + 4 + SHA_BYTES + 8 + 4 + 8 + TokenHistory.DIGEST_BYTES + 4 + 4 + CRC_BYTES;

    private static final String UNUSABLE = "not a state that can be used: ";
    private static final int BF16_SHIFT = 16;
    /** From here on adding one to an f32 changes nothing. */
    private static final long F32_COUNT_MAX = 1L << 24;

    /** Pending tokens of a state from elsewhere; more than a turn has, so that what was not read yet fits too. */
    private static final int PENDING_COUNT_MAX = 1 << 20;

    /** More than any device reads in a thousand years, so that no count of tokens overflows. */
    private static final long CONSUMED_COUNT_MAX = 1L << 48;

    private StateFile() {}

    /** The size of a state from elsewhere at most, whatever the types of its elements. */
    static long bytesMax(StateLayout layout, int vocabSize) {
        long elements = layout.tensors().stream()
                .mapToLong(tensor -> tensor.elementCount())
                .sum();
        return FIXED_BYTES
                + tableBytes(layout)
                + Float.BYTES * elements
                + (long) Integer.BYTES * (vocabSize + PENDING_COUNT_MAX);
    }

    /** Writes a state of a model. */
    public static byte[] bytes(SessionState state, String fingerprint) {
        int[] pending = state.pending();
        int[] ids = state.history().ids();
        int size = FIXED_BYTES + Integer.BYTES * (pending.length + ids.length);
        if (state.saved().isPresent()) {
            var layout = state.saved().get().layout();
            size = Math.toIntExact(size + tableBytes(layout) + layout.bytes());
        }
        var out = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
        out.putLong(MAGIC).putInt(VERSION).put(sha256(fingerprint)).putLong(state.consumedCount());
        putInts(out, pending);
        out.putLong(state.history().count()).put(state.history().digest());
        putInts(out, ids);
        state.saved().ifPresentOrElse(saved -> putImage(out, saved.image()), () -> out.putInt(0));
        out.putInt(crc(out.array(), out.position()));
        return out.array();
    }

    private static int tableBytes(StateLayout layout) {
        return layout.tensors().stream()
                .mapToInt(tensor -> Integer.BYTES * (4 + tensor.shape().size()))
                .sum();
    }

    private static void putInts(ByteBuffer out, int[] values) {
        out.putInt(values.length);
        for (int value : values) {
            out.putInt(value);
        }
    }

    private static void putImage(ByteBuffer out, StateImage image) {
        var tensors = image.layout().tensors();
        out.putInt(tensors.size());
        for (var tensor : tensors) {
            out.putInt(tensor.layer())
                    .putInt(code(tensor.role()))
                    .putInt(tensor.type() == ElementType.BF16 ? 1 : 0)
                    .putInt(tensor.shape().size());
            tensor.shape().forEach(out::putInt);
        }
        for (int i = 0; i < tensors.size(); i++) {
            float[] elements = image.tensor(i);
            if (tensors.get(i).type() == ElementType.BF16) {
                var words = new short[elements.length];
                for (int j = 0; j < words.length; j++) {
                    words[j] = bf16(elements[j]);
                }
                out.asShortBuffer().put(words);
                out.position(out.position() + Short.BYTES * words.length);
            } else {
                out.asFloatBuffer().put(elements);
                out.position(out.position() + Float.BYTES * elements.length);
            }
        }
    }

    /** Rounded to even, as backends do; exact for what was bf16 before. */
    private static short bf16(float value) {
        int bits = Float.floatToRawIntBits(value);
        return (short) ((bits + 0x7fff + ((bits >>> BF16_SHIFT) & 1)) >>> BF16_SHIFT);
    }

    private static int code(StateLayout.Role role) {
        return switch (role) {
            case CONVOLUTION_INPUTS -> 0;
            case TAYLOR_SUMS -> 1;
            case TAYLOR_NORMS -> 2;
            case TAYLOR_KEYS -> 3;
            case TAYLOR_VALUES -> 4;
            case WINDOW_KEYS -> 5;
            case WINDOW_VALUES -> 6;
        };
    }

    private static int crc(byte[] bytes, int length) {
        var crc = new CRC32C();
        crc.update(bytes, 0, length);
        return (int) crc.getValue();
    }

    private static byte[] sha256(String text) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }

    /**
     * Reads a state for a model.
     *
     * @param layout of the engine that is to go on with it
     * @param vocabSize ids that exist
     * @throws InvalidState saying what is wrong
     */
    public static SessionState read(byte[] bytes, String fingerprint, StateLayout layout, int vocabSize) {
        require(bytes.length >= FIXED_BYTES, "it has " + bytes.length + " bytes");
        var in = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        require(in.getLong() == MAGIC, "it does not begin as one");
        int version = in.getInt();
        require(version == VERSION, "it is of version " + version + ", not " + VERSION);
        require(
                in.getInt(bytes.length - CRC_BYTES) == crc(bytes, bytes.length - CRC_BYTES),
                "it does not match its checksum");
        var print = new byte[SHA_BYTES];
        in.get(print);
        require(MessageDigest.isEqual(print, sha256(fingerprint)), "it is of another model");
        long consumed = in.getLong();
        require(consumed >= 0 && consumed <= CONSUMED_COUNT_MAX, consumed + " tokens are consumed");
        int[] pending = ids(in, vocabSize, "pending");
        need(in, Long.BYTES + TokenHistory.DIGEST_BYTES + Integer.BYTES);
        long count = in.getLong();
        require(count - pending.length == consumed, count + " tokens are not " + consumed + " and those pending");
        var digest = new byte[TokenHistory.DIGEST_BYTES];
        in.get(digest);
        int[] ids = ids(in, vocabSize, "history");
        need(in, Integer.BYTES);
        Optional<SavedState> image = consumed == 0 ? noImage(in) : Optional.of(image(in, layout, consumed));
        require(in.remaining() == CRC_BYTES, in.remaining() - CRC_BYTES + " bytes too many");
        return SessionState.of(image, pending, TokenHistory.of(count, digest, ids));
    }

    private static void require(boolean holds, String reason) {
        if (!holds) {
            throw new InvalidState(UNUSABLE + reason);
        }
    }

    private static void need(ByteBuffer in, long bytes) {
        require(in.remaining() - CRC_BYTES >= bytes, "it is too short");
    }

    private static int[] ids(ByteBuffer in, int vocabSize, String what) {
        int count = in.getInt();
        require(count >= 0, count + " ids");
        need(in, (long) Integer.BYTES * count);
        var ids = new int[count];
        for (int i = 0; i < count; i++) {
            ids[i] = in.getInt();
            require(ids[i] >= 0 && ids[i] < vocabSize, what + " id " + ids[i] + " is not in the vocabulary");
        }
        return ids;
    }

    private static Optional<SavedState> noImage(ByteBuffer in) {
        require(in.getInt() == 0, "there are tensors though nothing is consumed");
        return Optional.empty();
    }

    private static StateImage image(ByteBuffer in, StateLayout layout, long consumed) {
        var tensors = layout.tensors();
        require(in.getInt() == tensors.size(), "it has another number of tensors");
        var areBf16 = new boolean[tensors.size()];
        long bytes = 0;
        need(in, tableBytes(layout));
        for (int i = 0; i < areBf16.length; i++) {
            var tensor = tensors.get(i);
            boolean isSame = in.getInt() == tensor.layer() && in.getInt() == code(tensor.role());
            require(isSame, "tensor " + i + " is another one");
            int type = in.getInt();
            require(type == 0 || type == 1, "tensor " + i + " is of the unknown type " + type);
            areBf16[i] = type == 1;
            require(in.getInt() == tensor.shape().size(), "tensor " + i + " has another shape");
            for (int length : tensor.shape()) {
                require(in.getInt() == length, "tensor " + i + " has another shape");
            }
            bytes += (long) tensor.elementCount() * (areBf16[i] ? Short.BYTES : Float.BYTES);
        }
        require(in.remaining() - CRC_BYTES == bytes, "its elements have another size");
        var image = new StateImage(layout);
        image.tokenCount(consumed);
        for (int i = 0; i < areBf16.length; i++) {
            readElements(in, image.tensor(i), areBf16[i], i);
        }
        requireCounts(image);
        return image;
    }

    private static void readElements(ByteBuffer in, float[] elements, boolean isBf16, int index) {
        if (isBf16) {
            var words = new short[elements.length];
            in.asShortBuffer().get(words);
            in.position(in.position() + Short.BYTES * words.length);
            for (int i = 0; i < words.length; i++) {
                elements[i] = Float.intBitsToFloat(words[i] << BF16_SHIFT);
            }
        } else {
            in.asFloatBuffer().get(elements);
            in.position(in.position() + Float.BYTES * elements.length);
        }
        for (float element : elements) {
            if (!Float.isFinite(element)) { // millions: no text is made of those that are
                throw new InvalidState(UNUSABLE + "tensor " + index + " holds " + element);
            }
        }
    }

    /** The first entry of every norm is the count of folded tokens, as far as f32 counts by one. */
    private static void requireCounts(StateImage image) {
        long folded = (image.tokenCount() - 1) / StateLayout.FOLD_INTERVAL * StateLayout.FOLD_INTERVAL;
        long least = Math.min(folded, F32_COUNT_MAX);
        var tensors = image.layout().tensors();
        for (int i = 0; i < tensors.size(); i++) {
            if (tensors.get(i).role() == StateLayout.Role.TAYLOR_NORMS) {
                int features = tensors.get(i).shape().getLast();
                for (int at = 0; at < image.tensor(i).length; at += features) {
                    require(
                            image.tensor(i)[at] >= least && image.tensor(i)[at] <= folded,
                            "tensor " + i + " has summed " + image.tensor(i)[at] + " tokens, not " + folded);
                }
            }
        }
    }
}
