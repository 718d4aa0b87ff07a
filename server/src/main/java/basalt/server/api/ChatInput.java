package basalt.server.api;

import basalt.engine.text.Tokenizer;
import basalt.server.chat.ChatMessage;
import basalt.server.chat.ChatTemplate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;

/**
 * The messages of a request.
 *
 * @param beginnings of the messages, up to the last breakpoints
 */
record ChatInput(List<ChatMessage> messages, List<Beginning> beginnings) {
    /** Breakpoints that are heeded at most, the last ones of a request; as OpenAI does. */
    static final int BREAKPOINTS_MAX = 4;

    static final ChatInput NONE = new ChatInput(List.of(), List.of());

    /**
     * What is said up to a breakpoint: all messages before one, and some characters of it.
     *
     * @param index of the message
     * @param length characters of it
     */
    record Beginning(int index, int length) {}

    /** Copies the messages, and the breakpoints that are heeded. */
    ChatInput {
        messages = List.copyOf(messages);
        beginnings =
                List.copyOf(beginnings.subList(Math.max(0, beginnings.size() - BREAKPOINTS_MAX), beginnings.size()));
    }

    /** What is said before these messages. */
    ChatInput after(ChatMessage first) {
        var all = new ArrayList<ChatMessage>(messages.size() + 1);
        all.add(first);
        all.addAll(messages);
        return new ChatInput(
                all,
                beginnings.stream()
                        .map(beginning -> new Beginning(beginning.index() + 1, beginning.length()))
                        .toList());
    }

    /**
     * Token counts at the breakpoints: what the prompt and the text up to there have in common, which is all but what
     * a token across the breakpoint would add.
     */
    int[] breakpoints(int[] prompt, ChatTemplate template, Tokenizer tokenizer) {
        return breakpoints(
                prompt, beginning -> template.encode(beginning, ChatTemplate.Opening.LAST_MESSAGE, tokenizer));
    }

    /** The prompt after a chat that has an answer already. */
    CompletionRequest.Continuation continuation(
            ChatTemplate.Opening opening, ChatTemplate template, Tokenizer tokenizer) {
        int[] prompt = template.encodeNext(messages, opening, tokenizer);
        int[] cuts = breakpoints(
                prompt, beginning -> template.encodeNext(beginning, ChatTemplate.Opening.LAST_MESSAGE, tokenizer));
        return new CompletionRequest.Continuation(prompt, cuts);
    }

    private int[] breakpoints(int[] prompt, Function<List<ChatMessage>, int[]> encoding) {
        return beginnings.stream()
                .map(this::said)
                .map(encoding)
                .mapToInt(beginning -> common(prompt, beginning))
                .filter(count -> count > 0)
                .sorted()
                .distinct()
                .toArray();
    }

    private List<ChatMessage> said(Beginning beginning) {
        var said = new ArrayList<>(messages.subList(0, beginning.index()));
        ChatMessage cut = messages.get(beginning.index());
        said.add(new ChatMessage(cut.role(), cut.content().substring(0, beginning.length()), cut.name()));
        return said;
    }

    private static int common(int[] prompt, int[] beginning) {
        int length = Math.min(prompt.length, beginning.length);
        int at = Arrays.mismatch(prompt, 0, length, beginning, 0, length);
        return at < 0 ? length : at;
    }
}
