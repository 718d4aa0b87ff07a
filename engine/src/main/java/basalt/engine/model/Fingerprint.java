package basalt.engine.model;

import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;

/**
 * SHA-256 over the configuration and, sorted by name, each tensor's name, type, shape and bytes. Of a tensor over
 * {@value #WHOLE_BYTES_MAX} bytes only {@value #SAMPLES} evenly spaced blocks of {@value #SAMPLE_BYTES} bytes count,
 * the first and the last among them: training changes every block, and a model of several gigabytes takes
 * milliseconds.
 */
final class Fingerprint {
    static final int WHOLE_BYTES_MAX = 65_536;
    static final int SAMPLES = 16;
    static final int SAMPLE_BYTES = 4096;

    private Fingerprint() {}

    /** 64 hexadecimal digits. */
    static String of(ModelConfig config, List<Tensor> tensors) {
        var digest = sha256();
        digest.update(config.toString().getBytes(StandardCharsets.UTF_8));
        tensors.stream().sorted(Comparator.comparing(Tensor::name)).forEach(tensor -> {
            digest.update(("\n" + tensor.name() + " " + tensor.type() + " " + tensor.shape() + "\n")
                    .getBytes(StandardCharsets.UTF_8));
            addBytes(digest, tensor.data());
        });
        return HexFormat.of().formatHex(digest.digest());
    }

    private static void addBytes(MessageDigest digest, MemorySegment data) {
        long bytes = data.byteSize();
        if (bytes <= WHOLE_BYTES_MAX) {
            digest.update(data.asByteBuffer());
            return;
        }
        for (int i = 0; i < SAMPLES; i++) {
            long offset = (bytes - SAMPLE_BYTES) / (SAMPLES - 1) * i;
            long begin = i == SAMPLES - 1 ? bytes - SAMPLE_BYTES : offset;
            digest.update(data.asSlice(begin, SAMPLE_BYTES).asByteBuffer());
        }
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }
}
