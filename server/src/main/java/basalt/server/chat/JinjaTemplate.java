package basalt.server.chat;

import basalt.engine.text.Tokenizer;
import com.hubspot.jinjava.Jinjava;
import com.hubspot.jinjava.JinjavaConfig;
import com.hubspot.jinjava.LegacyOverrides;
import com.hubspot.jinjava.el.TypeConvertingMapELResolver;
import com.hubspot.jinjava.el.ext.ExtendedParser;
import com.hubspot.jinjava.el.ext.JinjavaListELResolver;
import com.hubspot.jinjava.interpret.Context;
import com.hubspot.jinjava.interpret.RenderResult;
import com.hubspot.jinjava.interpret.TemplateError;
import com.hubspot.jinjava.lib.Importable;
import com.hubspot.jinjava.lib.fn.ELFunctionDefinition;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import jinjava.javax.el.ArrayELResolver;
import jinjava.javax.el.CompositeELResolver;

/**
 * A checkpoint's own {@code chat_template}, in Jinja as Hugging Face's tokenizers render it: blocks trimmed, nothing
 * escaped, with {@code messages}, {@code add_generation_prompt}, {@code bos_token} and {@code eos_token}.
 *
 * <p>A template comes with a download and is not trusted. It can reach no class, file or address: objects answer only
 * to {@link TemplateObjects}, and of the library's tags, filters and functions only the harmless ones exist. Its output
 * and its strings, loops and collections are bounded, and so is its time. What messages say is never a template.
 */
final class JinjaTemplate implements ChatTemplate {
    /** Stand for the past of a chat. */
    private static final String QUESTION = "What?";

    private static final String ANSWER = "ThePastAnswer";
    /** Of the clock; a template takes a few milliseconds once the library is loaded. */
    private static final Duration TIME_MAX = Duration.ofSeconds(2);

    /** Uses what templates use, so that loading the library takes no time of theirs. */
    private static final String SAMPLE = """
            {%- macro said(m) %}{{ m['role'] + ': ' + m.content | trim }}{% endmacro -%}
            {%- set n = namespace(count=0, last=none) -%}
            {%- if messages[0]['role'] == 'system' %}{% set all = messages[1:] %}{% else %}{% set all = [] %}{% endif %}
            {%- for m in all -%}
            {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) or m is not defined %}{% set n.last = m %}
            {%- elif m.role not in ['user', 'assistant'] %}{{ raise_exception('a role') }}
            {%- else %}{% set n.count = n.count + 1 %}{{ loop.first ~ said(m) ~ '\n' }}{% endif -%}
            {%- endfor -%}
            {{ eos_token | default('') | upper | tojson }}{{ range(2) | list | length }}
            {%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif -%}
            """;

    private static final int RENDER_DEPTH_MAX = 20;
    private static final int COLLECTION_SIZE_MAX = 100_000;
    private static final int RANGE_MAX = 10_000;
    /** Characters that a template may add to what messages say. */
    private static final long ADDED_CHARS_MAX = 1 << 20;

    private static final Set<String> TAGS =
            words("if else elif endif for endfor set endset macro endmacro break continue raw endraw print do");
    private static final Set<String> FILTERS =
            words("trim length count upper lower title capitalize join default d first last list map select "
                    + "selectattr reject rejectattr replace string int float abs reverse unique sort safe "
                    + "dictsort sum round tojson");
    private static final Set<String> FUNCTIONS = Set.of(":range", ":namespace", ":dict");

    private final String source;
    private final Map<String, String> tokens;
    private final int[] stopTokenIds;
    private final SpecialTokens specials;
    private final Map<Context.Library, Set<String>> disabled;
    private final Jinjava jinjava;

    /**
     * Of a source.
     *
     * @param tokens variables of the template, such as {@code eos_token}
     * @param stopTokenIds end an answer
     */
    JinjaTemplate(String source, Map<String, String> tokens, int[] stopTokenIds, SpecialTokens specials) {
        this.source = TemplateSource.rewritten(source);
        this.tokens = Map.copyOf(tokens);
        this.stopTokenIds = stopTokenIds.clone();
        this.specials = specials;
        Context all = new Jinjava().getGlobalContext();
        disabled = Map.of(
                Context.Library.TAG, others(all.getAllTags(), TAGS),
                Context.Library.FILTER, others(all.getAllFilters(), FILTERS),
                Context.Library.FUNCTION, others(all.getAllFunctions(), FUNCTIONS));
        jinjava = new Jinjava(config(ADDED_CHARS_MAX));
        jinjava.getGlobalContext()
                .registerFunction(new ELFunctionDefinition(
                        "", "raise_exception", JinjaTemplate.class, "raiseException", Object.class));
        jinjava.renderForResult(TemplateSource.rewritten(SAMPLE), sample(), config(ADDED_CHARS_MAX));
    }

    private static Map<String, Object> sample() {
        var messages = List.of(
                Map.of("role", "system", "content", "Be brief."),
                Map.of("role", "user", "content", QUESTION),
                Map.of("role", "assistant", "content", ANSWER));
        return Map.of("messages", messages, "add_generation_prompt", true, "eos_token", "</s>");
    }

    private JinjavaConfig config(long charsMax) {
        var objects = new CompositeELResolver();
        objects.add(new ArrayELResolver(true));
        objects.add(new JinjavaListELResolver(true));
        objects.add(new TypeConvertingMapELResolver(false)); // namespaces are set
        objects.add(new TemplateObjects());
        return JinjavaConfig.newBuilder()
                .withTrimBlocks(true)
                .withLstripBlocks(true)
                .withKeepTrailingNewline(true) // of the output; Python drops that of the source
                .withLegacyOverrides(likePython())
                .withNestedInterpretationEnabled(false)
                .withElResolver(objects)
                .withInterperterFactory(new BoundedInterpreter.Factory())
                .withDisabled(disabled)
                .withMaxRenderDepth(RENDER_DEPTH_MAX)
                .withMaxMacroRecursionDepth(RENDER_DEPTH_MAX)
                .withMaxListSize(COLLECTION_SIZE_MAX)
                .withMaxMapSize(COLLECTION_SIZE_MAX)
                .withRangeLimit(RANGE_MAX)
                .withMaxOutputSize(charsMax)
                .withMaxStringLength(charsMax)
                .build();
    }

    /** All of the library's corrections but one: {@code {{x}}} needs no blanks. */
    private static LegacyOverrides likePython() {
        return LegacyOverrides.newBuilder()
                .withEvaluateMapKeys(true)
                .withIterateOverMapKeys(true)
                .withUsePyishObjectMapper(true)
                .withUseSnakeCasePropertyNaming(true)
                .withUseNaturalOperatorPrecedence(true)
                .withParseWhitespaceControlStrictly(true)
                .withAllowAdjacentTextNodes(true)
                .withUseTrimmingForNotesAndExpressions(true)
                .withKeepNullableLoopValues(true)
                .withHandleBackslashInQuotesOnly(true)
                .build();
    }

    private static Set<String> words(String text) {
        return Set.of(text.split(" "));
    }

    private static Set<String> others(Collection<? extends Importable> known, Set<String> allowed) {
        return known.stream()
                .map(Importable::getName)
                .filter(name -> !allowed.contains(name))
                .collect(Collectors.toSet());
    }

    /** What a template calls for a chat that it cannot render. */
    public static Object raiseException(Object message) {
        throw new ChatTemplateException(String.valueOf(message));
    }

    @Override
    public int[] encode(List<ChatMessage> messages, Opening opening, Tokenizer tokenizer) {
        return specials.encode(render(messages, opening), tokenizer);
    }

    /**
     * What comes behind the answer in a chat that has one: the rendering of a question, an answer and these messages,
     * after the answer. So what a template writes only at the beginning, such as a system message of its own, is not
     * written again, and the messages have their places in a chat. A template that refuses such a chat refuses these
     * messages.
     */
    @Override
    public int[] encodeNext(List<ChatMessage> messages, Opening opening, Tokenizer tokenizer) {
        var chat = new ArrayList<ChatMessage>(messages.size() + 2);
        chat.add(new ChatMessage(ChatMessage.Role.USER, QUESTION, Optional.empty()));
        chat.add(new ChatMessage(ChatMessage.Role.ASSISTANT, ANSWER, Optional.empty()));
        chat.addAll(messages);
        String text = render(chat, opening);
        int at = text.indexOf(ANSWER); // the first one, whatever the messages say
        if (at < 0) {
            throw new ChatTemplateException("The chat template leaves answers out, so a session cannot use it.");
        }
        return specials.encode(text.substring(at + ANSWER.length()), tokenizer);
    }

    private String render(List<ChatMessage> messages, Opening opening) {
        List<Map<String, String>> shown = messages.stream().map(this::shown).toList();
        var variables = new HashMap<String, Object>(tokens);
        variables.put("messages", shown);
        variables.put("add_generation_prompt", opening == Opening.NEW_MESSAGE);
        long said = messages.stream().mapToLong(m -> m.content().length()).sum();
        String text = bounded(variables, ADDED_CHARS_MAX + 4 * said);
        if (opening != Opening.LAST_MESSAGE) {
            return text;
        }
        String last = String.valueOf(shown.getLast().get("content")).strip();
        int at = text.lastIndexOf(last);
        if (at < 0) {
            throw new ChatTemplateException("The chat template changes the last message, so it cannot be continued.");
        }
        return text.substring(0, at + last.length());
    }

    private Map<String, String> shown(ChatMessage message) {
        var fields = new HashMap<String, String>();
        fields.put("role", message.role().label());
        fields.put("content", specials.marked(message.content()));
        message.name().ifPresent(name -> fields.put("name", specials.marked(name)));
        return fields;
    }

    private String bounded(Map<String, Object> variables, long charsMax) {
        JinjavaConfig bounds = config(charsMax);
        var task = new FutureTask<>(() -> jinjava.renderForResult(source, variables, bounds));
        Thread thread = Thread.ofPlatform().daemon().name("chat-template").start(task);
        try {
            RenderResult result = task.get(TIME_MAX.toMillis(), TimeUnit.MILLISECONDS);
            result.getErrors().stream().findFirst().ifPresent(JinjaTemplate::fail);
            requireKnown(result.getContext());
            return result.getOutput();
        } catch (TimeoutException e) {
            thread.interrupt();
            throw new ChatTemplateException("The chat template takes longer than " + TIME_MAX.toSeconds() + " s.");
        } catch (ExecutionException e) {
            throw new ChatTemplateException("The chat template fails: " + e.getCause());
        } catch (InterruptedException e) {
            thread.interrupt();
            Thread.currentThread().interrupt();
            throw new ChatTemplateException("The server is shutting down.");
        }
    }

    /** The library takes a filter or a test that it does not know for one that makes nothing. */
    private static void requireKnown(Context context) {
        for (String value : context.getResolvedValues()) {
            if (!isKnown(value, context)) {
                throw new ChatTemplateException("The chat template needs " + value + ", which is not supported.");
            }
        }
    }

    private static boolean isKnown(String value, Context context) {
        if (value.startsWith(ExtendedParser.FILTER_PREFIX)) {
            return FILTERS.contains(value.substring(ExtendedParser.FILTER_PREFIX.length()));
        }
        return !value.startsWith(ExtendedParser.EXPTEST_PREFIX)
                || context.getExpTest(value.substring(ExtendedParser.EXPTEST_PREFIX.length())) != null;
    }

    private static void fail(TemplateError error) {
        for (Throwable cause = error.getException(); cause != null; cause = cause.getCause()) {
            if (cause instanceof ChatTemplateException known) {
                throw known;
            }
        }
        throw new ChatTemplateException("The chat template fails: " + error.getMessage());
    }

    @Override
    public List<String> stopStrings() {
        return List.of();
    }

    @Override
    public int[] stopTokenIds() {
        return stopTokenIds.clone();
    }
}
