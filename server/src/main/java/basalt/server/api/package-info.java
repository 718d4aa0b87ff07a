/**
 * The API's JSON: requests to records and to {@link basalt.engine.GenerationRequest}, events to responses, problems.
 * Knows no HTTP server. Start reading at {@link basalt.server.api.CompletionRequest}.
 */
@NullMarked
package basalt.server.api;

import org.jspecify.annotations.NullMarked;
