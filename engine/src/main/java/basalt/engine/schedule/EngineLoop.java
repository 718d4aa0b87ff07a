package basalt.engine.schedule;

import basalt.engine.EngineConfig;
import basalt.engine.EngineException;
import basalt.engine.backend.Backend;
import basalt.engine.backend.StepResult;
import basalt.engine.state.SavedState;
import basalt.engine.state.StatePool;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.LongSupplier;

/**
 * The engine thread of one device: looks at commands, plans, enqueues, reads results, and again. Between {@link #run}'s
 * start and end everything of the device is confined to that thread; other threads call {@link #send} and
 * {@link #wake} only. Tests call {@link #turn} instead of {@link #run}.
 */
final class EngineLoop implements Runnable {
    private static final System.Logger LOGGER = System.getLogger(EngineLoop.class.getName());
    private static final long IDLE_NANOS = TimeUnit.MILLISECONDS.toNanos(500);
    private static final long STALLED_NANOS = TimeUnit.MILLISECONDS.toNanos(20);
    private static final long SAVE_NANOS = TimeUnit.MILLISECONDS.toNanos(1);

    private final Backend backend;
    private final CommandQueue commands;
    private final Scheduler scheduler;
    private final Waker waker;
    private final LoopCounters counters = new LoopCounters();
    private final StepResult result;
    private final LongSupplier nanoTime;
    private final Owner owner;
    private volatile Thread thread = Thread.currentThread(); // replaced by run
    private volatile boolean isParked;
    private boolean isStopping;

    /** Whoever sends commands to a loop. Called on the engine thread that ends. */
    interface Owner {
        /** The loop takes no more commands, for this cause; after this none is sent. */
        void retire(EngineLoop loop, EngineException cause);

        /** Gives a request that has not begun to another device; returns whether there is one, and a client. */
        boolean move(SequenceGroup group);
    }

    /**
     * A loop that does not run yet.
     *
     * @param nanoTime the clock
     */
    EngineLoop(StatePool statePool, EngineConfig config, LongSupplier nanoTime, Owner owner) {
        backend = statePool.backend();
        this.nanoTime = nanoTime;
        this.owner = owner;
        int requestsMax = config.queueRequestsMax() + backend.slotCount();
        // Between two looks each request arrives, forks and is cancelled once, each slot may change hands once, as many
        // requests may need none, and those of a device that has failed may come.
        commands = new CommandQueue(8 * requestsMax);
        waker = new Waker(2 * requestsMax);
        var queue = new AdmissionQueue(requestsMax, nanoTime.getAsLong());
        scheduler = new Scheduler(backend, statePool, queue, config, counters, waker);
        result = new StepResult(backend.rowCountMax(), backend.tokenCountMax());
        counters.lastTurnNanos.set(nanoTime.getAsLong());
    }

    Backend backend() {
        return backend;
    }

    LoopCounters counters() {
        return counters;
    }

    Waker waker() {
        return waker;
    }

    /** Whether a slot of the device holds this state. May be asked by any thread. */
    boolean rests(SavedState state) {
        return scheduler.turns().rests(state);
    }

    /** Asks something of the engine thread. */
    void send(Command command) {
        commands.add(command);
        wake();
    }

    /** Asks for the end of a request. To be called at most once for each. */
    void cancel(SequenceGroup group) {
        if (!group.isFinished()) {
            send(new Command.Cancel(group));
        }
    }

    /** Lets the engine thread look again if it waits for something to do. */
    void wake() {
        if (isParked) {
            LockSupport.unpark(thread);
        }
    }

    @Override
    public void run() {
        thread = Thread.currentThread();
        EngineException cause = new EngineException.EngineStopped("the engine has been closed");
        try {
            while (!isStopping) {
                if (!turn() && !isStopping) {
                    park();
                }
            }
        } catch (Throwable e) {
            LOGGER.log(System.Logger.Level.ERROR, "event=device_failed device=" + backend.name(), e);
            cause = e instanceof EngineException known
                    ? known
                    : new EngineException.DeviceFailure(backend.name() + " failed: " + e, e);
        } finally {
            end(cause);
        }
    }

    private void end(EngineException cause) {
        owner.retire(this, cause);
        long now = nanoTime.getAsLong();
        try {
            drainCommands(now);
            if (cause instanceof EngineException.DeviceFailure) {
                scheduler.moveWaiting(owner, cause, now);
            }
        } finally {
            scheduler.failAll(cause, now);
            waker.stop();
            closeBackend();
        }
    }

    private void closeBackend() {
        try {
            backend.close();
        } catch (EngineException e) {
            LOGGER.log(System.Logger.Level.WARNING, "event=close_failed device=" + backend.name(), e);
        }
    }

    /** Does what can be done without waiting for anything but a step; returns whether there was a step. */
    boolean turn() {
        long now = nanoTime.getAsLong();
        drainCommands(now);
        while (scheduler.hasRoomInFlight()) {
            var step = scheduler.plan(now);
            if (step == null) {
                break;
            }
            backend.enqueue(step.batch());
        }
        boolean isBusy = scheduler.inFlightCount() > 0;
        if (isBusy) {
            backend.await(result);
            now = nanoTime.getAsLong();
            scheduler.complete(result, now);
        }
        counters.lastTurnNanos.setRelease(now);
        waker.flush();
        return isBusy;
    }

    private void drainCommands(long now) {
        for (var command = commands.poll(); command != null; command = commands.poll()) {
            switch (command) {
                case Command.Arrive(var group) -> scheduler.arrive(group, now);
                case Command.Cancel(var group) -> scheduler.cancel(group, now);
                case Command.Fork(var group, var copy) -> scheduler.fork(group, copy);
                case Command.CancelAll() -> scheduler.cancelAll(now);
                case Command.Stop() -> isStopping = true;
            }
        }
    }

    private void park() {
        isParked = true;
        // Whoever sends a command or makes room reads isParked afterwards, so one of the two sees the other.
        if (commands.isEmpty() && !scheduler.hasUnstalled()) {
            long nanos = scheduler.hasStalled() ? STALLED_NANOS : IDLE_NANOS;
            LockSupport.parkNanos(this, scheduler.turns().hasWaited() ? SAVE_NANOS : nanos);
        }
        isParked = false;
    }
}
