/**
 * Checkpoints: the configuration, the files that hold weights, and the weights by their place in the model. Knows the
 * JDK only, and reads JSON through {@code basalt.engine.json}. Start reading at {@link basalt.engine.model.Checkpoint}.
 */
@NullMarked
package basalt.engine.model;

import org.jspecify.annotations.NullMarked;
