/**
 * Benchmarks of the CPU backend's operations by JMH, in its package because the operations are not public. Run by
 * {@code basalt bench jmh}.
 */
@NullMarked
package basalt.engine.backend.cpu;

import org.jspecify.annotations.NullMarked;
