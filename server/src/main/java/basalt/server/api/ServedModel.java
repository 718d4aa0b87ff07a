package basalt.server.api;

import basalt.engine.model.ModelConfig;
import basalt.engine.text.Tokenizer;
import basalt.server.chat.ChatTemplate;
import java.util.Optional;

/**
 * The model as clients see it.
 *
 * @param name clients use it as {@code model}
 * @param fingerprint changes when answers may change: weights and version of the server
 * @param createdSeconds since 1970, of the checkpoint
 * @param config its shape
 * @param tokenizer none if only token ids are served
 * @param chat how a chat becomes a prompt
 * @param parameterCount of the weights
 * @param weightBytes of the weights
 * @param stateBytes of one sequence, however long
 */
public record ServedModel(
        String name,
        String fingerprint,
        long createdSeconds,
        ModelConfig config,
        Optional<Tokenizer> tokenizer,
        ChatTemplate chat,
        long parameterCount,
        long weightBytes,
        long stateBytes) {

    /** The same for one request, whose text is encoded as long as its time allows. */
    public ServedModel during(RequestTime time) {
        Optional<Tokenizer> timed =
                tokenizer.map(always -> always instanceof TimedTokenizer some ? some.during(time) : always);
        return new ServedModel(
                name, fingerprint, createdSeconds, config, timed, chat, parameterCount, weightBytes, stateBytes);
    }

    /** Throws unless the model that a request names is this one. */
    public void requireName(String wanted) {
        if (!wanted.equals(name)) {
            throw new ProblemException(Problem.of(
                    ProblemCode.MODEL_NOT_FOUND,
                    "model",
                    "The model \"" + wanted + "\" is not served here; the model is \"" + name + "\"."));
        }
    }

    /** The body of {@code GET /v1/models}. */
    public byte[] listJson() {
        var out = new JsonBuffer();
        out.raw("{\"object\":\"list\",\"data\":[");
        writeCard(out);
        return out.raw("]}").toByteArray();
    }

    /** The body of {@code GET /v1/models/NAME}. */
    public byte[] cardJson() {
        var out = new JsonBuffer();
        writeCard(out);
        return out.toByteArray();
    }

    private void writeCard(JsonBuffer out) {
        out.raw("{\"id\":").string(name);
        out.raw(",\"object\":\"model\",\"created\":").number(createdSeconds);
        out.raw(",\"owned_by\":\"basalt\",\"root\":").string(name);
        out.raw(",\"parent\":null,\"max_model_len\":");
        if (config.positionCount() > 0) {
            out.number(config.positionCount());
        } else {
            out.raw("null");
        }
        out.raw(",\"meta\":{\"n_vocab\":").number(config.vocabSize());
        out.raw(",\"n_embd\":").number(config.width());
        out.raw(",\"n_layer\":").number(config.layerCount());
        out.raw(",\"n_params\":").number(parameterCount);
        out.raw(",\"size\":").number(weightBytes);
        out.raw(",\"has_tokenizer\":").raw(tokenizer.isPresent() ? "true" : "false");
        out.raw(",\"state_bytes\":").number(stateBytes);
        var transformer = EqualTransformer.of(config, parameterCount);
        out.raw(",\"transformer\":{\"n_layer\":").number(transformer.layerCount());
        out.raw(",\"kv_bytes_per_token\":").number(transformer.bytesPerToken()).raw("}");
        out.raw("}}");
    }
}
