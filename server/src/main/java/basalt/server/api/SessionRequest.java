package basalt.server.api;

import basalt.engine.session.SessionStore;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;

/**
 * The body of a request about sessions.
 *
 * @param life how long the session is kept without use; zero for ever
 * @param prompt token ids that it begins with
 * @param from the session that it is a copy of
 * @param count of forks
 * @param tokens that it is to go back to
 */
public record SessionRequest(
        Duration life, Optional<int[]> prompt, Optional<String> from, int count, OptionalLong tokens) {
    private static final int LIFE_SECONDS_MAX = 366 * 24 * 3_600;

    /** What a body is for. */
    public enum Use {
        /** A new session. */
        CREATE,
        /** Copies of a session. */
        FORK,
        /** Taking a session back. */
        REWIND;

        boolean has(String field) {
            return switch (this) {
                case CREATE -> Set.of("model", "ttl_seconds", "prompt", "from").contains(field);
                case FORK -> Set.of("model", "ttl_seconds", "count").contains(field);
                case REWIND -> Set.of("model", "tokens").contains(field);
            };
        }
    }

    private static final class Fields implements JsonReader.FieldReader {
        private final Use use;
        private final ServedModel model;
        private Duration life = Duration.ZERO;
        private Optional<int[]> prompt = Optional.empty();
        private Optional<String> from = Optional.empty();
        private int count = 1;
        private OptionalLong tokens = OptionalLong.empty();

        Fields(Use use, ServedModel model) {
            this.use = use;
            this.model = model;
        }

        @Override
        public void read(String name, JsonReader json) {
            switch (use.has(name) ? name : "") {
                case "ttl_seconds" -> life = Duration.ofSeconds(json.integer(name, 1, LIFE_SECONDS_MAX));
                case "prompt" -> prompt = Optional.of(ids(json));
                case "from" -> from = Optional.of(json.text(name));
                case "count" -> count = json.integer(name, 1, SessionStore.FORKS_MAX);
                case "tokens" -> tokens = OptionalLong.of(json.wholeNumber(name, 0, Long.MAX_VALUE));
                case "model" -> model.requireName(json.text(name));
                default ->
                    throw new ProblemException(Problem.of(
                            ProblemCode.UNKNOWN_PARAMETER,
                            name,
                            "\"" + name + "\" is no parameter here; leave it out."));
            }
        }

        private int[] ids(JsonReader json) {
            if (json.isArray()) {
                return json.ids("prompt", model.config().vocabSize());
            }
            var tokenizer = model.tokenizer()
                    .orElseThrow(() -> new ProblemException(Problem.of(
                            ProblemCode.TOKENIZER_MISSING,
                            "prompt",
                            "The checkpoint has no tokenizer; give prompt as an array of token ids.")));
            return tokenizer.encode(json.text("prompt"));
        }
    }

    /**
     * Reads a body; none is like an empty object.
     *
     * @throws ProblemException naming the field at fault
     */
    public static SessionRequest read(byte[] body, Use use, ServedModel model) {
        var fields = new Fields(use, model);
        if (body.length > 0) {
            JsonReader.readObject(body, fields);
        }
        if (fields.prompt.isPresent() && fields.from.isPresent()) {
            throw new ProblemException(Problem.of(
                    ProblemCode.INVALID_VALUE, "from", "A session begins with a prompt or from another; give one."));
        }
        return new SessionRequest(fields.life, fields.prompt, fields.from, fields.count, fields.tokens);
    }
}
