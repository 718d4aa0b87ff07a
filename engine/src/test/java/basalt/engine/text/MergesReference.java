package basalt.engine.text;

import basalt.engine.json.JsonFields;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/** Byte-level byte-pair encoding by the list of merges, written for reading: on token names, as the format has it. */
final class MergesReference {
    private static final Pattern WORDS = Pattern.compile(
            "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
            Pattern.UNICODE_CHARACTER_CLASS);

    private final Map<String, Integer> ids = new HashMap<>();
    private final Map<List<String>, Integer> priorities = new HashMap<>();

    MergesReference(Map<String, Integer> ids, List<List<String>> merges) {
        this.ids.putAll(ids);
        merges.forEach(pair -> priorities.put(pair, priorities.size()));
    }

    static MergesReference read(Path tokenizerFile) {
        JsonFields model =
                JsonFields.read(tokenizerFile, 1 << 20).object("model").orElseThrow();
        JsonFields vocab = model.object("vocab").orElseThrow();
        var ids = new HashMap<String, Integer>();
        vocab.names().forEach(name -> ids.put(name, (int) vocab.integer(name, 0, 1 << 20)));
        var merges = new ArrayList<List<String>>();
        for (Object pair : model.items("merges")) {
            merges.add(((List<?>) pair).stream().map(String::valueOf).toList());
        }
        return new MergesReference(ids, merges);
    }

    int[] encode(String text) {
        var encoded = IntStream.builder();
        WORDS.matcher(text).results().forEach(word -> {
            var tokens = new ArrayList<String>();
            for (byte b : word.group().getBytes(StandardCharsets.UTF_8)) {
                tokens.add(name(Byte.toUnsignedInt(b)));
            }
            while (mergeFirst(tokens)) {}
            tokens.forEach(token -> encoded.add(ids.getOrDefault(token, -1)));
        });
        return encoded.build().toArray();
    }

    private boolean mergeFirst(List<String> tokens) {
        int best = -1;
        int bestPriority = Integer.MAX_VALUE;
        for (int i = 0; i + 1 < tokens.size(); i++) {
            int priority = priorities.getOrDefault(List.of(tokens.get(i), tokens.get(i + 1)), Integer.MAX_VALUE);
            if (priority < bestPriority) {
                best = i;
                bestPriority = priority;
            }
        }
        if (best >= 0) {
            tokens.set(best, tokens.get(best) + tokens.remove(best + 1));
        }
        return best >= 0;
    }

    /** The name of one byte, by GPT-2's own construction. */
    static String name(int b) {
        var printable = new ArrayList<Integer>();
        IntStream.rangeClosed('!', '~').forEach(printable::add);
        IntStream.rangeClosed('¡', '¬').forEach(printable::add);
        IntStream.rangeClosed('®', 'ÿ').forEach(printable::add);
        int others = 0;
        for (int i = 0; i < b; i++) {
            others += printable.contains(i) ? 0 : 1;
        }
        return String.valueOf((char) (printable.contains(b) ? b : 256 + others));
    }
}
