package basalt.server.http;

import basalt.engine.Engine;
import basalt.engine.session.SessionStore;
import basalt.engine.state.PrefixCache;
import basalt.server.api.ServedModel;
import basalt.server.api.TokenNames;

/** What answers requests once the model is loaded. */
public record Serving(
        Engine engine,
        SessionStore sessions,
        StateSeal seal,
        PrefixCache prefixes,
        ServedModel model,
        TokenNames names) {

    /** With the names of the model's tokens. */
    public static Serving of(
            Engine engine, SessionStore sessions, StateSeal seal, PrefixCache prefixes, ServedModel model) {
        return new Serving(
                engine,
                sessions,
                seal,
                prefixes,
                model,
                new TokenNames(model.tokenizer(), model.config().vocabSize()));
    }

    /** The same, but no beginning of a prompt is kept or looked for. */
    public Serving withoutPrefixes() {
        return new Serving(engine, sessions, seal, new PrefixCache(0), model, names);
    }
}
