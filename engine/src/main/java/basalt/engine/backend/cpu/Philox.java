package basalt.engine.backend.cpu;

/**
 * Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
 * A draw is a pure function of key and counter, so it depends on nothing that ran before.
 *
 * <p>Sampling uses key = (low, high word of the seed) and counter = (id / 4, low, high word of the position, choice);
 * word id mod 4 of the output belongs to the id.
 */
final class Philox {
    static final int MULTIPLIER_0 = 0xD2511F53;
    static final int MULTIPLIER_1 = 0xCD9E8D57;
    static final int WEYL_0 = 0x9E3779B9;
    static final int WEYL_1 = 0xBB67AE85;
    static final int ROUNDS = 10;

    private Philox() {}

    /** Word {@code id mod 4} of the block that an id's random number comes from. */
    static int word(long seed, int choice, long position, int id) {
        int c0 = id >>> 2;
        int c1 = (int) position;
        int c2 = (int) (position >>> 32);
        int c3 = choice;
        int k0 = (int) seed;
        int k1 = (int) (seed >>> 32);
        for (int round = 0; round < ROUNDS; round++) {
            long p0 = (MULTIPLIER_0 & 0xffffffffL) * (c0 & 0xffffffffL);
            long p1 = (MULTIPLIER_1 & 0xffffffffL) * (c2 & 0xffffffffL);
            c0 = (int) (p1 >>> 32) ^ c1 ^ k0;
            c1 = (int) p1;
            c2 = (int) (p0 >>> 32) ^ c3 ^ k1;
            c3 = (int) p0;
            k0 += WEYL_0;
            k1 += WEYL_1;
        }
        return switch (id & 3) {
            case 0 -> c0;
            case 1 -> c1;
            case 2 -> c2;
            default -> c3;
        };
    }
}
