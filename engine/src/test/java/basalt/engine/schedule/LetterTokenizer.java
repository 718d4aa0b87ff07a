package basalt.engine.schedule;

import basalt.engine.text.Tokenizer;
import java.nio.charset.StandardCharsets;

/**
 * Tokens of none to three of the letters a, b and c, so that short stop strings are frequent, overlap, and lie across
 * borders.
 */
final class LetterTokenizer implements Tokenizer {
    private final int vocabSize;

    LetterTokenizer(int vocabSize) {
        this.vocabSize = vocabSize;
    }

    /** Letter by letter. */
    @Override
    public int[] encode(String text) {
        return text.chars().map(letter -> 4 * (letter - 'a') + 1).toArray();
    }

    @Override
    public byte[] bytes(int token) {
        var letters = new StringBuilder();
        int digits = token / 4;
        for (int i = 0; i < token % 4; i++) {
            letters.append((char) ('a' + digits % 3));
            digits /= 3;
        }
        return letters.toString().getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public String decode(int[] tokens) {
        var text = new StringBuilder();
        for (int token : tokens) {
            text.append(new String(bytes(token), StandardCharsets.UTF_8));
        }
        return text.toString();
    }

    @Override
    public int vocabSize() {
        return vocabSize;
    }
}
