package basalt.server.api;

import basalt.engine.text.Tokenizer;
import java.util.ArrayList;
import java.util.Optional;

/** {@code POST /tokenize} and {@code POST /detokenize}: text to the model's token ids and back. */
public final class TokenRequests {
    private TokenRequests() {}

    /**
     * The answer to {@code POST /tokenize}.
     *
     * @throws ProblemException naming the field at fault
     */
    public static byte[] tokenize(byte[] body, ServedModel model) {
        var fields = new TextFields(model);
        JsonReader.readObject(body, fields);
        Tokenizer tokenizer = tokenizer(model, "prompt");
        int[] ids = tokenizer.encode(fields.prompt.orElseThrow(() -> missing("prompt", "which text?")));
        var out = new JsonBuffer();
        out.raw("{\"tokens\":");
        writeIds(out, ids);
        out.raw(",\"count\":").number(ids.length);
        out.raw(",\"max_model_len\":");
        if (model.config().positionCount() > 0) {
            out.number(model.config().positionCount());
        } else {
            out.raw("null");
        }
        if (fields.showsText) {
            out.raw(",\"token_strs\":[");
            var names = new TokenNames(model.tokenizer(), model.config().vocabSize());
            for (int i = 0; i < ids.length; i++) {
                out.raw(i > 0 ? "," : "");
                names.write(out, ids[i], false);
            }
            out.raw("]");
        }
        return out.raw("}").toByteArray();
    }

    private static void writeIds(JsonBuffer out, int[] ids) {
        out.raw("[");
        for (int i = 0; i < ids.length; i++) {
            out.raw(i > 0 ? "," : "").number(ids[i]);
        }
        out.raw("]");
    }

    /**
     * The answer to {@code POST /detokenize}.
     *
     * @throws ProblemException naming the field at fault
     */
    public static byte[] detokenize(byte[] body, ServedModel model) {
        var ids = new ArrayList<int[]>(1);
        JsonReader.readObject(body, (name, json) -> {
            switch (name) {
                case "model" -> model.requireName(json.text(name));
                case "tokens" -> ids.add(json.ids(name, model.config().vocabSize()));
                default -> throw unknown(name, "detokenize");
            }
        });
        if (ids.isEmpty()) {
            throw missing("tokens", "of which ids is the text asked for?");
        }
        String text = tokenizer(model, "tokens").decode(ids.getFirst());
        return new JsonBuffer().raw("{\"prompt\":").string(text).raw("}").toByteArray();
    }

    private static Tokenizer tokenizer(ServedModel model, String param) {
        return model.tokenizer()
                .orElseThrow(() -> new ProblemException(Problem.of(
                        ProblemCode.TOKENIZER_MISSING,
                        param,
                        "The checkpoint has no tokenizer; only its token ids are served.")));
    }

    private static ProblemException missing(String param, String question) {
        return new ProblemException(
                Problem.of(ProblemCode.MISSING_PARAMETER, param, param + " is missing: " + question));
    }

    private static ProblemException unknown(String name, String endpoint) {
        return new ProblemException(Problem.of(
                ProblemCode.UNKNOWN_PARAMETER,
                name,
                "\"" + name + "\" is no parameter of " + endpoint + "; leave it out."));
    }

    /** The fields of {@code /tokenize}. */
    private static final class TextFields implements JsonReader.FieldReader {
        private final ServedModel model;
        private Optional<String> prompt = Optional.empty();
        private boolean showsText;

        TextFields(ServedModel model) {
            this.model = model;
        }

        @Override
        public void read(String name, JsonReader json) {
            switch (name) {
                case "model" -> model.requireName(json.text(name));
                case "prompt" -> prompt = Optional.of(json.text(name));
                case "return_token_strs" -> showsText = json.bool(name);
                // No tokenizer here adds special tokens.
                case "add_special_tokens" -> json.bool(name);
                case "messages" ->
                    throw AnswerFields.unsupported(
                            name, "messages are not tokenized here; a chat tells its prompt_tokens in usage.");
                default -> throw unknown(name, "tokenize");
            }
        }
    }
}
