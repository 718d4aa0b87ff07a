package basalt.server.http;

import basalt.engine.EngineStats;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Whether requests are served: not while the model loads, and not while the server stops. Safe for use by any number of
 * threads.
 */
public final class Gate {
    private final Duration stepTimeout;
    private final AtomicReference<State> state = new AtomicReference<>(new Loading());

    private sealed interface State {}

    private record Loading() implements State {}

    private record Open(Serving serving) implements State {}

    /** Readiness is false, so that balancers look elsewhere; requests that come are still served. */
    private record Closing(Serving serving) implements State {}

    private record Closed() implements State {}

    /**
     * Loading.
     *
     * @param stepTimeout a step that takes longer is hung
     */
    public Gate(Duration stepTimeout) {
        this.stepTimeout = stepTimeout;
    }

    /** The model is loaded and warm. */
    public void open(Serving serving) {
        state.set(new Open(serving));
    }

    /** Readiness turns false. */
    public void beginClosing() {
        state.updateAndGet(now -> now instanceof Open(Serving serving) ? new Closing(serving) : now);
    }

    /** From now on every request is refused. */
    public void close() {
        state.set(new Closed());
    }

    /** Whether the server no longer takes requests. */
    public boolean isClosed() {
        return state.get() instanceof Closed;
    }

    /** What answers a request. */
    Serving require() {
        return switch (state.get()) {
            case Open(Serving serving) -> serving;
            case Closing(Serving serving) -> serving;
            case Loading() -> throw new ProblemException(loading());
            case Closed() -> throw new ProblemException(Problem.stopping());
        };
    }

    private static Problem loading() {
        return new Problem(ProblemCode.LOADING, "The model is being loaded.", Optional.empty(), OptionalLong.of(1));
    }

    /** Why the server should get no requests now, if so. */
    Optional<Problem> unready() {
        return switch (state.get()) {
            case Open(Serving serving) -> unhealthy(serving);
            case Loading() -> Optional.of(loading());
            case Closing(Serving serving) -> Optional.of(Problem.stopping());
            case Closed() -> Optional.of(Problem.stopping());
        };
    }

    /** Why the process should be restarted, if so. */
    Optional<Problem> unalive() {
        return switch (state.get()) {
            case Open(Serving serving) -> unhealthy(serving);
            case Closing(Serving serving) -> unhealthy(serving);
            case Loading() -> Optional.empty();
            case Closed() -> Optional.empty();
        };
    }

    private Optional<Problem> unhealthy(Serving serving) {
        EngineStats stats = serving.engine().stats();
        if (!stats.isAlive()) {
            return Optional.of(Problem.of(ProblemCode.DEVICE_FAILURE, "The engine has stopped."));
        }
        boolean hasWork = stats.runningRequestCount() > 0 || stats.waitingRequestCount() > 0;
        if (hasWork && System.nanoTime() - stats.lastStepNanos() > stepTimeout.toNanos()) {
            return Optional.of(Problem.of(ProblemCode.DEVICE_FAILURE, "A step of the engine hangs."));
        }
        return Optional.empty();
    }
}
