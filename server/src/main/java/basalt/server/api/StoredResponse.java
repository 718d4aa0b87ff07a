package basalt.server.api;

import basalt.server.chat.ChatMessage;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;

/**
 * A response as it is stored: its JSON in a line, and a line for each item of its input. One that several servers may
 * be asked for while one of them makes it has a line between: {@code making}, the name of that server, and the JSON of
 * the response should that server be no more.
 *
 * @param response the object, as its client had it
 * @param making if it had not ended
 * @param items of the input, the first one first
 */
@SuppressWarnings("ArrayRecordComponent") // never compared
public record StoredResponse(byte[] response, Optional<Making> making, List<String> items) {
    /** Items of a page at most. */
    public static final int PAGE_MAX = 100;

    private static final String MAKING = "making";

    /**
     * A response that has not ended.
     *
     * @param server that makes it
     * @param abandoned the object if that server has ended before
     */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    public record Making(String server, byte[] abandoned) {}

    /** Reads what {@link #bytes} wrote. */
    public static StoredResponse of(byte[] bytes) {
        int end = 0;
        while (end < bytes.length && bytes[end] != '\n') {
            end++;
        }
        String rest = new String(bytes, end, bytes.length - end, StandardCharsets.UTF_8);
        List<String> lines = rest.lines().skip(1).toList();
        boolean isMade = !lines.isEmpty() && lines.getFirst().startsWith(MAKING + " ");
        return new StoredResponse(
                Arrays.copyOf(bytes, end),
                isMade ? Optional.of(making(lines.getFirst())) : Optional.empty(),
                isMade ? lines.subList(1, lines.size()) : lines);
    }

    private static Making making(String line) {
        String[] parts = line.split(" ", 3);
        return new Making(parts[1], parts[2].getBytes(StandardCharsets.UTF_8));
    }

    /** As it is once the server that made it is no more. */
    public StoredResponse abandoned() {
        return making.map(left -> new StoredResponse(left.abandoned(), Optional.empty(), items))
                .orElse(this);
    }

    /** The instructions that it was made by. */
    public Optional<String> instructions() {
        return text("instructions");
    }

    /** Whether there is an answer, which others can follow. */
    public boolean isAnswered() {
        String status = text("status").orElse("");
        return status.equals("completed") || status.equals("incomplete");
    }

    /** Whether it was made without its client. */
    public boolean isBackground() {
        return find("background", json -> json.bool("background")).orElse(false);
    }

    private Optional<String> text(String field) {
        return find(field, json -> json.text(field));
    }

    private <T> Optional<T> find(String field, Function<JsonReader, T> reading) {
        var found = new ArrayList<T>(1);
        JsonReader.readObject(response, (name, json) -> {
            if (name.equals(field)) {
                found.add(reading.apply(json));
            } else {
                json.skip();
            }
        });
        return found.stream().findFirst();
    }

    /**
     * What is stored.
     *
     * @param id of the response
     * @param request that it answers
     */
    public static byte[] bytes(byte[] response, String id, ResponseRequest request) {
        return bytes(response, Optional.empty(), id, request);
    }

    /** What is stored of a response that has not ended. */
    public static byte[] bytes(byte[] response, Making making, String id, ResponseRequest request) {
        return bytes(response, Optional.of(making), id, request);
    }

    private static byte[] bytes(byte[] response, Optional<Making> making, String id, ResponseRequest request) {
        var out = new ByteArrayOutputStream();
        out.writeBytes(response);
        making.ifPresent(left -> {
            out.writeBytes(("\n" + MAKING + " " + left.server() + " ").getBytes(StandardCharsets.UTF_8));
            out.writeBytes(left.abandoned());
        });
        var messages = request.input().messages();
        for (int i = 0; i < messages.size(); i++) {
            out.write('\n');
            out.writeBytes(item(id.replace("resp_", "msg_") + "_" + i, messages.get(i)));
        }
        return out.toByteArray();
    }

    private static byte[] item(String id, ChatMessage message) {
        boolean isAnswer = message.role() == ChatMessage.Role.ASSISTANT;
        var out = new JsonBuffer();
        out.raw("{\"id\":").string(id);
        out.raw(",\"type\":\"message\",\"status\":\"completed\",\"role\":")
                .string(message.role().label());
        out.raw(",\"content\":[{\"type\":\"").raw(isAnswer ? "output_text" : "input_text");
        out.raw("\",\"text\":").string(message.content());
        return out.raw(isAnswer ? ",\"annotations\":[],\"logprobs\":[]}]}" : "}]}")
                .toByteArray();
    }

    /**
     * A page of the items, as JSON.
     *
     * @param isAscending whether the first one comes first
     * @param after the id of the item before the page; empty for the first page
     * @param limit items at most
     * @throws ProblemException if there is no such item
     */
    public byte[] page(boolean isAscending, String after, int limit) {
        List<String> ordered = isAscending ? items : items.reversed();
        int from = 0;
        if (!after.isEmpty()) {
            while (from < ordered.size() && !id(ordered.get(from)).equals(after)) {
                from++;
            }
            if (from == ordered.size()) {
                throw new ProblemException(
                        Problem.of(ProblemCode.INVALID_VALUE, "after", "after is the id of an item of this input."));
            }
            from++;
        }
        List<String> page = ordered.subList(from, Math.min(ordered.size(), from + limit));
        var out = new JsonBuffer();
        out.raw("{\"object\":\"list\",\"data\":[")
                .raw(String.join(",", page).getBytes(StandardCharsets.UTF_8))
                .raw("],\"first_id\":");
        writeId(out, page.isEmpty() ? "" : id(page.getFirst()));
        out.raw(",\"last_id\":");
        writeId(out, page.isEmpty() ? "" : id(page.getLast()));
        return out.raw(",\"has_more\":")
                .raw(from + page.size() < ordered.size() ? "true}" : "false}")
                .toByteArray();
    }

    private static String id(String item) {
        int start = "{\"id\":\"".length();
        return item.substring(start, item.indexOf('"', start));
    }

    private static void writeId(JsonBuffer out, String id) {
        if (id.isEmpty()) {
            out.raw("null");
        } else {
            out.string(id);
        }
    }
}
