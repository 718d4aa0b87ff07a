package basalt.server.chat;

import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.lib.exptest.ExpTest;
import com.hubspot.jinjava.lib.filter.Filter;
import com.hubspot.jinjava.util.ForLoop;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;
import jinjava.javax.el.ELContext;
import jinjava.javax.el.ELResolver;
import jinjava.javax.el.MethodNotFoundException;
import org.apache.commons.lang3.StringUtils;
import org.jspecify.annotations.Nullable;

/**
 * What a template may ask of an object: the state of a loop, and the methods of Python's strings and dictionaries.
 * There is no reflection, so that a template reaches no class and no other method of Java.
 */
final class TemplateObjects extends ELResolver {
    private static final Pattern BLANKS = Pattern.compile("\\s+");

    @Override
    public @Nullable Object getValue(ELContext context, @Nullable Object base, Object property) {
        if (!(base instanceof ForLoop loop)) {
            return null; // unresolved, which is undefined
        }
        context.setPropertyResolved(true);
        return switch (property.toString()) {
            case "index" -> loop.getIndex();
            case "index0" -> loop.getIndex0();
            case "revindex" -> loop.getRevindex();
            case "revindex0" -> loop.getRevindex0();
            case "first" -> loop.isFirst();
            case "last" -> loop.isLast();
            case "length" -> loop.getLength();
            case "depth" -> loop.getDepth();
            case "depth0" -> loop.getDepth0();
            default -> null;
        };
    }

    @Override
    public @Nullable Object invoke(
            ELContext context, Object base, Object method, Class<?>[] types, @Nullable Object @Nullable [] params) {
        @Nullable Object[] args = params == null ? new Object[0] : params;
        context.setPropertyResolved(true);
        return switch (base) {
            case Filter filter when method.equals("filter") -> filter(filter, args);
            case ExpTest test -> test(test, method.toString(), args);
            case Map<?, ?> map -> ofMap(map, method.toString(), args);
            case CharSequence text -> ofText(text.toString(), method.toString(), args);
            default -> throw none(base, method);
        };
    }

    private static @Nullable JinjavaInterpreter interpreter(@Nullable Object[] args) {
        return (JinjavaInterpreter) args[1];
    }

    /** Arguments in the template, after the value and the interpreter. */
    private static @Nullable Object[] rest(@Nullable Object[] args) {
        if (args.length == 3 && args[2] instanceof Object[] packed) {
            return packed;
        }
        return Arrays.copyOfRange(args, 2, args.length);
    }

    @SuppressWarnings("unchecked")
    private static @Nullable Object filter(Filter filter, @Nullable Object[] args) {
        return filter.filter(args[0], interpreter(args), (Object[]) args[2], (Map<String, Object>) args[3]);
    }

    private static boolean test(ExpTest test, String method, @Nullable Object[] args) {
        return switch (method) {
            case "evaluate" -> test.evaluate(args[0], interpreter(args), rest(args));
            case "evaluateNegated" -> test.evaluateNegated(args[0], interpreter(args), rest(args));
            default -> throw none(test, method);
        };
    }

    private static MethodNotFoundException none(Object base, Object method) {
        return new MethodNotFoundException(
                "there is no method " + method + " of a " + base.getClass().getSimpleName());
    }

    private static @Nullable Object ofMap(Map<?, ?> map, String method, @Nullable Object[] args) {
        return switch (method) {
            case "items" -> map.entrySet();
            case "keys" -> map.keySet();
            case "values" -> map.values();
            case "get" -> {
                Object value = map.get(args[0]);
                yield value == null && args.length > 1 ? args[1] : value;
            }
            default -> throw none(map, method);
        };
    }

    private static Object ofText(String text, String method, @Nullable Object[] args) {
        @Nullable String first = args.length > 0 && args[0] != null ? args[0].toString() : null;
        return switch (method) {
            case "strip" -> StringUtils.strip(text, first);
            case "lstrip" -> StringUtils.stripStart(text, first);
            case "rstrip" -> StringUtils.stripEnd(text, first);
            case "upper" -> StringUtils.upperCase(text, Locale.ROOT);
            case "lower" -> StringUtils.lowerCase(text, Locale.ROOT);
            case "capitalize" -> StringUtils.capitalize(StringUtils.lowerCase(text, Locale.ROOT));
            case "splitlines" -> text.lines().toList();
            case "startswith" -> text.startsWith(required(first, method));
            case "endswith" -> text.endsWith(required(first, method));
            case "find" -> text.indexOf(required(first, method));
            case "removeprefix" -> StringUtils.removeStart(text, required(first, method));
            case "removesuffix" -> StringUtils.removeEnd(text, required(first, method));
            case "replace" -> text.replace(required(first, method), required(second(args), method));
            case "split" -> split(text, first, args);
            case "join" -> join(text, args);
            default -> throw none(text, method);
        };
    }

    private static @Nullable String second(@Nullable Object[] args) {
        return args.length > 1 && args[1] != null ? args[1].toString() : null;
    }

    private static String required(@Nullable String argument, String method) {
        if (argument == null) {
            throw new IllegalArgumentException(method + " lacks an argument");
        }
        return argument;
    }

    private static List<String> split(String text, @Nullable String separator, @Nullable Object[] args) {
        int limit = args.length > 1 && args[1] instanceof Number number ? number.intValue() + 1 : -1;
        if (separator == null) {
            return Arrays.asList(BLANKS.split(text.strip(), limit));
        }
        return Arrays.asList(Pattern.compile(separator, Pattern.LITERAL).split(text, limit <= 0 ? -1 : limit));
    }

    private static String join(String separator, @Nullable Object[] args) {
        return args[0] instanceof Iterable<?> items ? StringUtils.join(items, separator) : "";
    }

    @Override
    public boolean isReadOnly(ELContext context, Object base, Object property) {
        return true;
    }

    @Override
    public void setValue(ELContext context, Object base, Object property, Object value) {
        throw new MethodNotFoundException("nothing can be set");
    }

    @Override
    public @Nullable Class<?> getType(ELContext context, Object base, Object property) {
        return null;
    }

    @Override
    public @Nullable Class<?> getCommonPropertyType(ELContext context, Object base) {
        return null;
    }

    @Override
    public @Nullable Iterator<java.beans.FeatureDescriptor> getFeatureDescriptors(ELContext context, Object base) {
        return null;
    }
}
