package basalt.engine.backend.cpu;

import basalt.engine.backend.RowSampling;
import basalt.engine.model.ModelConfig;
import basalt.engine.state.StateImage;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** State and sampling of one slot. Confined to the engine thread; workers read and write what a step gives them. */
final class CpuSlot {
    private final LayerState[] layers; // [L]
    private long tokenCount;
    private int lastToken = -1;
    private @Nullable RowSampling sampling;
    private int sampledCount;
    private boolean isFrozen;
    private final int vocabSize;
    private int[] counts = new int[0]; // [N] occurrences among sampled tokens, only where penalties ask for it
    private boolean[] isInPrompt = new boolean[0]; // [N], likewise

    CpuSlot(ModelConfig config) {
        vocabSize = config.vocabSize();
        layers = config.mixers().stream().map(LayerState::of).toArray(LayerState[]::new);
    }

    LayerState layer(int index) {
        return layers[index];
    }

    int layerCount() {
        return layers.length;
    }

    long tokenCount() {
        return tokenCount;
    }

    void tokenCount(long value) {
        tokenCount = value;
    }

    int lastToken() {
        return lastToken;
    }

    void lastToken(int value) {
        lastToken = value;
    }

    boolean isFrozen() {
        return isFrozen;
    }

    int sampledCount() {
        return sampledCount;
    }

    /** How rows sample; fails if never configured. */
    RowSampling sampling() {
        if (sampling == null) {
            throw new IllegalStateException("a slot that samples was not configured");
        }
        return sampling;
    }

    int count(int token) {
        return counts[token];
    }

    boolean isInPrompt(int token) {
        return isInPrompt[token];
    }

    void configure(RowSampling value) {
        sampling = value;
        sampledCount = 0;
        isFrozen = false;
        if (value.params().isPenalized()) {
            if (counts.length == 0) {
                counts = new int[vocabSize];
                isInPrompt = new boolean[vocabSize];
            }
            Arrays.fill(counts, 0);
            Arrays.fill(isInPrompt, false);
            for (int token : value.penalizedPrompt()) {
                isInPrompt[token] = true;
            }
        }
    }

    /** Takes note of a sampled token and freezes the slot where its end is known here. */
    void sampled(int token) {
        lastToken = token;
        sampledCount++;
        var current = sampling();
        if (current.params().isPenalized()) {
            counts[token]++;
        }
        isFrozen = sampledCount >= current.maxTokens();
        for (int stop : current.stopTokenIds()) {
            isFrozen |= stop == token;
        }
    }

    void save(StateImage image) {
        int index = 0;
        for (LayerState layer : layers) {
            index = layer.save(image, index);
        }
        image.tokenCount(tokenCount);
    }

    void zero() {
        for (LayerState layer : layers) {
            layer.fill(0);
        }
        tokenCount = 0;
        lastToken = -1;
    }

    void copyFrom(CpuSlot other) {
        for (int i = 0; i < layers.length; i++) {
            layers[i].copyFrom(other.layers[i]);
        }
        tokenCount = other.tokenCount;
        lastToken = other.lastToken;
    }
}
