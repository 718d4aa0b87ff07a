package basalt.server.http;

import basalt.engine.Engine;
import basalt.server.api.ServedModel;
import basalt.server.api.TokenNames;

/** What answers requests once the model is loaded. */
public record Serving(Engine engine, ServedModel model, TokenNames names) {

    /** With the names of the model's tokens. */
    public static Serving of(Engine engine, ServedModel model) {
        return new Serving(
                engine, model, new TokenNames(model.tokenizer(), model.config().vocabSize()));
    }
}
