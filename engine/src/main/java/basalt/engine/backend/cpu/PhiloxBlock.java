package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.VectorOps.INTS;
import static basalt.engine.backend.cpu.VectorOps.LANES;

import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/** {@link Philox} words of {@link #IDS} consecutive ids, one counter a lane. Owned by one worker. */
final class PhiloxBlock {
    /** Ids of one block: four words of each lane's counter. */
    static final int IDS = 4 * LANES;

    private static final IntVector LANE_IDS = (IntVector) INTS.broadcast(0).addIndex(1);

    /** Words by id. */
    final int[] words = new int[IDS];

    private final int[] lanes = new int[IDS]; // [4, LANES], word by word

    /** Computes the words of ids [id, id + IDS), id a multiple of 4. */
    void fill(long seed, int choice, long position, int id) {
        IntVector c0 = LANE_IDS.add(id >>> 2);
        IntVector c1 = IntVector.broadcast(INTS, (int) position);
        IntVector c2 = IntVector.broadcast(INTS, (int) (position >>> 32));
        IntVector c3 = IntVector.broadcast(INTS, choice);
        int k0 = (int) seed;
        int k1 = (int) (seed >>> 32);
        for (int round = 0; round < Philox.ROUNDS; round++) {
            IntVector high0 = VectorOps.multiplyHigh(c0, Philox.MULTIPLIER_0);
            IntVector high1 = VectorOps.multiplyHigh(c2, Philox.MULTIPLIER_1);
            IntVector low0 = c0.mul(Philox.MULTIPLIER_0);
            IntVector low1 = c2.mul(Philox.MULTIPLIER_1);
            c0 = high1.lanewise(VectorOperators.XOR, c1).lanewise(VectorOperators.XOR, k0);
            c1 = low1;
            c2 = high0.lanewise(VectorOperators.XOR, c3).lanewise(VectorOperators.XOR, k1);
            c3 = low0;
            k0 += Philox.WEYL_0;
            k1 += Philox.WEYL_1;
        }
        c0.intoArray(lanes, 0);
        c1.intoArray(lanes, LANES);
        c2.intoArray(lanes, 2 * LANES);
        c3.intoArray(lanes, 3 * LANES);
        for (int lane = 0; lane < LANES; lane++) {
            words[4 * lane] = lanes[lane];
            words[4 * lane + 1] = lanes[LANES + lane];
            words[4 * lane + 2] = lanes[2 * LANES + lane];
            words[4 * lane + 3] = lanes[3 * LANES + lane];
        }
    }
}
