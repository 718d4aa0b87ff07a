/**
 * Text to token ids and back: tokenizers, joining of partial UTF-8, stop strings, chat templates. Knows
 * the model's configuration, the JDK and jtokkit only. Start reading at {@link basalt.engine.text.Tokenizer}.
 */
@NullMarked
package basalt.engine.text;

import org.jspecify.annotations.NullMarked;
