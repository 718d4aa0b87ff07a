package basalt.engine.backend.cpu;

import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.ModelConfig.Activation;
import basalt.engine.model.ModelConfig.Mlp;
import java.util.List;
import java.util.SplittableRandom;

/** Small configurations that between them use every variant. */
final class TestConfigs {
    private TestConfigs() {}

    /** The shape of the published models, small. */
    static ModelConfig plain() {
        int d = 64;
        return new ModelConfig(
                101,
                104,
                d,
                List.of(
                        new Mixer.Convolution(2 * d, 3, 4 * d, true, false),
                        new Mixer.TaylorAttention(4, 16, 16, 16, 1e-12f),
                        new Mixer.WindowAttention(4, 4, 16, 9, 0.25f, 16, 10_000, false, false, false)),
                new Mlp(2 * d, Activation.SILU, true, false, false),
                true,
                1e-5f,
                true,
                false,
                0,
                0);
    }

    /** Anything that a config.json can ask for. */
    static ModelConfig random(long seed) {
        var random = new SplittableRandom(seed);
        int d = random.nextInt(3, 12) * 8;
        int heads = 1 << random.nextInt(3);
        int headWidth = random.nextInt(1, 9) * 4;
        int feature = random.nextInt(2, 17);
        var mixers = new java.util.ArrayList<Mixer>();
        for (int i = 0; i < 3; i++) {
            mixers.add(
                    switch (random.nextInt(3)) {
                        case 0 ->
                            new Mixer.Convolution(
                                    random.nextInt(1, 90),
                                    random.nextInt(1, 6),
                                    200,
                                    random.nextBoolean(),
                                    random.nextBoolean());
                        case 1 -> new Mixer.TaylorAttention(heads, feature, headWidth, feature, 1e-6f);
                        default ->
                            new Mixer.WindowAttention(
                                    heads,
                                    1 << random.nextInt(Integer.numberOfTrailingZeros(heads) + 1),
                                    headWidth,
                                    random.nextInt(0, 40),
                                    0.3f,
                                    random.nextInt(headWidth / 2 + 1) * 2,
                                    500,
                                    random.nextBoolean(),
                                    random.nextBoolean(),
                                    random.nextBoolean());
                    });
        }
        return new ModelConfig(
                random.nextInt(50, 90),
                96,
                d,
                mixers,
                new Mlp(
                        random.nextInt(1, 100),
                        List.of(Activation.SILU, Activation.GELU, Activation.SIGMOID)
                                .get(random.nextInt(3)),
                        random.nextBoolean(),
                        random.nextBoolean(),
                        random.nextBoolean()),
                random.nextBoolean(),
                1e-5f,
                random.nextBoolean(),
                random.nextBoolean(),
                random.nextBoolean() ? 400 : 0,
                -1);
    }
}
