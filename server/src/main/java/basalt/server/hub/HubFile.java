package basalt.server.hub;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.regex.Pattern;

/**
 * A file of a model.
 *
 * @param name in the top folder of its repository
 * @param hash of its content, lower-case hex: SHA-256 (64 digits) of a large file, else git's SHA-1 of a blob (40)
 */
record HubFile(String name, long bytes, String hash) {
    private static final Pattern HASH = Pattern.compile("[0-9a-f]{40}|[0-9a-f]{64}");
    private static final int SHA_256_DIGITS = 64;
    private static final int BUFFER_BYTES = 1 << 20;

    static boolean isHash(String text) {
        return HASH.matcher(text).matches();
    }

    /** Whether a local file has as many bytes, which is what can be seen without reading it. */
    boolean fits(Path file) throws IOException {
        return Files.isRegularFile(file) && Files.size(file) == bytes;
    }

    /** Whether a local file has this content. */
    boolean matches(Path file) throws IOException {
        if (!fits(file)) {
            return false;
        }
        var digest = digest(hash.length() == SHA_256_DIGITS ? "SHA-256" : "SHA-1");
        if (hash.length() != SHA_256_DIGITS) {
            digest.update(("blob " + bytes + "\0").getBytes(StandardCharsets.US_ASCII));
        }
        var buffer = new byte[BUFFER_BYTES];
        try (InputStream in = Files.newInputStream(file)) {
            for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
                digest.update(buffer, 0, count);
            }
        }
        return HexFormat.of().formatHex(digest.digest()).equals(hash);
    }

    private static MessageDigest digest(String algorithm) {
        try {
            return MessageDigest.getInstance(algorithm);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has " + algorithm, e);
        }
    }
}
