package basalt.server.api;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.chat.PlainTemplate;
import basalt.server.fixture.WordTokenizer;
import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Collections;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

class ChatInputTest {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final int PART_COUNT = 1_024;

    private static String part(String text) {
        return "{\"text\":\"" + text + "\",\"prompt_cache_breakpoint\":{\"mode\":\"explicit\"}}";
    }

    private static ChatInput read(String messages) {
        var input = new AtomicReference<>(ChatInput.NONE);
        byte[] body = ("{\"messages\":" + messages + "}").getBytes(StandardCharsets.UTF_8);
        JsonReader.readObject(body, (name, json) -> input.set(MessageFields.messages(json)));
        return input.get();
    }

    @Test
    void breakpointsTakeNoMemoryOfTheirOwn() {
        String parts = String.join(",", Collections.nCopies(PART_COUNT, part("x".repeat(2_000))));
        String messages = "[{\"role\":\"user\",\"content\":[" + parts + "]}]";

        long before = THREADS.getCurrentThreadAllocatedBytes();
        ChatInput input = read(messages);
        long bytes = THREADS.getCurrentThreadAllocatedBytes() - before;

        assertEquals(1, input.messages().size());
        assertTrue(bytes < 40L * messages.length(), "a message of " + messages.length() + " bytes took " + bytes);
    }

    @Test
    void lastFourBreakpointsCount() {
        String messages = "[{\"role\":\"user\",\"content\":[" + part("a") + "," + part("b") + "," + part("c") + "]},"
                + "{\"role\":\"user\",\"content\":[" + part("d") + ",{\"text\":\"e\"}," + part("f") + "]}]";
        var tokenizer = new WordTokenizer(300);
        var template = new PlainTemplate();
        var input = read(messages);
        int[] prompt = tokenizer.encode("User: a\nb\nc\nUser: d\ne\nf\nAssistant:");

        int[] counts = input.breakpoints(prompt, template, tokenizer);

        int[] expected = Arrays.stream(new String[] {
                    "User: a\nb", "User: a\nb\nc", "User: a\nb\nc\nUser: d", "User: a\nb\nc\nUser: d\ne\nf"
                })
                .mapToInt(String::length)
                .toArray();
        assertEquals(Arrays.toString(expected), Arrays.toString(counts));
    }
}
