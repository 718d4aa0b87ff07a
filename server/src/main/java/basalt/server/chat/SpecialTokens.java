package basalt.server.chat;

import basalt.engine.text.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Tells the special tokens that a template writes from what messages say. Text of a message that looks like a special
 * token is marked before the template sees it, with noncharacters of Unicode, and the marks are taken out afterwards.
 * So nobody can end a message or begin another one from inside.
 */
final class SpecialTokens {
    /** Begins a mark; as itself it becomes {@link #ITSELF}. */
    private static final String ESCAPE = "\ufdd0";

    private static final String ITSELF = ESCAPE + "\ufdd1";
    private static final String MARK = ESCAPE + "\ufdd2";

    private final Map<String, Integer> ids = new HashMap<>();
    private final Pattern pattern;

    /** Of all ids of a vocabulary. */
    SpecialTokens(Tokenizer tokenizer, int vocabSize) {
        for (int id = 0; id < vocabSize; id++) {
            int token = id;
            tokenizer.specialText(token).ifPresent(text -> ids.put(text, token));
        }
        List<String> longestFirst = ids.keySet().stream()
                .filter(text -> !text.isEmpty())
                .sorted(Comparator.comparingInt(String::length).reversed())
                .map(Pattern::quote)
                .toList();
        // Without any, a pattern that never matches.
        pattern = Pattern.compile(longestFirst.isEmpty() ? "(?!)" : String.join("|", longestFirst));
    }

    /** What a message says, so that no part of it is a special token. */
    String marked(String content) {
        String escaped = content.replace(ESCAPE, ITSELF);
        return pattern.matcher(escaped).replaceAll(match -> {
            String text = match.group();
            int first = text.offsetByCodePoints(0, 1);
            return Matcher.quoteReplacement(text.substring(0, first) + MARK + text.substring(first));
        });
    }

    private static String unmarked(String text) {
        return text.replace(MARK, "").replace(ITSELF, ESCAPE);
    }

    /** Token ids of a text with special tokens, in which other text may be marked. */
    int[] encode(String text, Tokenizer tokenizer) {
        var parts = new ArrayList<int[]>();
        Matcher matcher = pattern.matcher(text);
        int end = 0;
        while (matcher.find()) {
            parts.add(tokenizer.encode(unmarked(text.substring(end, matcher.start()))));
            parts.add(new int[] {ids.getOrDefault(matcher.group(), 0)});
            end = matcher.end();
        }
        parts.add(tokenizer.encode(unmarked(text.substring(end))));
        return parts.stream().flatMapToInt(Arrays::stream).toArray();
    }
}
