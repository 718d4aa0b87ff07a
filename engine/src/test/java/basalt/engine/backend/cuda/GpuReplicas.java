package basalt.engine.backend.cuda;

import static basalt.engine.backend.cuda.GpuTexts.request;
import static basalt.engine.backend.cuda.GpuTexts.resume;

import basalt.engine.EngineConfig;
import basalt.engine.EngineException;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import basalt.engine.TokenEvent;
import basalt.engine.Turn;
import basalt.engine.backend.cuda.GpuTexts.Seen;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.schedule.Front;
import basalt.engine.state.SessionState;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BiConsumer;
import java.util.function.IntConsumer;
import java.util.function.IntFunction;

/**
 * What must hold of several devices behind one front: texts are those of one device alone, turns and forks go on
 * wherever there is room, and a device that fails takes down what it runs and nothing else. In the deterministic mode,
 * released slots poisoned with NaN. A rule that does not come to its end is given up.
 */
final class GpuReplicas {
    private static final int CHUNK = 64;
    private static final long HOST_BYTES = 64 << 20;
    private static final int PROMPT_MAX = 200;
    private static final int TURNS = 6;
    private static final int BRANCH_TOKENS = 10;
    private static final int LATE = 3; // requests for which no slot is left
    private static final int KINDS = 4; // of requests that run when a device fails
    private static final Duration RULE_MAX = Duration.ofMinutes(2);
    private static final Duration CLOSE_MAX = Duration.ofSeconds(20);
    private static final long POLL_NANOS = TimeUnit.MILLISECONDS.toNanos(5);

    private final GpuTexts texts;
    private final Devices devices;
    private final Sizes sizes;
    private final List<String> names = new ArrayList<>(); // of the devices opened last
    private final List<Throwable> errors = new ArrayList<>();

    /**
     * The devices.
     *
     * @param open by their ordinals
     * @param fail lets one fail that is open
     */
    record Devices(int count, IntFunction<Device> open, IntConsumer fail) {}

    /**
     * How much is run.
     *
     * @param slotCount of each device
     * @param textCount texts that are compared at once
     * @param answerCount tokens of an answer, at least 20
     * @param longCount tokens of an answer that takes longer than to let a device fail
     */
    record Sizes(int slotCount, int textCount, int answerCount, int longCount) {}

    /** Something that must hold. */
    private interface Rule {
        void follow() throws InterruptedException;
    }

    /** Rules of a model; {@code type} as {@link GpuTexts} has it. */
    GpuReplicas(
            Checkpoint checkpoint, ElementType type, Devices devices, Sizes sizes, BiConsumer<String, Object> report) {
        texts = new GpuTexts(checkpoint, type, report);
        this.devices = devices;
        this.sizes = sizes;
    }

    /** All rules; only says so where there is one device alone. */
    void run() {
        if (devices.count() < 2) {
            texts.report().accept("devices", "skipped: needs two, there is " + devices.count());
            return;
        }
        follow("texts", this::textsAreThoseOfOneDevice);
        follow("turns, slots given back", () -> turnsMoveBetweenDevices(0));
        follow("turns, slots kept", () -> turnsMoveBetweenDevices(sizes.slotCount()));
        follow("forks", this::forksSpreadOverDevices);
        follow("failure", this::deviceFailsAlone);
        if (!errors.isEmpty()) {
            var all = new IllegalStateException("rules that came to no verdict: " + errors.size());
            errors.forEach(all::addSuppressed);
            throw all;
        }
    }

    private void follow(String name, Rule rule) {
        var task = new FutureTask<>(() -> {
            rule.follow();
            return true;
        });
        Thread.ofPlatform().daemon().name("rule " + name).start(task);
        try {
            task.get(RULE_MAX.toMillis(), TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
            task.cancel(true);
            texts.verdict(name, false, "no end after " + RULE_MAX.toSeconds() + " s");
        } catch (ExecutionException e) {
            texts.verdict(name, false, "" + e.getCause());
            errors.add(e.getCause());
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** As a server starts: one device after the other is opened, by a thread that is none of the engine's. */
    private Front start(int deviceCount, int sessionSlots) {
        int slots = sizes.slotCount();
        var options = new CudaBackend.Options(slots, slots, CHUNK + slots, true, texts.type(), HOST_BYTES);
        var backends = new ArrayList<CudaBackend>();
        names.clear();
        for (int ordinal = 0; ordinal < deviceCount; ordinal++) {
            var device = devices.open().apply(ordinal);
            names.add(device.name());
            var checkpoint = texts.checkpoint();
            backends.add(CudaBackend.open(device, checkpoint.config(), checkpoint.weights(), options));
        }
        var config = new EngineConfig(slots, CHUNK, 50, 200, 1_000_000, Duration.ofMinutes(10));
        return texts.start(config.withSessionSlots(sessionSlots), backends);
    }

    /** Greedy and sampled ones of prompts of all lengths. */
    private List<GenerationRequest> requests(int count, int answerCount) {
        var requests = new ArrayList<GenerationRequest>();
        for (int i = 0; i < count; i++) {
            int[] prompt = texts.prompt(i, 1 + i * 61 % PROMPT_MAX);
            var sampling = i % 2 == 0 ? SamplingParams.GREEDY : SamplingParams.DEFAULT;
            requests.add(request(prompt, answerCount, sampling, 0));
        }
        return requests;
    }

    private List<List<Seen>> alone(Front front, List<GenerationRequest> requests) throws InterruptedException {
        var all = new ArrayList<List<Seen>>();
        for (var request : requests) {
            all.add(texts.whole(front, request));
        }
        return all;
    }

    /** All at once, as first turns of sessions: what they leave behind says where they ran. */
    private static List<Turn> begin(Front front, List<GenerationRequest> requests) {
        return requests.stream()
                .map(request -> resume(front, SessionState.EMPTY.append(request.prompt()), request))
                .toList();
    }

    /** Where the last turn of a session ran: its state lies in that device's blocks. */
    private static SlotBlocks home(SessionState state) {
        return ((SlotBlock) state.saved().orElseThrow()).blocks();
    }

    private static SlotBlocks home(Turn turn) throws InterruptedException {
        return home(turn.outcome().orElseThrow().state());
    }

    private void textsAreThoseOfOneDevice() throws InterruptedException {
        var requests = requests(sizes.textCount(), sizes.answerCount());
        List<List<Seen>> expected;
        try (var one = start(1, 0)) {
            expected = alone(one, requests);
        }
        try (var all = start(devices.count(), 0)) {
            texts.verdict("names differ", new HashSet<>(names).size() == names.size(), names.toString());
            var counts = new LinkedHashMap<SlotBlocks, Integer>();
            int equal = 0;
            var turns = begin(all, requests);
            for (int i = 0; i < turns.size(); i++) {
                equal += texts.read(turns.get(i)).equals(expected.get(i)) ? 1 : 0;
                counts.merge(home(turns.get(i)), 1, Integer::sum);
            }
            texts.verdict(
                    "texts of all devices at once",
                    equal == turns.size() && counts.size() == devices.count(),
                    equal + " of " + turns.size() + " have the bits of one device alone; they ran " + counts.values());
        }
    }

    /** Takes all slots but one of a device; until these are closed, the next request runs there. */
    private List<Generation> occupyAllBut(Front front, int device) {
        var held = new ArrayList<Generation>();
        int count = devices.count() * sizes.slotCount();
        var endless = request(texts.prompt(1, 1), 1_000_000, SamplingParams.GREEDY, -1);
        for (int i = 0; i < count; i++) { // each where the most room is, so they take turns
            held.add(front.submit(List.of(endless)).getFirst());
        }
        awaitBusy(front, count);
        held.get(device).close();
        awaitBusy(front, count - 1);
        return held;
    }

    private static void release(Front front, List<Generation> held) {
        held.forEach(Generation::close);
        awaitBusy(front, 0);
    }

    private static void awaitBusy(Front front, int slotCount) {
        do {
            LockSupport.parkNanos(POLL_NANOS); // once more than needed: the front hears of a free slot a little later
        } while (front.stats().busySlotCount() != slotCount
                && !Thread.currentThread().isInterrupted());
        LockSupport.parkNanos(POLL_NANOS);
    }

    /** Each turn is driven to another device than the one before; the last one may choose. */
    private void turnsMoveBetweenDevices(int sessionSlots) throws InterruptedException {
        int[] prompt = texts.prompt(10, 2 * sizes.answerCount());
        int part = sizes.answerCount() / TURNS;
        try (var front = start(devices.count(), sessionSlots)) {
            var expected = texts.whole(front, request(prompt, part * (TURNS + 1), SamplingParams.DEFAULT, 0));
            awaitBusy(front, 0);
            var seen = new ArrayList<Seen>();
            var homes = new ArrayList<SlotBlocks>();
            var state = SessionState.EMPTY.append(prompt);
            for (int i = 0; i <= TURNS; i++) {
                var held = i < TURNS ? occupyAllBut(front, i % devices.count()) : List.<Generation>of();
                try (var turn = resume(front, state, request(prompt, part, SamplingParams.DEFAULT, 0))) {
                    seen.addAll(texts.read(turn));
                    state = turn.outcome().orElseThrow().state();
                }
                homes.add(home(state));
                release(front, held);
            }
            boolean hasMoved = true;
            for (int i = 0; i < TURNS; i++) {
                hasMoved &= homes.get(i) == homes.get(i % devices.count());
                hasMoved &= i == 0 || homes.get(i) != homes.get(i - 1);
            }
            long hits = front.stats().residentHitCount();
            boolean isAtRest = hits == (sessionSlots > 0 ? 1 : 0)
                    && (sessionSlots == 0 || homes.get(TURNS) == homes.get(TURNS - 1));
            texts.verdict(
                    "turns, " + (sessionSlots > 0 ? "slots kept" : "slots given back"),
                    expected.equals(seen) && hasMoved && isAtRest,
                    (expected.equals(seen) ? "" : "NOT ") + "the bits of " + seen.size() + " tokens in " + TURNS
                            + " turns on " + new HashSet<>(homes).size() + " devices, "
                            + (hasMoved ? "" : "NOT ") + "each on another than the one before; one more began in "
                            + hits + " slots at rest");
        }
    }

    private void forksSpreadOverDevices() throws InterruptedException {
        int[] prompt = texts.prompt(10, 2 * sizes.answerCount());
        var request = request(prompt, sizes.answerCount(), SamplingParams.DEFAULT, 0);
        try (var front = start(devices.count(), 0)) {
            var expected = texts.whole(front, request);
            awaitBusy(front, 0);
            try (var turn = resume(front, SessionState.EMPTY.append(prompt), request)) {
                var trunk = new ArrayList<Seen>();
                while (trunk.size() < sizes.answerCount() / 3) {
                    trunk.add(texts.seen((TokenEvent.Sampled) turn.next().orElseThrow()));
                }
                var forked = turn.fork().orElseThrow().state();
                var branchRequests = branches(prompt, expected, forked);
                var branches = new ArrayList<Turn>();
                for (int branch = 0; branch < branchRequests.size(); branch++) {
                    branches.add(resume(front, forked.append(branch), branchRequests.get(branch)));
                }
                texts.readInto(trunk, turn);
                var seen = new ArrayList<List<Seen>>();
                var homes = new HashSet<SlotBlocks>();
                for (var branch : branches) {
                    seen.add(texts.read(branch));
                    homes.add(home(branch));
                }
                texts.verdict(
                        "forks of a running turn",
                        expected.equals(trunk)
                                && alone(front, branchRequests).equals(seen)
                                && homes.size() == devices.count(),
                        seen.size() + " branches from token " + (forked.tokenCount() - prompt.length) + " on "
                                + homes.size() + " devices, and the trunk");
            }
        }
    }

    /** What says the same without a fork. */
    private List<GenerationRequest> branches(int[] prompt, List<Seen> trunk, SessionState forked) {
        int[] history = Arrays.copyOf(prompt, (int) forked.tokenCount() + 1);
        for (int i = prompt.length; i < history.length - 1; i++) {
            history[i] = trunk.get(i - prompt.length).token();
        }
        var requests = new ArrayList<GenerationRequest>();
        for (int branch = 0; branch < devices.count() * sizes.slotCount(); branch++) {
            history[history.length - 1] = branch;
            requests.add(request(history.clone(), BRANCH_TOKENS, SamplingParams.DEFAULT, 0));
        }
        return requests;
    }

    private void deviceFailsAlone() throws InterruptedException {
        var front = start(devices.count(), sizes.slotCount());
        long end;
        try {
            failLast(front);
        } finally {
            end = System.nanoTime();
            front.close();
        }
        var time = Duration.ofNanos(System.nanoTime() - end);
        texts.verdict("failure: the end", time.compareTo(CLOSE_MAX) < 0, "closed in " + time.toMillis() + " ms");
    }

    /** While all slots are taken, some by streams that nobody reads, and some requests wait. */
    private void failLast(Front front) throws InterruptedException {
        int last = devices.count() - 1;
        int slotCount = devices.count() * sizes.slotCount();
        var kinds = requests(KINDS, sizes.longCount());
        var expected = alone(front, kinds);
        var rested = restingOn(front, last);
        var streams = new ArrayList<GpuStream>();
        for (int i = 0; i < slotCount; i++) {
            streams.add(new GpuStream(texts, front, kinds.get(i % KINDS), expected.get(i % KINDS)));
        }
        for (var stream : streams) {
            stream.awaitFirstToken();
        }
        var late = streamsOf(front, requests(LATE, sizes.answerCount()), expected);
        try (var readers = Executors.newVirtualThreadPerTaskExecutor()) {
            var reading = new ArrayList<Future<Boolean>>();
            for (int i = 0; i < slotCount; i++) {
                if (isReadFirst(i)) {
                    reading.add(readers.submit(streams.get(i)));
                }
            }
            devices.fail().accept(last);
            for (int i = 0; i < slotCount; i++) {
                if (!isReadFirst(i)) {
                    reading.add(readers.submit(streams.get(i)));
                }
            }
            late.forEach(stream -> reading.add(readers.submit(stream)));
            for (var done : reading) {
                done.get();
            }
        } catch (ExecutionException e) {
            throw new IllegalStateException(e);
        }
        if (!front.stats().isAlive()) {
            judgeThatNoneIsLeft(front, streams, late);
            return;
        }
        judge(streams, late, names.get(last));
        judgeWhatIsLeft(front, streamsOf(front, requests(2 * sizes.slotCount(), sizes.answerCount()), expected));
        rested.goOn(front);
    }

    /** Of the streams of each device every other one; they begin on one device after the other. */
    private boolean isReadFirst(int stream) {
        return stream / devices.count() % 2 == 0;
    }

    /** Short answers begin as long ones do. */
    private List<GpuStream> streamsOf(Front front, List<GenerationRequest> requests, List<List<Seen>> expected) {
        var streams = new ArrayList<GpuStream>();
        for (int i = 0; i < requests.size(); i++) {
            var request = requests.get(i % KINDS);
            streams.add(
                    new GpuStream(texts, front, request, expected.get(i % KINDS).subList(0, request.maxTokens())));
        }
        return streams;
    }

    private void judge(List<GpuStream> streams, List<GpuStream> late, String device) {
        var failed = streams.stream().filter(stream -> stream.failure() != null).toList();
        var others = streams.stream().filter(stream -> stream.failure() == null).toList();
        var messages = failed.stream().map(GpuStream::message).distinct().toList();
        texts.verdict(
                "failure: streams of the device",
                failed.size() >= sizes.slotCount() / 2
                        && failed.size() <= sizes.slotCount()
                        && failed.stream().allMatch(GpuStream::isRight)
                        && messages.stream().allMatch(message -> message.startsWith("DeviceFailure " + device + ": ")),
                failed.size() + " failed after "
                        + failed.stream().mapToInt(stream -> stream.seenCount()).sum()
                        + " tokens with their bits, and left no state: " + messages);
        texts.verdict(
                "failure: streams of the others",
                others.stream().allMatch(GpuStream::isRight),
                others.size() + " have the bits of "
                        + others.stream().mapToInt(stream -> stream.seenCount()).sum() + " tokens");
        texts.verdict(
                "failure: requests that waited",
                late.stream().allMatch(stream -> stream.failure() == null && stream.isRight()),
                late.size() + " have their bits");
    }

    /**
     * A driver may end all devices of a process for the fault of one, as it says of {@code CUDA_ERROR_LAUNCH_FAILED}:
     * then each device's streams must say so, and nobody wait.
     */
    private void judgeThatNoneIsLeft(Front front, List<GpuStream> streams, List<GpuStream> late) {
        var all = new ArrayList<>(streams);
        all.addAll(late);
        var failed = all.stream().filter(stream -> stream.failure() != null).toList();
        var messages = new TreeSet<String>();
        failed.forEach(stream -> messages.add(stream.message()));
        texts.verdict(
                "failure: the driver ended all devices",
                failed.size() >= streams.size() / 2 && all.stream().allMatch(GpuStream::isRight),
                failed.size() + " of " + streams.size() + " streams and " + late.size()
                        + " requests that waited failed, all with their bits until then: " + messages);
        texts.verdict(
                "failure: new requests", isRefused(front, streams.getFirst().request()), "refused");
    }

    private boolean isRefused(Front front, GenerationRequest request) {
        try (var turn = resume(front, SessionState.EMPTY.append(request.prompt()), request)) {
            return turn.usage().promptTokenCount() < 0; // not reached
        } catch (EngineException.EngineStopped e) {
            return true;
        }
    }

    private void judgeWhatIsLeft(Front front, List<GpuStream> streams) throws InterruptedException {
        var stats = front.stats();
        int inService = stats.slotCount() / sizes.slotCount();
        texts.verdict(
                "failure: what is in service",
                stats.isAlive() && inService == devices.count() - 1 && front.slotCountMax() == sizes.slotCount(),
                inService + " of " + devices.count() + " devices, " + stats.slotCount() + " slots");
        for (var stream : streams) {
            stream.call();
        }
        texts.verdict(
                "failure: new requests",
                streams.stream().allMatch(stream -> stream.failure() == null && stream.isRight()),
                streams.size() + " have their bits");
    }

    /** A session whose last turn ran on a device. */
    private Rested restingOn(Front front, int device) throws InterruptedException {
        int[] prompt = texts.prompt(5, 40);
        var whole = texts.whole(front, request(prompt, 2 * BRANCH_TOKENS, SamplingParams.DEFAULT, 0));
        awaitBusy(front, 0);
        var part = request(prompt, BRANCH_TOKENS, SamplingParams.DEFAULT, 0);
        var held = occupyAllBut(front, device);
        try (var turn = resume(front, SessionState.EMPTY.append(prompt), part)) {
            texts.read(turn);
            return new Rested(turn.outcome().orElseThrow().state(), part, whole.subList(BRANCH_TOKENS, whole.size()));
        } finally {
            release(front, held);
        }
    }

    private final class Rested {
        private final SessionState state;
        private final GenerationRequest request;
        private final List<Seen> expected;

        Rested(SessionState state, GenerationRequest request, List<Seen> expected) {
            this.state = state;
            this.request = request;
            this.expected = expected;
        }

        void goOn(Front front) throws InterruptedException {
            try (var turn = resume(front, state, request)) {
                boolean isGood = texts.read(turn).equals(expected) && home(turn) != home(state);
                texts.verdict("failure: a session that rested there", isGood, "goes on elsewhere");
            }
        }
    }
}
