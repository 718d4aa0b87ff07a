/**
 * What the scheduler drives: steps over a batch of slots. Start reading at {@link basalt.engine.backend.Backend};
 * {@code .cpu} and {@code .cuda} implement it and do not know each other.
 */
@NullMarked
package basalt.engine.backend;

import org.jspecify.annotations.NullMarked;
