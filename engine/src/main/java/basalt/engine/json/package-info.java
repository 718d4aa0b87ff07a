/**
 * Bounded reading of the JSON files of a checkpoint, with errors that name file and field. Knows the JDK and Jackson
 * only. Start reading at {@link basalt.engine.json.JsonFields}.
 */
@NullMarked
package basalt.engine.json;

import org.jspecify.annotations.NullMarked;
