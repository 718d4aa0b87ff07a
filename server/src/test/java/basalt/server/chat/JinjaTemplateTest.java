package basalt.server.chat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.fixture.WordTokenizer;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Test;
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
