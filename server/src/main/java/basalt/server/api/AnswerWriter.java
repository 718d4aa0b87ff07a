package basalt.server.api;

import basalt.engine.Usage;
import java.util.List;

/** Writes the answer to one request, whole or as events of a stream. Safe for use by any thread. */
public interface AnswerWriter {
    /** Whether prompts are shown with their log-probabilities. */
    boolean showsScores();

    /** Outputs of the choices of one prompt. */
    List<ChoiceOutput> outputs(int promptIndex);

    /** Appends the events that come before the first token; may be none. */
    void writeBegin(JsonBuffer out);

    /** Appends events with what a choice has since the last ones. */
    void writeChunks(JsonBuffer out, ChoiceOutput output);

    /** Appends the end of a stream. */
    void writeEnd(JsonBuffer out, Usage usage);

    /** Appends the end of a stream that failed. */
    void writeFailure(JsonBuffer out, Problem problem);

    /** A whole answer. */
    byte[] whole(List<ChoiceOutput> outputs, Usage usage);
}
