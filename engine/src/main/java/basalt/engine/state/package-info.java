/**
 * States of sequences: their layout, the pool of slots that holds them, and their portable form. Start reading at
 * {@link basalt.engine.state.StateLayout}.
 */
@NullMarked
package basalt.engine.state;

import org.jspecify.annotations.NullMarked;
