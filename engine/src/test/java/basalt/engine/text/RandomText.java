package basalt.engine.text;

import java.util.Random;

/** Texts that are hard on tokenizers: all planes of Unicode, runs of white space, contractions, words. */
final class RandomText {
    private static final String[] PARTS = {
        " the",
        "The",
        "ing",
        " don't",
        "I'LL",
        "we've",
        "'s",
        " 1234",
        "½",
        "Ⅷ",
        "\n",
        "\n\n  ",
        "\t",
        "   ",
        "\u00a0",
        "\u2003\u2003x",
        "\u0085",
        "\u3000",
        "\u200b",
        "...",
        "!?",
        " <|endoftext|>",
        "é",
        "e\u0301",
        "ß",
        "Ж",
        "中文字",
        "ไทย",
        "🙂",
        "👩‍👩‍👧",
        "\u0000",
        "\uFFFD",
        "\u2028",
        "_",
        "aaaaaaaa",
        "()[]{}",
        "http://a.b/c?d=e",
        "\r\n",
        "ʼn",
        "ﬁ",
        "İ"
    };

    private RandomText() {}

    static String of(Random random, int partCount) {
        var text = new StringBuilder();
        for (int i = 0; i < partCount; i++) {
            if (random.nextInt(3) > 0) {
                text.append(PARTS[random.nextInt(PARTS.length)]);
            } else {
                text.appendCodePoint(codePoint(random));
            }
        }
        return text.toString();
    }

    private static int codePoint(Random random) {
        int limit = new int[] {0x80, 0x800, 0x10000, 0x110000}[random.nextInt(4)];
        int codePoint = random.nextInt(limit);
        return codePoint >= 0xD800 && codePoint <= 0xDFFF ? 'x' : codePoint;
    }
}
