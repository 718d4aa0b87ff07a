package basalt.engine.schedule;

import basalt.engine.EngineConfig;
import basalt.engine.EngineException;
import basalt.engine.EngineStats;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.Turn;
import basalt.engine.model.ModelConfig;
import basalt.engine.state.PrefixUse;
import basalt.engine.state.SessionState;
import basalt.engine.state.StateLayout;
import basalt.engine.state.StatePool;
import basalt.engine.text.ByteSpelling;
import basalt.engine.text.TokenBytes;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Takes requests in on their own threads: keeps the bounds of the queue and gives each request to the device whose slot
 * holds what it goes on from, or to that with the most room. Safe for any number of threads.
 *
 * <p>A request for which slots are free is always taken. The others count in the bounds, until they get their slots.
 */
public final class Front implements AutoCloseable {
    private static final long POLL_NANOS = TimeUnit.MILLISECONDS.toNanos(1);
    private static final Duration END_TIMEOUT = Duration.ofSeconds(30);

    private final ModelConfig model;
    private final Optional<TokenBytes> bytes;
    private final EngineConfig config;
    private final LongSupplier nanoTime;
    private final ReentrantLock lock = new ReentrantLock();
    private final List<Device> devices = new ArrayList<>();
    private volatile boolean isDraining;

    /** Where a request of a submission goes. */
    private record Placement(Device device, SequenceGroup group) {}

    /**
     * A front of devices that do not run yet.
     *
     * @param bytes of the tokens, empty without a tokenizer
     * @param nanoTime the clock
     */
    public Front(
            ModelConfig model,
            Optional<TokenBytes> bytes,
            EngineConfig config,
            List<StatePool> statePools,
            LongSupplier nanoTime) {
        this.model = model;
        this.bytes = bytes;
        this.config = config;
        this.nanoTime = nanoTime;
        var owner = new LoopOwner();
        for (var pool : statePools) {
            devices.add(new Device(new EngineLoop(pool, config, nanoTime, owner)));
        }
    }

    /** Starts the engine threads. */
    public void start() {
        for (int i = 0; i < devices.size(); i++) {
            var device = devices.get(i);
            var builder = Thread.ofPlatform().daemon();
            device.threads.add(builder.name("basalt-engine-" + i).start(device.loop));
            device.threads.add(builder.name("basalt-waker-" + i).start(device.loop.waker()));
        }
    }

    /** The loop of a device, for tests that turn it by hand instead of {@link #start}. */
    EngineLoop loop(int device) {
        return devices.get(device).loop;
    }

    /** Called by loops that end. */
    private final class LoopOwner implements EngineLoop.Owner {
        @Override
        public void retire(EngineLoop loop, EngineException cause) {
            lock.lock();
            try {
                device(loop).retire(cause);
            } finally {
                lock.unlock();
            }
        }

        @Override
        public boolean move(SequenceGroup group) {
            lock.lock();
            try {
                if (group.isAbandoned()) {
                    return false;
                }
                var device = best(group.origin(), group.slotCount());
                device.ifPresent(d -> {
                    group.queued(d.isQueued(group.slotCount()));
                    d.count(group, 1);
                    send(new Placement(d, group));
                });
                return device.isPresent();
            } finally {
                lock.unlock();
            }
        }
    }

    private Device device(EngineLoop loop) {
        return devices.stream().filter(d -> d.loop == loop).findFirst().orElseThrow();
    }

    /**
     * Takes requests in, all or none.
     *
     * @throws EngineException.QueueFull if they exceed the bounds of the queue
     * @throws EngineException.EngineStopped if the engine is draining or has no device left
     */
    public List<Generation> submit(List<GenerationRequest> requests) {
        return submitAll(requests.stream().map(SequenceGroup.Work::of).toList());
    }

    /** As {@link #submit(List)}, but looks for beginnings of the prompts that are read already, and keeps some. */
    public List<Generation> submit(List<GenerationRequest> requests, PrefixUse use) {
        var prefixes = new SequenceGroup.Prefixes(use);
        return submitAll(requests.stream().map(prefixes::work).toList());
    }

    private List<Generation> submitAll(List<SequenceGroup.Work> works) {
        var groups = new ArrayList<SequenceGroup>(works.size());
        for (var work : works) {
            groups.add(group(work));
        }
        lock.lock();
        try {
            var placements = place(groups);
            var generations = new ArrayList<Generation>(placements.size());
            for (var placement : placements) {
                generations.add(new ChannelGeneration(placement.group(), this));
                send(placement);
            }
            return generations;
        } finally {
            lock.unlock();
        }
    }

    /**
     * Takes a turn of a session in.
     *
     * @param start whose pending tokens end the request's prompt; all others are before them there, or none
     * @param keepsStopToken whether a stop id that ends the turn is part of the history
     * @param spelling how bytes are encoded again, empty without a tokenizer
     * @param prefixes where beginnings of the prompt are kept, and looked for if nothing is consumed yet; only where
     *     the prompt has all tokens
     * @throws EngineException.QueueFull if it exceeds the bounds of the queue
     * @throws EngineException.EngineStopped if the engine is draining or has no device left
     */
    public Turn resume(
            SessionState start,
            GenerationRequest request,
            boolean keepsStopToken,
            Optional<ByteSpelling> spelling,
            Optional<PrefixUse> prefixes) {
        boolean hasSpare = !request.stopStrings().isEmpty() && slotCountMax() > 1;
        boolean isPenalized = request.sampling().repetitionPenalty() != 1;
        var kept = prefixes.filter(use -> use.cache().isEnabled() && request.maxTokens() > 0)
                .map(SequenceGroup.Prefixes::new);
        int readCount = request.prompt().length - start.pendingCount();
        var origin = start.saved().isEmpty() && kept.isPresent()
                ? kept.get().origin(request.prompt())
                : new Origin(
                        start.saved(),
                        readCount,
                        isPenalized && readCount == 0 ? start.history().ids() : new int[0]);
        var turn = new TurnRecord(keepsStopToken);
        var group = group(new SequenceGroup.Work(request, origin, turn, hasSpare, kept));
        lock.lock();
        try {
            place(List.of(group)).forEach(Front::send);
        } finally {
            lock.unlock();
        }
        return new ChannelTurn(group, turn, start, spelling, this);
    }

    /**
     * Lets a running turn be copied. To be called again only when the copy before is there.
     *
     * @throws EngineException of which the turn fails, if its device is in service no more; others may be
     */
    void fork(SequenceGroup group, CompletableFuture<Optional<TurnRecord.Copy>> copy) {
        lock.lock();
        try {
            device(group.loop()).requireAlive();
            group.loop().send(new Command.Fork(group, copy));
        } finally {
            lock.unlock();
        }
    }

    private static void send(Placement placement) {
        placement.group().loop(placement.device().loop);
        placement.device().loop.send(new Command.Arrive(placement.group()));
    }

    /** Asks for the end of a request. To be called at most once for each. */
    void cancel(SequenceGroup group) {
        lock.lock();
        try {
            if (device(group.loop()).isAlive) {
                group.loop().cancel(group);
            } else {
                group.abandon(); // it may be on its way to another device
            }
        } finally {
            lock.unlock();
        }
    }

    private SequenceGroup group(SequenceGroup.Work work) {
        var request = work.request();
        int maxTokens = request.maxTokens();
        if (model.positionCount() > 0) {
            // The last sampled token is not consumed, so it needs no position.
            long end = work.origin().promptStart() + request.prompt().length;
            maxTokens = (int) Math.min(maxTokens, model.positionCount() - end + 1);
        }
        int[] stopTokenIds = request.stopTokenIds();
        if (!request.ignoresEndOfSequence() && model.endOfSequence() >= 0) {
            stopTokenIds = Arrays.copyOf(stopTokenIds, stopTokenIds.length + 1);
            stopTokenIds[stopTokenIds.length - 1] = model.endOfSequence();
        }
        return new SequenceGroup(prepared(work), maxTokens, stopTokenIds, bytes, nanoTime.getAsLong());
    }

    /** Spares the engine thread the conversion of the state that a request goes on from, if need be. */
    private SequenceGroup.Work prepared(SequenceGroup.Work work) {
        var origin = work.origin();
        if (origin.saved().isEmpty()) {
            return work;
        }
        Optional<Device> device;
        lock.lock();
        try {
            device = best(origin, 1).filter(d -> !d.rests(origin));
        } finally {
            lock.unlock();
        }
        return device.map(d -> work.from(origin.prepared(d.loop.backend()))).orElse(work);
    }

    /** Call only when holding lock. */
    private List<Placement> place(List<SequenceGroup> groups) {
        if (isDraining) {
            throw new EngineException.EngineStopped("the engine is shutting down; send the request to another server");
        }
        var placements = new ArrayList<Placement>(groups.size());
        for (var group : groups) {
            var device = best(group.origin(), group.slotCount()).orElseThrow(Front::noDevice);
            boolean isQueued = device.isQueued(group.slotCount());
            if (isQueued && !hasQueueRoom(group)) {
                placements.forEach(placement -> placement.device().count(placement.group(), -1));
                throw queueFull(groups);
            }
            group.queued(isQueued);
            device.count(group, 1);
            placements.add(new Placement(device, group));
        }
        return placements;
    }

    /**
     * The device where the state that a request goes on from rests in a slot, unless the request would have to wait
     * there; else the one with the most free slots for its size, of those that have as many as the request needs.
     */
    private Optional<Device> best(Origin origin, int slotCount) {
        @Nullable Device best = null;
        double bestLoad = Double.POSITIVE_INFINITY;
        for (var device : devices) {
            if (device.isAlive && device.rests(origin) && !device.isQueued(slotCount)) {
                return Optional.of(device);
            }
            double load = (double) device.wantedSlots() / device.slotCount;
            if (device.isAlive && device.slotCount >= slotCount && load < bestLoad) {
                best = device;
                bestLoad = load;
            }
        }
        return Optional.ofNullable(best);
    }

    private static EngineException noDevice() {
        return new EngineException.EngineStopped("no device is in service any more; restart the server");
    }

    private boolean hasQueueRoom(SequenceGroup group) {
        long requests = 1;
        long tokens = group.promptCount();
        for (var device : devices) {
            requests += device.queuedRequests();
            tokens += device.queuedTokens();
        }
        return requests <= config.queueRequestsMax() && tokens <= config.queueTokensMax();
    }

    /**
     * The wait is what the request would wait for its slots behind those that wait already: slots are given back at a
     * rate of all slots by the mean time that one is held. The next one is half way there, on average.
     */
    private EngineException queueFull(List<SequenceGroup> groups) {
        double slotsPerNano = 0;
        long slots = 0;
        double ahead = -0.5;
        for (var device : devices) {
            if (device.isAlive) {
                slots += device.slotCount;
                slotsPerNano += (double) device.slotCount
                        / device.loop.counters().holdNanosMean.get();
                ahead += Math.max(0, device.wantedSlots() - device.slotCount);
            }
        }
        for (var group : groups) {
            ahead += group.slotCount();
        }
        long millis = Math.max(1, Math.round(ahead / slotsPerNano / 1e6));
        return new EngineException.QueueFull(
                "all " + slots + " slots are taken and the queue is full; try again in " + millis + " ms", millis);
    }

    /** Readings of all devices together. */
    public EngineStats stats() {
        lock.lock();
        try {
            return readStats();
        } finally {
            lock.unlock();
        }
    }

    /** Call only when holding lock. */
    private EngineStats readStats() {
        int slots = 0;
        long busy = 0;
        long resident = 0;
        long hits = 0;
        long running = 0;
        long waiting = 0;
        long waitingTokens = 0;
        long prompt = 0;
        long sampled = 0;
        long steps = 0;
        long rows = 0;
        boolean isAlive = false;
        long lastTurn = Long.MAX_VALUE;
        for (var device : devices) {
            var counters = device.loop.counters();
            // Finished before dequeued before sent, so that no difference is negative.
            long finished = counters.finishedRequests.get();
            long dequeued = counters.dequeuedRequests.get();
            running += dequeued - finished;
            waitingTokens += device.sentTokens() - counters.dequeuedTokens.get();
            waiting += device.sentRequests() - dequeued;
            prompt += counters.promptTokens.get();
            sampled += counters.sampledTokens.get();
            steps += counters.steps.get();
            rows += counters.rows.get();
            hits += counters.residentHits.get();
            if (device.isAlive) {
                isAlive = true;
                slots += device.slotCount;
                busy += counters.busySlots.get();
                resident += counters.residentSlots.get();
                lastTurn = Math.min(lastTurn, counters.lastTurnNanos.get());
            }
        }
        return new EngineStats(
                slots,
                (int) busy,
                (int) resident,
                hits,
                (int) running,
                (int) waiting,
                waitingTokens,
                prompt,
                sampled,
                steps,
                rows,
                layout().bytes(),
                isAlive,
                isAlive ? lastTurn : nanoTime.getAsLong());
    }

    /** Order and shapes of the states. */
    public StateLayout layout() {
        return devices.getFirst().loop.backend().layout();
    }

    /** Slots of the largest device in service, which one request can have at most; 0 if none is. */
    public int slotCountMax() {
        return devices.stream()
                .filter(d -> d.isAlive)
                .mapToInt(d -> d.slotCount)
                .max()
                .orElse(0);
    }

    /** Refuses new requests, waits for the running ones up to a bound, then cancels what is left. */
    public void drain(Duration bound) {
        lock.lock();
        try {
            isDraining = true;
        } finally {
            lock.unlock();
        }
        if (awaitIdle(bound)) {
            return;
        }
        for (var device : devices) {
            if (device.isAlive) {
                device.loop.send(new Command.CancelAll());
            }
        }
        awaitIdle(END_TIMEOUT);
    }

    private boolean awaitIdle(Duration bound) {
        long start = nanoTime.getAsLong();
        while (!stats().isIdle()) {
            if (nanoTime.getAsLong() - start >= bound.toNanos()) {
                return false;
            }
            LockSupport.parkNanos(this, POLL_NANOS);
        }
        return true;
    }

    /** Fails what still runs and ends the engine threads, which close their devices. */
    @Override
    public void close() {
        lock.lock();
        try {
            isDraining = true;
            for (var device : devices) {
                if (device.isAlive) {
                    device.loop.send(new Command.Stop());
                }
            }
        } finally {
            lock.unlock();
        }
        boolean isInterrupted = false;
        for (var device : devices) {
            for (var thread : device.threads) {
                try {
                    thread.join(END_TIMEOUT);
                } catch (InterruptedException e) {
                    isInterrupted = true;
                }
            }
        }
        if (isInterrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
