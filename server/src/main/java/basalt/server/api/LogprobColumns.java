package basalt.server.api;

import basalt.engine.TokenEvent;
import java.util.Optional;

/** The {@code logprobs} of a completion: four arrays. */
final class LogprobColumns implements LogprobList {
    private final TokenNames names;
    private final boolean namesById;
    private final JsonBuffer tokens = new JsonBuffer();
    private final JsonBuffer chosen = new JsonBuffer();
    private final JsonBuffer top = new JsonBuffer();
    private final JsonBuffer offsets = new JsonBuffer();

    LogprobColumns(TokenNames names, boolean namesById) {
        this.names = names;
        this.namesById = namesById;
    }

    @Override
    public void add(int token, long offset, Optional<TokenEvent.Logprobs> logprobs) {
        if (tokens.length() > 0) {
            tokens.raw(",");
            chosen.raw(",");
            top.raw(",");
            offsets.raw(",");
        }
        names.write(tokens, token, namesById);
        offsets.number(offset);
        if (logprobs.isEmpty()) {
            chosen.raw("null");
            top.raw("null");
        } else {
            chosen.logprob(logprobs.get().chosen());
            addTop(token, logprobs.get());
        }
    }

    /** The likeliest tokens, and the token itself if it is not among them. */
    private void addTop(int token, TokenEvent.Logprobs logprobs) {
        boolean hasChosen = false;
        top.raw("{");
        for (int i = 0; i < logprobs.topIds().length; i++) {
            int id = logprobs.topIds()[i];
            hasChosen |= id == token;
            top.raw(i > 0 ? "," : "");
            names.write(top, id, namesById);
            top.raw(":").logprob(logprobs.topLogprobs()[i]);
        }
        if (!hasChosen) {
            top.raw(logprobs.topIds().length > 0 ? "," : "");
            names.write(top, token, namesById);
            top.raw(":").logprob(logprobs.chosen());
        }
        top.raw("}");
    }

    @Override
    public boolean isEmpty() {
        return tokens.length() == 0;
    }

    @Override
    public void moveTo(JsonBuffer out) {
        out.raw("{\"tokens\":[").raw(tokens).raw("],\"token_logprobs\":[").raw(chosen);
        out.raw("],\"top_logprobs\":[").raw(top).raw("],\"text_offset\":[").raw(offsets);
        out.raw("]}");
        tokens.clear();
        chosen.clear();
        top.clear();
        offsets.clear();
    }
}
