/** Tests of chat templates. */
@NullMarked
package basalt.server.chat;

import org.jspecify.annotations.NullMarked;
