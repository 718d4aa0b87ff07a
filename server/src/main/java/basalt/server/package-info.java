/**
 * The program: subcommands, configuration and wiring. May use every other package of the server and the engine; none of
 * them may use it. Start reading at {@link basalt.server.Main}, then {@link basalt.server.Application}.
 */
@NullMarked
package basalt.server;

import org.jspecify.annotations.NullMarked;
