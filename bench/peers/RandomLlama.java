import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/**
 * Writes a Llama-type Transformer with random bf16 weights and a made-up vocabulary as a GGUF file (version 3), as a
 * peer of a BASED model of the same size. One file, run by {@code java RandomLlama.java 10m|360m FILE}.
 */
final class RandomLlama {
    private static final int TYPE_UINT32 = 4;
    private static final int TYPE_INT32 = 5;
    private static final int TYPE_FLOAT32 = 6;
    private static final int TYPE_STRING = 8;
    private static final int TYPE_ARRAY = 9;
    private static final int GGML_F32 = 0;
    private static final int GGML_BF16 = 30;
    private static final int FILE_TYPE_BF16 = 32;
    private static final int ALIGNMENT = 32;

    /** The embedding is the head too. */
    private record Shape(int vocab, int width, int layers, int heads, int inner) {}

    /** Lengths innermost first, as GGUF has them. */
    private record Tensor(String name, int type, long[] lengths) {
        long bytes() {
            long count = 1;
            for (long length : lengths) {
                count *= length;
            }
            return count * (type == GGML_F32 ? 4 : 2);
        }
    }

    public static void main(String[] arguments) throws IOException {
        var shape = switch (arguments[0]) {
            case "10m" -> new Shape(8_192, 256, 12, 8, 576);
            case "360m" -> new Shape(50_264, 1_024, 24, 16, 2_832);
            default -> throw new IllegalArgumentException(arguments[0] + " is neither 10m nor 360m");
        };
        try (var out = new BufferedOutputStream(Files.newOutputStream(Path.of(arguments[1])), 1 << 20)) {
            write(shape, out);
        }
    }

    private static void write(Shape shape, OutputStream out) throws IOException {
        var tensors = tensors(shape);
        var head = new Head();
        var keys = new Head();
        int keyCount = writeKeys(shape, keys);
        head.bytes("GGUF".getBytes(StandardCharsets.US_ASCII)).int32(3).int64(tensors.size()).int64(keyCount);
        head.bytes(keys.toByteArray());
        long offset = 0;
        long parameters = 0;
        for (var tensor : tensors) {
            head.string(tensor.name()).int32(tensor.lengths().length);
            for (long length : tensor.lengths()) {
                head.int64(length);
            }
            head.int32(tensor.type()).int64(offset);
            offset += padded(tensor.bytes());
            parameters += tensor.bytes() / (tensor.type() == GGML_F32 ? 4 : 2);
        }
        out.write(head.toByteArray());
        out.write(new byte[(int) (padded(head.size()) - head.size())]);
        var random = new SplittableRandom(1);
        for (var tensor : tensors) {
            writeWeights(tensor, random, out);
        }
        System.out.printf("%,d parameters%n", parameters);
    }

    /** Writes the key-value pairs and returns their number. */
    private static int writeKeys(Shape shape, Head keys) {
        keys.text("general.architecture", "llama").text("general.name", "random");
        keys.uint("general.file_type", FILE_TYPE_BF16).uint("llama.context_length", 32_768);
        keys.uint("llama.embedding_length", shape.width()).uint("llama.block_count", shape.layers());
        keys.uint("llama.feed_forward_length", shape.inner());
        keys.uint("llama.attention.head_count", shape.heads()).uint("llama.attention.head_count_kv", shape.heads());
        keys.uint("llama.rope.dimension_count", shape.width() / shape.heads()).uint("llama.vocab_size", shape.vocab());
        keys.key("llama.attention.layer_norm_rms_epsilon").int32(TYPE_FLOAT32).float32(1e-5f);
        keys.text("tokenizer.ggml.model", "llama");
        keys.uint("tokenizer.ggml.bos_token_id", 1).uint("tokenizer.ggml.eos_token_id", 2);
        keys.uint("tokenizer.ggml.unknown_token_id", 0);
        keys.key("tokenizer.ggml.tokens").int32(TYPE_ARRAY).int32(TYPE_STRING).int64(shape.vocab());
        for (int id = 0; id < shape.vocab(); id++) {
            keys.string(tokenText(id));
        }
        keys.key("tokenizer.ggml.scores").int32(TYPE_ARRAY).int32(TYPE_FLOAT32).int64(shape.vocab());
        for (int id = 0; id < shape.vocab(); id++) {
            keys.float32(-id);
        }
        keys.key("tokenizer.ggml.token_type").int32(TYPE_ARRAY).int32(TYPE_INT32).int64(shape.vocab());
        for (int id = 0; id < shape.vocab(); id++) {
            keys.int32(id == 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1); // unknown, control, byte, normal
        }
        return keys.keyCount;
    }

    private static String tokenText(int id) {
        return switch (id) {
            case 0 -> "<unk>";
            case 1 -> "<s>";
            case 2 -> "</s>";
            default -> id < 259 ? "<0x%02X>".formatted(id - 3) : "\u2581w" + id;
        };
    }

    private static List<Tensor> tensors(Shape shape) {
        long width = shape.width();
        var tensors = new ArrayList<Tensor>();
        tensors.add(new Tensor("token_embd.weight", GGML_BF16, new long[] {width, shape.vocab()}));
        tensors.add(new Tensor("output_norm.weight", GGML_F32, new long[] {width}));
        for (int layer = 0; layer < shape.layers(); layer++) {
            var prefix = "blk." + layer + ".";
            for (var name : List.of("attn_q", "attn_k", "attn_v", "attn_output")) {
                tensors.add(new Tensor(prefix + name + ".weight", GGML_BF16, new long[] {width, width}));
            }
            for (var name : List.of("attn_norm", "ffn_norm")) {
                tensors.add(new Tensor(prefix + name + ".weight", GGML_F32, new long[] {width}));
            }
            for (var name : List.of("ffn_gate", "ffn_up")) {
                tensors.add(new Tensor(prefix + name + ".weight", GGML_BF16, new long[] {width, shape.inner()}));
            }
            tensors.add(new Tensor(prefix + "ffn_down.weight", GGML_BF16, new long[] {shape.inner(), width}));
        }
        return tensors;
    }

    private static void writeWeights(Tensor tensor, SplittableRandom random, OutputStream out) throws IOException {
        var buffer = ByteBuffer.allocate((int) padded(tensor.bytes())).order(ByteOrder.LITTLE_ENDIAN);
        if (tensor.type() == GGML_F32) {
            while (buffer.position() < tensor.bytes()) {
                buffer.putFloat(1);
            }
        } else {
            while (buffer.position() < tensor.bytes()) {
                float value = (float) (random.nextDouble() - 0.5) * 0.07f;
                buffer.putShort((short) (Float.floatToRawIntBits(value) >>> 16));
            }
        }
        out.write(buffer.array());
    }

    private static long padded(long bytes) {
        return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    /** Little-endian bytes of the file's head. */
    private static final class Head extends ByteArrayOutputStream {
        private int keyCount;

        Head bytes(byte[] bytes) {
            writeBytes(bytes);
            return this;
        }

        Head int32(int value) {
            return bytes(ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(value).array());
        }

        Head int64(long value) {
            return bytes(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(value).array());
        }

        Head float32(float value) {
            return int32(Float.floatToRawIntBits(value));
        }

        Head string(String text) {
            var utf8 = text.getBytes(StandardCharsets.UTF_8);
            return int64(utf8.length).bytes(utf8);
        }

        Head key(String name) {
            keyCount++;
            return string(name);
        }

        Head text(String name, String value) {
            return key(name).int32(TYPE_STRING).string(value);
        }

        Head uint(String name, int value) {
            return key(name).int32(TYPE_UINT32).int32(value);
        }
    }
}
