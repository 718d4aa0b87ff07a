/**
 * Benchmarks of the API's operations by JMH, in its package because the operations are not public. Run by
 * {@code basalt bench jmh}.
 */
@NullMarked
package basalt.server.api;

import org.jspecify.annotations.NullMarked;
