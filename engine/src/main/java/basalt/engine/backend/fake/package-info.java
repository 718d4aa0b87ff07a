/**
 * A backend without a model, for tests of what drives a backend and for load tests of what serves one. Start reading at
 * {@link basalt.engine.backend.fake.FakeBackend}.
 */
@NullMarked
package basalt.engine.backend.fake;

import org.jspecify.annotations.NullMarked;
