/**
 * Chats to prompts: the template of a checkpoint or a plain one. Knows the tokenizer and the template library, no HTTP
 * and no JSON of the API. Start reading at {@link basalt.server.chat.ChatTemplate}.
 */
@NullMarked
package basalt.server.chat;

import org.jspecify.annotations.NullMarked;
