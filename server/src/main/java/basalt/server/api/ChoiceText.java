package basalt.server.api;

import basalt.engine.text.Utf8Joiner;

/**
 * Text of one choice from the bytes of its tokens. Shows whole characters only, and nothing that may still turn out to
 * belong to a stop string. Confined to one thread at a time.
 */
public final class ChoiceText {
    private final Utf8Joiner joiner = new Utf8Joiner();
    private final StringBuilder news = new StringBuilder();
    private long promptBytes;
    private long characterCount;

    /** Of a choice that has no text yet. */
    public ChoiceText() {}

    /** Characters of all bytes added so far, shown or not. */
    long characterCount() {
        return characterCount;
    }

    /** Adds bytes of the prompt, which are shown at once. */
    public void addPrompt(byte[] bytes) {
        count(bytes);
        promptBytes += bytes.length;
        news.append(joiner.append(bytes, promptBytes));
    }

    /** Adds a sampled token's bytes and shows the output up to {@code visibleBytes} of it. */
    public void addOutput(byte[] bytes, long visibleBytes) {
        count(bytes);
        news.append(joiner.append(bytes, promptBytes + visibleBytes));
    }

    /** Shows the output up to {@code visibleBytes} of it and drops the rest. */
    public void finish(long visibleBytes) {
        news.append(joiner.finish(promptBytes + visibleBytes));
    }

    /** Adds a text as it is. */
    void append(String text) {
        news.append(text);
    }

    private void count(byte[] bytes) {
        for (byte b : bytes) {
            if ((b & 0xc0) != 0x80) { // the first byte of a character
                characterCount++;
            }
        }
    }

    boolean hasNews() {
        return !news.isEmpty();
    }

    /** What is to be shown since the last call. */
    public String takeNews() {
        String text = news.toString();
        news.setLength(0);
        return text;
    }
}
