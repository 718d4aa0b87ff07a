/** Metrics and log lines. Start reading at {@link basalt.server.observe.Metrics}. */
@NullMarked
package basalt.server.observe;

import org.jspecify.annotations.NullMarked;
