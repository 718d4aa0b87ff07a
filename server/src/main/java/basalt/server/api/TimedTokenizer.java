package basalt.server.api;

import basalt.engine.text.Tokenizer;
import java.util.concurrent.CancellationException;

/** A tokenizer whose work can be given up. */
public interface TimedTokenizer extends Tokenizer {
    /** The same for one request: throws {@link CancellationException} once its time is over. */
    Tokenizer during(RequestTime time);
}
