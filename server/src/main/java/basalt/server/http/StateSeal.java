package basalt.server.http;

import basalt.engine.EngineException.InvalidState;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.InvalidKeyException;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * The envelope of states that leave the server: a magic number, an HMAC-SHA256 over the tenant and the content, and the
 * content, which names its model. A state steers what the model says, so nobody may bring one that this server, or one
 * with the same secret, did not give to the same tenant.
 */
public final class StateSeal {
    private static final byte[] MAGIC = "BASALTSL".getBytes(StandardCharsets.US_ASCII);
    private static final String ALGORITHM = "HmacSHA256";
    private static final int MAC_BYTES = 32;
    /** Of the envelope. */
    static final int BYTES = MAGIC.length + MAC_BYTES;

    private final byte[] secret;
    private final boolean takesUnsealed;

    /**
     * With a secret.
     *
     * @param takesUnsealed whether states without an envelope are taken too
     */
    public StateSeal(byte[] secret, boolean takesUnsealed) {
        this.secret = secret.clone();
        this.takesUnsealed = takesUnsealed;
    }

    /** The envelope with a state in it. */
    byte[] seal(String tenant, byte[] state) {
        return ByteBuffer.allocate(MAGIC.length + MAC_BYTES + state.length)
                .put(MAGIC)
                .put(mac(tenant, state, 0))
                .put(state)
                .array();
    }

    /**
     * The state in an envelope.
     *
     * @throws InvalidState if it is not the tenant's, or was changed
     */
    byte[] open(String tenant, byte[] sealed) {
        int start = MAGIC.length + MAC_BYTES;
        boolean isSealed = sealed.length >= start && Arrays.equals(MAGIC, 0, MAGIC.length, sealed, 0, MAGIC.length);
        if (!isSealed) {
            if (takesUnsealed) {
                return sealed;
            }
            throw new InvalidState("The body is no state that this server gave out (unsealed-states is off).");
        }
        byte[] claimed = Arrays.copyOfRange(sealed, MAGIC.length, start);
        if (!MessageDigest.isEqual(claimed, mac(tenant, sealed, start))) {
            throw new InvalidState(
                    "The state was changed, or is of another tenant, or of a server with another state-secret.");
        }
        return Arrays.copyOfRange(sealed, start, sealed.length);
    }

    private byte[] mac(String tenant, byte[] bytes, int from) {
        try {
            var mac = Mac.getInstance(ALGORITHM);
            mac.init(new SecretKeySpec(secret, ALGORITHM));
            mac.update(tenant.getBytes(StandardCharsets.UTF_8));
            mac.update((byte) 0);
            mac.update(bytes, from, bytes.length - from);
            return mac.doFinal();
        } catch (NoSuchAlgorithmException | InvalidKeyException e) {
            throw new IllegalStateException("every JDK has " + ALGORITHM, e);
        }
    }
}
