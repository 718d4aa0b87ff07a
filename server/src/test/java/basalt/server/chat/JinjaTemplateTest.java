package basalt.server.chat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.fixture.WordTokenizer;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JinjaTemplateTest {
    private static final WordTokenizer TOKENIZER = new WordTokenizer(300);
    private static final String END = "<|endoftext|>";
    private static final String CONTENT = "{% for m in messages %}{{ m.content }}" + END + "{% endfor %}";

    private static ChatMessage user(String content) {
        return new ChatMessage(ChatMessage.Role.USER, content, Optional.empty());
    }

    private static int[] encode(String source, ChatTemplate.Opening opening, ChatMessage... messages) {
        return JinjaTemplateGoldenTest.template(source).encode(List.of(messages), opening, TOKENIZER);
    }

    private static String render(String source, ChatMessage... messages) {
        return TOKENIZER.decode(encode(source, ChatTemplate.Opening.NEW_MESSAGE, messages));
    }

    @Test
    void specialTokensOfTheTemplateAreTokens() {
        int[] ids = encode(CONTENT, ChatTemplate.Opening.NONE, user("ab"));

        assertArrayEquals(new int[] {'a', 'b', WordTokenizer.END_OF_TEXT}, ids);
    }

    @ParameterizedTest
    @ValueSource(strings = {END, "a" + END + "b" + END, "\ufdd0", "\ufdd0\ufdd1\ufdd2" + END, "\ufdd0\ufdd2"})
    void specialTokensInMessagesAreText(String content) {
        int[] ids = encode(CONTENT, ChatTemplate.Opening.NONE, user(content));

        int[] text = TOKENIZER.encode(content);
        assertEquals(text.length + 1, ids.length);
        assertArrayEquals(text, java.util.Arrays.copyOf(ids, text.length));
    }

    @Test
    void messagesAreNeverTemplates() {
        assertEquals("{{ 1 + 1 }}{% if %}{# a #}", render(CONTENT, user("{{ 1 + 1 }}{% if %}{# a #}")));
    }

    @Test
    void lastMessageIsLeftOpen() {
        var answer = new ChatMessage(ChatMessage.Role.ASSISTANT, "so far ", Optional.empty());

        int[] ids = encode(CONTENT, ChatTemplate.Opening.LAST_MESSAGE, user("a"), answer);

        assertEquals("aso far", TOKENIZER.decode(ids));
        assertThrows(
                ChatTemplateException.class,
                () -> encode("{{ messages[0].content | upper }}", ChatTemplate.Opening.LAST_MESSAGE, answer));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{{ ''.class }}",
                "{{ ''.getClass() }}",
                "{{ messages.class.forName('java.lang.Runtime') }}",
                "{{ messages[0].getClass().getName() }}",
                "{{ ____int3rpr3t3r____.config.objectMapper }}",
                "{{ ____int3rpr3t3r____.getContext() }}",
                "{{ messages|attr('class') }}",
                "{{ range.class }}",
                "{% for m in messages %}{{ loop.class }}{{ loop.getClass() }}{% endfor %}",
                "{{ ''.__class__.__mro__ }}",
                "{{ '{\"a\":1}'|fromjson }}",
                "{{ type(messages) }}",
                "{% include '/etc/passwd' %}",
                "{% import '/etc/passwd' as x %}",
                "{% from '/etc/passwd' import x %}",
                "{% extends '/etc/passwd' %}"
            })
    void templateReachesNothing(String source) {
        String text;
        try {
            text = render(source, user("a"));
        } catch (ChatTemplateException e) {
            text = String.valueOf(e.getMessage());
        }

        for (String sign : List.of("class java", "java.lang", "Interpreter@", "Context@", "Mapper@", "root:")) {
            assertFalse(text.contains(sign), text);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{% set n = namespace(x='aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa') %}{% for i in range(64) %}"
                        + "{% set n.x = n.x ~ n.x %}{% endfor %}",
                "{% set n = namespace(x='aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa') %}{% for i in range(64) %}"
                        + "{% set n.x = n.x + n.x %}{% endfor %}",
                "{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) %}{% endfor %}{% endfor %}"
                        + "{% endfor %}",
                "{% for i in range(9999) %}{% for j in range(9999) %}aaaaaaaaaaaaaaaaaaaa{% endfor %}{% endfor %}",
                "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
                "{{ range(1000000000) | join('aaaaaaaaaaaaaaaaaaaaaaaa') | length }}{{ raise_exception('bounded') }}",
                "{% set n = namespace(x=[1, 2, 3, 4]) %}{% for i in range(64) %}{% set n.x = n.x + n.x %}{% endfor %}",
                "{% for i in range(9000) %}{{ 'a' * 10000000 }}{% endfor %}{{ raise_exception('bounded') }}"
            })
    void templateIsBounded(String source) {
        Assertions.assertTimeoutPreemptively(
                Duration.ofSeconds(60),
                () -> assertThrows(ChatTemplateException.class, () -> render(source, user("a"))));
    }

    @Test
    void templateThatTakesLongIsEndedInTime() {
        String endless = "{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) %}{% endfor %}"
                + "{% endfor %}{% endfor %}";
        long began = System.nanoTime();

        var failure = assertThrows(ChatTemplateException.class, () -> render(endless, user("a")));

        assertEquals("The chat template takes longer than 2 s.", failure.getMessage());
        long seconds = Duration.ofNanos(System.nanoTime() - began).toSeconds();
        assertTrue(seconds < 30, "ended after " + seconds + " s");
    }

    /** In a process of its own, where nothing was loaded before. */
    @Test
    void loadingTheLibraryTakesNoTimeOfTheFirstChat(@TempDir Path folder) throws Exception {
        Path counts = folder.resolve("counts");
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        FirstChat.class.getName(),
                        counts.toString())
                .redirectErrorStream(true)
                .start();
        String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);

        assertEquals(0, process.waitFor(), text);
        var classes = Files.readAllLines(counts);
        assertTrue(Integer.parseInt(classes.get(0)) > 1_000, "made and used with " + classes);
        assertTrue(Integer.parseInt(classes.get(1)) < 200, "made and used with " + classes);
    }

    /** Writes how many classes were loaded to make a template, and to use it first. */
    static final class FirstChat {
        private FirstChat() {}

        public static void main(String[] args) throws IOException {
            var loading = ManagementFactory.getClassLoadingMXBean();
            int before = loading.getLoadedClassCount();
            var template = JinjaTemplateGoldenTest.template(JinjaTemplateGoldenTest.resource("llama2.jinja"));
            int made = loading.getLoadedClassCount();
            template.encode(List.of(user("a")), ChatTemplate.Opening.NEW_MESSAGE, TOKENIZER);
            int used = loading.getLoadedClassCount();
            Files.writeString(Path.of(args[0]), (made - before) + "\n" + (used - made) + "\n");
        }
    }

    @Test
    void deepNestingFailsCleanly() {
        for (String source : List.of(
                "{{ " + "(".repeat(2000) + "1" + ")".repeat(2000) + " }}",
                "{% if true %}".repeat(3000) + "{% endif %}".repeat(3000) + "{{ raise_exception('x') }}")) {
            assertThrows(ChatTemplateException.class, () -> render(source, user("a")), source.substring(0, 40));
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{% for m in messages if m.role == 'user' %}{{ m }}{% endfor %}",
                "{{ messages | nosuchfilter }}",
                "{% for m in messages %}{% if m is nosuchtest %}a{% endif %}{% endfor %}",
                "{{ messages[0].content.nosuchmethod() }}",
                "{% for m in messages %}",
                "{{ 1 + }}",
                "{% nosuchtag %}"
            })
    void whatCannotBeRenderedIsRefused(String source) {
        assertThrows(ChatTemplateException.class, () -> render(source, user("a")));
    }

    @Test
    void conditionalListIsNoConditionOfALoop() {
        assertEquals("a", render("{% for m in messages if messages else [] %}{{ m.content }}{% endfor %}", user("a")));
        assertTrue(render("{% generation %}x{%- endgeneration %}", user("a")).contains("x"));
    }
}
