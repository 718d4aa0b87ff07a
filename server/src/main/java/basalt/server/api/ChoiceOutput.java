package basalt.server.api;

import basalt.engine.FinishReason;
import basalt.engine.TokenEvent;
import basalt.engine.text.Tokenizer;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What one choice has produced and no answer has shown yet. A stream takes it bit by bit, a whole answer once. Confined
 * to one thread at a time.
 */
public final class ChoiceOutput {
    private static final byte[] NO_BYTES = {};

    private final int index;
    private final int[] prompt;
    private final CompletionRequest.Output shown;
    private final Optional<Tokenizer> tokenizer;
    private final int endOfSequence;
    private final ChoiceText text = new ChoiceText();
    private final LogprobList logprobs;
    private final JsonBuffer tokenIds = new JsonBuffer();
    private boolean showsPromptIds;
    private TokenEvent.@Nullable Finished finished;
    private boolean isOpened;
    private boolean isFinishShown;
    private int sampledCount;
    private double logprobSum; // of the sampled tokens

    /**
     * Of one choice.
     *
     * @param index in the answer, unless only the best are shown
     * @param isScored whether the prompt comes token by token, by {@link #scored}
     */
    ChoiceOutput(
            int index,
            int[] prompt,
            boolean isScored,
            CompletionRequest.Output shown,
            ServedModel model,
            TokenNames names) {
        this.index = index;
        this.prompt = prompt;
        this.shown = shown;
        this.tokenizer = model.tokenizer();
        this.endOfSequence = model.config().endOfSequence();
        this.logprobs = switch (shown.form()) {
            case TEXT -> new LogprobColumns(names, shown.namesTokensById());
            case CHAT -> new LogprobEntries(names, shown.namesTokensById());
        };
        this.showsPromptIds = shown.returnsTokenIds();
        if (shown.echoesPrompt() && !isScored) {
            for (int token : prompt) {
                text.addPrompt(bytes(token));
            }
        }
    }

    private byte[] bytes(int token) {
        return tokenizer.isPresent() ? tokenizer.get().bytes(token) : NO_BYTES;
    }

    /** Adds a token of the prompt. */
    public void scored(TokenEvent.Scored event) {
        logprobs.add(event.token(), text.characterCount(), event.logprobs());
        text.addPrompt(bytes(event.token()));
    }

    /** Adds a sampled token. */
    public void sampled(TokenEvent.Sampled event) {
        sampledCount++;
        event.logprobs().ifPresent(values -> logprobSum += values.chosen());
        if (shown.logprobCount() >= 0) {
            logprobs.add(event.token(), text.characterCount(), event.logprobs());
        }
        if (shown.returnsTokenIds()) {
            tokenIds.raw(tokenIds.length() > 0 ? "," : "").number(event.token());
        }
        text.addOutput(bytes(event.token()), event.visibleBytes());
    }

    /** Ends the choice. */
    public void finished(TokenEvent.Finished event) {
        finished = event;
        text.finish(event.visibleBytes());
        if (shown.includesStopString()) {
            event.stopString().ifPresent(text::append);
        }
    }

    /** Mean log-probability of the sampled tokens, by which the best choices are found. */
    double logprobMean() {
        return sampledCount == 0 ? 0 : logprobSum / sampledCount;
    }

    /** Why the choice ended, in the API's names, once it has. */
    public Optional<String> finishReason() {
        return Optional.ofNullable(finished).map(event -> name(event.reason()));
    }

    private static String name(FinishReason reason) {
        return reason == FinishReason.STOP ? "stop" : "length";
    }

    /** Whether the deadline passed before there was a token. */
    public boolean isTooLate() {
        return finished != null && finished.reason() == FinishReason.DEADLINE && sampledCount == 0;
    }

    int index() {
        return index;
    }

    /** Whether a chunk would show something. */
    public boolean hasNews() {
        return hasContent() || isEnding();
    }

    /** Whether there is text, or what belongs to tokens, that was not shown. */
    boolean hasContent() {
        return text.hasNews() || !logprobs.isEmpty() || tokenIds.length() > 0;
    }

    /** Whether the end is known and was not shown. */
    boolean isEnding() {
        return finished != null && !isFinishShown;
    }

    /** Why the choice ended, once that is known and was not shown. */
    Optional<FinishReason> takeFinishReason() {
        var end = finished;
        if (end == null || isFinishShown) {
            return Optional.empty();
        }
        isFinishShown = true;
        return Optional.of(end.reason());
    }

    /** Whether this is the first call. */
    boolean opens() {
        boolean isFirst = !isOpened;
        isOpened = true;
        return isFirst;
    }

    /** Text since the last call. */
    String takeText() {
        return text.takeNews();
    }

    /** Appends what stands behind the text or message: log-probabilities since the last call. */
    void writeLogprobs(JsonBuffer out) {
        out.raw(",\"logprobs\":");
        if (logprobs.isEmpty()) {
            out.raw("null");
        } else {
            logprobs.moveTo(out);
        }
    }

    /** Appends why the choice ended, or nulls while it runs. */
    void writeFinish(JsonBuffer out) {
        if (finished == null) {
            writeUnfinished(out);
        } else {
            writeFinish(out, finished);
        }
    }

    /** Appends nulls for why the choice ended. */
    static void writeUnfinished(JsonBuffer out) {
        out.raw(",\"finish_reason\":null,\"stop_reason\":null");
    }

    /** Appends token ids since the last call, if they are asked for. */
    void writeIds(JsonBuffer out) {
        if (showsPromptIds) {
            writePromptIds(out);
        }
        if (shown.returnsTokenIds()) {
            out.raw(",\"token_ids\":[").raw(tokenIds).raw("]");
            tokenIds.clear();
        }
    }

    private void writeFinish(JsonBuffer out, TokenEvent.Finished event) {
        isFinishShown = true;
        out.raw(",\"finish_reason\":").string(name(event.reason()));
        out.raw(",\"stop_reason\":");
        if (event.reason() == FinishReason.DEADLINE) {
            out.string("deadline");
        } else if (event.stopString().isPresent()) {
            out.string(event.stopString().get());
        } else if (event.stopToken().isPresent() && event.stopToken().get() != endOfSequence) {
            out.number(event.stopToken().get());
        } else {
            out.raw("null");
        }
    }

    private void writePromptIds(JsonBuffer out) {
        showsPromptIds = false;
        out.raw(",\"prompt_token_ids\":[");
        for (int i = 0; i < prompt.length; i++) {
            out.raw(i > 0 ? "," : "").number(prompt[i]);
        }
        out.raw("]");
    }
}
