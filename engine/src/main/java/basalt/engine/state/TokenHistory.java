package basalt.engine.state;

import basalt.engine.Checks;
import java.nio.ByteBuffer;
import java.security.DigestException;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HexFormat;

/**
 * What is kept of all tokens of a sequence: how many, which ids, and a digest of their order. Immutable.
 *
 * <p>The digest of a history longer by one token is the SHA-256 of the digest before and the id as four bytes, highest
 * first; that of none is 32 zero bytes. So it is the same however the tokens came in pieces.
 */
public final class TokenHistory {
    /** Bytes of a digest. */
    public static final int DIGEST_BYTES = 32;
    /** Of no token. */
    public static final TokenHistory EMPTY = new TokenHistory(0, new byte[DIGEST_BYTES], new BitSet());

    private final long count;
    private final byte[] digest;
    private final BitSet ids;

    private TokenHistory(long count, byte[] digest, BitSet ids) {
        this.count = count;
        this.digest = digest;
        this.ids = ids;
    }

    /**
     * A history as it was written down.
     *
     * @param ids that occur, in any order
     */
    public static TokenHistory of(long count, byte[] digest, int[] ids) {
        Checks.argument(count >= 0, "count", count);
        Checks.argument(digest.length == DIGEST_BYTES, "digest.length", digest.length);
        var set = new BitSet();
        for (int id : ids) {
            set.set(id);
        }
        return new TokenHistory(count, digest.clone(), set);
    }

    /** The history with these tokens after it. */
    public TokenHistory append(int... tokens) {
        if (tokens.length == 0) {
            return this;
        }
        var sha = sha256();
        byte[] block = Arrays.copyOf(digest, DIGEST_BYTES + Integer.BYTES);
        var id = ByteBuffer.wrap(block);
        var set = (BitSet) ids.clone();
        try {
            for (int token : tokens) {
                id.putInt(DIGEST_BYTES, token);
                sha.update(block);
                sha.digest(block, 0, DIGEST_BYTES);
                set.set(token);
            }
        } catch (DigestException e) {
            throw new IllegalStateException("the digest fits", e);
        }
        return new TokenHistory(count + tokens.length, Arrays.copyOf(block, DIGEST_BYTES), set);
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }

    /** Tokens. */
    public long count() {
        return count;
    }

    /** The digest, {@value #DIGEST_BYTES} bytes. */
    public byte[] digest() {
        return digest.clone();
    }

    /** The digest as hexadecimal digits. */
    public String digestText() {
        return HexFormat.of().formatHex(digest);
    }

    /** Ids that occur, in ascending order. */
    public int[] ids() {
        return ids.stream().toArray();
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof TokenHistory that
                && count == that.count
                && Arrays.equals(digest, that.digest)
                && ids.equals(that.ids);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(digest);
    }

    @Override
    public String toString() {
        return count + " tokens, " + digestText();
    }
}
