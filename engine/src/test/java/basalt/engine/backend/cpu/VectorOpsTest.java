package basalt.engine.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.SplittableRandom;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import org.junit.jupiter.api.Test;

/** Vector functions have the bits of the scalar ones. */
class VectorOpsTest {
    @Test
    void expAndLogAndGumbelHaveTheBitsOfTheScalarOnes() {
        var random = new SplittableRandom(1);
        var x = new float[VectorOps.LANES];
        var words = new int[VectorOps.LANES];

        for (int n = 0; n < 50_000; n++) {
            for (int lane = 0; lane < x.length; lane++) {
                x[lane] = (float) random.nextDouble(-100, 100);
                words[lane] = random.nextInt() >>> random.nextInt(32);
            }
            float[] exp =
                    VectorOps.exp(FloatVector.fromArray(VectorOps.FLOATS, x, 0)).toArray();
            float[] log = VectorOps.log(
                            FloatVector.fromArray(VectorOps.FLOATS, x, 0).abs())
                    .toArray();
            float[] gumbel = VectorOps.log(VectorOps.exponential(IntVector.fromArray(VectorOps.INTS, words, 0)))
                    .neg()
                    .toArray();

            for (int lane = 0; lane < x.length; lane++) {
                assertEquals(FloatMath.exp(x[lane]), exp[lane]);
                assertEquals(FloatMath.log(Math.abs(x[lane])), log[lane]);
                assertEquals(FloatMath.gumbel(words[lane]), gumbel[lane]);
            }
        }
    }

    @Test
    void aPhiloxBlockHasTheWordsOfItsIds() {
        var random = new SplittableRandom(2);
        var block = new PhiloxBlock();

        for (int n = 0; n < 1_000; n++) {
            long seed = random.nextLong();
            long position = random.nextLong(1L << 40);
            int id = random.nextInt(20_000) * 4;
            block.fill(seed, n, position, id);

            for (int i = 0; i < PhiloxBlock.IDS; i++) {
                assertEquals(Philox.word(seed, n, position, id + i), block.words[i]);
            }
        }
    }
}
