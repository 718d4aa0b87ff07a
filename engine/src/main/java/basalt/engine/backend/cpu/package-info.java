/**
 * The CPU backend. {@link basalt.engine.backend.cpu.Reference} is the model written for reading, one token at a time;
 * {@link basalt.engine.backend.cpu.CpuBackend} is the same arithmetic on the Vector API, in batches and on several
 * threads. The bits of a row depend neither on other rows, nor on how a prompt is split, nor on the thread count:
 * every sum has one fixed order.
 */
@NullMarked
package basalt.engine.backend.cpu;

import org.jspecify.annotations.NullMarked;
