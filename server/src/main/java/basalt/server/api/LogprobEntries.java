package basalt.server.api;

import basalt.engine.TokenEvent;
import java.util.Optional;

/** The {@code logprobs} of a chat: one object a token. */
final class LogprobEntries implements LogprobList {
    private final TokenNames names;
    private final boolean namesById;
    private final JsonBuffer entries = new JsonBuffer();

    LogprobEntries(TokenNames names, boolean namesById) {
        this.names = names;
        this.namesById = namesById;
    }

    @Override
    public void add(int token, long offset, Optional<TokenEvent.Logprobs> logprobs) {
        TokenEvent.Logprobs values =
                logprobs.orElseThrow(() -> new IllegalStateException("a sampled token without log-probability"));
        entries.raw(isEmpty() ? "" : ",");
        writeToken(token, values.chosen());
        entries.raw(",\"top_logprobs\":[");
        for (int i = 0; i < values.topIds().length; i++) {
            entries.raw(i > 0 ? "," : "");
            writeToken(values.topIds()[i], values.topLogprobs()[i]);
            entries.raw("}");
        }
        entries.raw("]}");
    }

    private void writeToken(int token, float logprob) {
        entries.raw("{\"token\":");
        names.write(entries, token, namesById);
        entries.raw(",\"logprob\":").logprob(logprob).raw(",\"bytes\":");
        names.writeBytes(entries, token);
    }

    @Override
    public boolean isEmpty() {
        return entries.length() == 0;
    }

    @Override
    public void moveTo(JsonBuffer out) {
        out.raw("{\"content\":[").raw(entries).raw("],\"refusal\":null}");
        entries.clear();
    }
}
