/**
 * Measurements: of the engine, of a running server, and of single operations by JMH. Start reading at
 * {@link basalt.bench.Main}. Uses the engine's public classes only.
 */
@NullMarked
package basalt.bench;

import org.jspecify.annotations.NullMarked;
