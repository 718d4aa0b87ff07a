/**
 * HTTP: routes, filters, streaming, and what guards connections. The only package that sees Helidon. Start reading at
 * {@link basalt.server.http.HttpServer}, then {@link basalt.server.http.CompletionsHandler}.
 */
@NullMarked
package basalt.server.http;

import org.jspecify.annotations.NullMarked;
