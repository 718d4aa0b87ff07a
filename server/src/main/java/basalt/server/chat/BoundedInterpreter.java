package basalt.server.chat;

import com.hubspot.jinjava.Jinjava;
import com.hubspot.jinjava.JinjavaConfig;
import com.hubspot.jinjava.interpret.Context;
import com.hubspot.jinjava.interpret.InterpreterFactory;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.interpret.OutputTooBigException;
import org.jspecify.annotations.Nullable;

/** Ends a template whose strings grow without bound; the library looks at its output only. */
final class BoundedInterpreter extends JinjavaInterpreter {
    private static final int EXPRESSION_CHARS_MAX = 4_096;

    private BoundedInterpreter(Jinjava application, Context context, JinjavaConfig config) {
        super(application, context, config);
    }

    private BoundedInterpreter(JinjavaInterpreter other) {
        super(other);
    }

    /** Makes them. */
    static final class Factory implements InterpreterFactory {
        @Override
        public JinjavaInterpreter newInstance(JinjavaInterpreter other) {
            return new BoundedInterpreter(other);
        }

        @Override
        public JinjavaInterpreter newInstance(Jinjava application, Context context, JinjavaConfig config) {
            return new BoundedInterpreter(application, context, config);
        }
    }

    @Override
    public @Nullable Object resolveELExpression(String expression, int lineNumber) {
        requireAtMost(EXPRESSION_CHARS_MAX, expression.length());
        Object value = super.resolveELExpression(expression, lineNumber);
        if (value instanceof CharSequence text) {
            requireAtMost(getConfig().getMaxStringLength(), text.length());
        }
        return value;
    }

    private static void requireAtMost(long max, int length) {
        if (length > max) {
            throw new OutputTooBigException(max, length);
        }
    }
}
