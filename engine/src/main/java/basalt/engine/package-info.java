/**
 * The engine as a plain Java library: submit a {@link basalt.engine.GenerationRequest}, read
 * {@link basalt.engine.TokenEvent}s. Knows nothing of HTTP. Start reading at {@link basalt.engine.Engine}.
 */
@NullMarked
package basalt.engine;

import org.jspecify.annotations.NullMarked;
