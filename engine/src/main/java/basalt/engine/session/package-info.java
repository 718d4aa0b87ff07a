/**
 * Sessions: sequences that go on from turn to turn, kept in memory and in an archive. May use the engine's front and
 * its
 * states, and knows no HTTP. Start reading at {@link basalt.engine.session.SessionStore}.
 */
@NullMarked
package basalt.engine.session;

import org.jspecify.annotations.NullMarked;
