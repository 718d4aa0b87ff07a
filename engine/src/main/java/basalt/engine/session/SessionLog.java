package basalt.engine.session;

import basalt.engine.EngineException.InvalidState;
import basalt.engine.state.TokenHistory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/** What a journal adds up to. Confined to one thread. */
final class SessionLog {
    private final Journal.Entry.Head head;
    private long baseCount = -1;
    private int[] tokens = new int[64];
    private int count; // tokens after the base
    private final List<Long> ends = new ArrayList<>(); // token counts after the turns
    private long turnCount;
    private long promptTokens;
    private long answerTokens;
    private long usedMillis;
    private Optional<byte[]> note = Optional.empty();
    private boolean isNoteLasting;

    /** @throws InvalidState if the entries cannot follow each other */
    SessionLog(List<Journal.Entry> entries) {
        head = (Journal.Entry.Head) entries.getFirst();
        usedMillis = head.createdMillis();
        for (var entry : entries.subList(1, entries.size())) {
            add(entry);
        }
    }

    private void add(Journal.Entry entry) {
        switch (entry) {
            case Journal.Entry.Head _ -> throw new InvalidState("a second beginning");
            case Journal.Entry.Base(var base) -> {
                if (baseCount >= 0 || count > 0 || base < 0) {
                    throw new InvalidState("a base of " + base + " tokens after others");
                }
                baseCount = base;
                ends.add(base);
            }
            case Journal.Entry.Turned(var millis, var promptCount, var added) -> {
                endNote();
                append(added);
                usedMillis = millis;
                turnCount++;
                promptTokens += promptCount;
                answerTokens += added.length - promptCount;
                ends.add(tokenCount());
            }
            case Journal.Entry.Rewound(var millis, var end) -> {
                endNote();
                if (end < firstCount() || end > tokenCount()) {
                    throw new InvalidState("it goes back to " + end + " of " + tokenCount() + " tokens");
                }
                count = (int) (end - firstCount());
                usedMillis = millis;
                ends.removeIf(later -> later > end);
            }
            case Journal.Entry.Dropped(var turns, var prompts, var answers) -> {
                turnCount += turns;
                promptTokens += prompts;
                answerTokens += answers;
            }
            case Journal.Entry.Noted(var text, var isLasting) -> {
                note = Optional.of(text);
                isNoteLasting = isLasting;
            }
        }
    }

    /** It was of the tokens before, unless it lasts. */
    private void endNote() {
        if (!isNoteLasting) {
            note = Optional.empty();
        }
    }

    private void append(int[] added) {
        if (count + added.length > tokens.length) {
            tokens = Arrays.copyOf(tokens, Math.max(2 * tokens.length, count + added.length));
        }
        System.arraycopy(added, 0, tokens, count, added.length);
        count += added.length;
    }

    Journal.Entry.Head head() {
        return head;
    }

    /** Whether tokens before the first known one are in an image only. */
    boolean hasBase() {
        return baseCount >= 0;
    }

    /** Tokens before the first known one. */
    long firstCount() {
        return Math.max(0, baseCount);
    }

    /** All tokens. */
    long tokenCount() {
        return firstCount() + count;
    }

    /** Tokens at positions [from, to), none before {@link #firstCount}. */
    int[] tokens(long from, long to) {
        return Arrays.copyOfRange(tokens, (int) (from - firstCount()), (int) (to - firstCount()));
    }

    /**
     * The history of the first tokens.
     *
     * @param first of those before the known ones
     */
    TokenHistory history(TokenHistory first, long end) {
        return first.append(tokens(firstCount(), end));
    }

    /** Token counts after the turns, and of the base. */
    List<Long> ends() {
        return List.copyOf(ends);
    }

    long turnCount() {
        return turnCount;
    }

    long promptTokens() {
        return promptTokens;
    }

    long answerTokens() {
        return answerTokens;
    }

    /** What the owner wants to know of it. */
    Optional<byte[]> note() {
        return note;
    }

    /** The same, as it was written down. */
    Optional<Journal.Entry> lastNote() {
        return note.map(text -> new Journal.Entry.Noted(text, isNoteLasting));
    }

    /** When it was last changed. */
    long usedMillis() {
        return usedMillis;
    }
}
