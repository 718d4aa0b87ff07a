package basalt.server.api;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * What a message says: a string, or parts of text, each a line of its own.
 *
 * @param cuts how many characters of it end at each breakpoint
 */
record ContentParts(String text, List<Integer> cuts) {
    private static final int PART_COUNT_MAX = 1_024;

    /**
     * Reads a content.
     *
     * @param types of parts that are text
     * @param idle fields of parts that tell nothing
     */
    static ContentParts read(String path, JsonReader json, Set<String> types, Set<String> idle) {
        if (json.isText()) {
            return new ContentParts(json.text(path), List.of());
        }
        if (!json.isArray()) {
            throw JsonReader.wrongType(path, "a string or an array of parts");
        }
        var text = new StringBuilder();
        var cuts = new ArrayList<Integer>();
        int count = 0;
        while (json.nextElement()) {
            if (count == PART_COUNT_MAX) {
                throw JsonReader.tooMany(path, PART_COUNT_MAX);
            }
            var part = new Part(path + "[" + count + "]", types, idle);
            json.object(part.path, part);
            if (!part.hasText) {
                throw MessageFields.missing(part.path + ".text");
            }
            text.append(count > 0 ? "\n" : "").append(part.text);
            count++;
            if (part.isBreakpoint) {
                cuts.add(text.length());
            }
        }
        return new ContentParts(text.toString(), cuts);
    }

    private static final class Part implements JsonReader.FieldReader {
        private final String path;
        private final Set<String> types;
        private final Set<String> idle;
        private String text = "";
        private boolean hasText;
        private boolean isBreakpoint;

        Part(String path, Set<String> types, Set<String> idle) {
            this.path = path;
            this.types = types;
            this.idle = idle;
        }

        @Override
        public void read(String name, JsonReader json) {
            String field = name.substring(path.length() + 1);
            switch (field) {
                case "type" -> {
                    if (!types.contains(json.text(name))) {
                        throw textOnly(name);
                    }
                }
                case "text" -> {
                    text = json.text(name);
                    hasText = true;
                }
                case "prompt_cache_breakpoint" -> {
                    json.object(name, this::readBreakpoint);
                    if (!isBreakpoint) {
                        throw MessageFields.missing(name + ".mode");
                    }
                }
                case "image_url", "input_audio", "file", "refusal" -> throw textOnly(name);
                default -> {
                    if (!idle.contains(field)) {
                        throw MessageFields.unknown(name, "a part");
                    }
                    json.skip();
                }
            }
        }

        private void readBreakpoint(String name, JsonReader json) {
            if (!name.endsWith(".mode") || !json.text(name).equals("explicit")) {
                throw AnswerFields.unsupported(name, "A breakpoint can only be {\"mode\": \"explicit\"}.");
            }
            isBreakpoint = true;
        }

        private ProblemException textOnly(String name) {
            return AnswerFields.unsupported(
                    name,
                    name + ": the model reads text only; send parts of the type "
                            + types.stream().sorted().findFirst().orElse("text") + ".");
        }
    }
}
