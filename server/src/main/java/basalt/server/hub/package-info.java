/**
 * Models by name: asks a hub which files a model has, downloads them once into the cache that other tools of the hub
 * share, and checks their hashes. Knows the JDK and the engine's JSON only. Start reading at
 * {@link basalt.server.hub.ModelHub}.
 */
@NullMarked
package basalt.server.hub;

import org.jspecify.annotations.NullMarked;
