package basalt.engine.backend.cuda;

import static basalt.engine.backend.cuda.GpuTexts.request;
import static basalt.engine.backend.cuda.GpuTexts.resume;

import basalt.engine.Engine;
import basalt.engine.EngineConfig;
import basalt.engine.SamplingParams;
import basalt.engine.TokenEvent;
import basalt.engine.backend.Backend;
import basalt.engine.backend.cpu.CpuBackend;
import basalt.engine.backend.cuda.GpuTexts.Seen;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.schedule.Front;
import basalt.engine.session.DirectoryArchive;
import basalt.engine.session.Durability;
import basalt.engine.session.Patience;
import basalt.engine.session.SessionConfig;
import basalt.engine.session.SessionStore;
import basalt.engine.session.StateFile;
import basalt.engine.session.TurnRequest;
import basalt.engine.state.SessionState;
import java.io.IOException;
import java.nio.file.Files;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.function.BiConsumer;
import java.util.function.Function;

/**
 * What must hold of sessions on a device: turns, forks and resumed states go on as the uninterrupted text does, also
 * from one kind of backend to the other and after a restart. Released slots are poisoned with NaN throughout.
 */
final class GpuSessions {
    private static final int SLOTS = 8;
    private static final int CHUNK = 64;
    private static final int FORKS = 16;
    private static final EngineConfig CONFIG =
            new EngineConfig(SLOTS, CHUNK, 50, 100, 1_000_000, Duration.ofMinutes(10));

    private final Checkpoint checkpoint;
    private final ElementType type;
    private final Function<ElementType, Device> openDevice;
    private final GpuTexts texts;
    private final int[] prompt;
    private final int answerCount;

    /**
     * Rules of a model.
     *
     * @param type bf16, whose deterministic mode is compared bit for bit, or f32, by its tokens alone
     * @param answerCount tokens of an uninterrupted answer, at least 20
     */
    GpuSessions(
            Checkpoint checkpoint,
            ElementType type,
            int answerCount,
            Function<ElementType, Device> openDevice,
            BiConsumer<String, Object> report) {
        this.checkpoint = checkpoint;
        this.type = type;
        this.answerCount = answerCount;
        this.openDevice = openDevice;
        texts = new GpuTexts(checkpoint, type, report);
        prompt = texts.prompt(10, 2 * answerCount);
    }

    private CudaBackend openCuda(long hostBytesMax) {
        var options = new CudaBackend.Options(SLOTS, SLOTS, CHUNK + SLOTS, true, type, hostBytesMax);
        return CudaBackend.open(openDevice.apply(type), checkpoint.config(), checkpoint.weights(), options);
    }

    private CpuBackend openCpu() {
        return CpuBackend.open(checkpoint.config(), checkpoint.weights(), SLOTS, SLOTS, CHUNK + SLOTS, 2);
    }

    /** An engine of one backend whose released slots are poisoned. */
    private Front start(Backend backend, int sessionSlots) {
        return texts.start(CONFIG.withSessionSlots(sessionSlots), List.of(backend));
    }

    /** All rules. */
    void run() {
        try {
            turnsAreOneText();
            branchesGoOnAsIfAlone();
            statesGoToTheCpuAndBack();
            sessionsSurviveARestart();
        } catch (InterruptedException | IOException e) {
            throw new IllegalStateException(e);
        }
    }

    /** From the slot, from pinned memory, and from the heap where there are hardly any blocks. */
    private void turnsAreOneText() throws InterruptedException {
        var request = request(prompt, answerCount, SamplingParams.DEFAULT, 0);
        for (var way : List.of(new int[] {SLOTS, 1 << 20}, new int[] {0, 1 << 20}, new int[] {0, 0})) {
            try (var front = start(openCuda(way[1] * 1_000L), way[0])) {
                var expected = texts.whole(front, request);
                var seen = new ArrayList<Seen>();
                var others = new ArrayList<SessionState>();
                var state = SessionState.EMPTY.append(prompt);
                for (int count = 1; seen.size() < answerCount; count += 2) {
                    int left = Math.min(count, answerCount - seen.size());
                    try (var turn = resume(front, state, request(prompt, left, SamplingParams.DEFAULT, 0))) {
                        seen.addAll(texts.read(turn));
                        state = turn.outcome().orElseThrow().state();
                        others.add(state);
                    }
                    others.add(other(front, count));
                }
                texts.verdict(
                        "turns, " + (way[0] > 0 ? "slots kept" : "slots given back") + ", "
                                + (way[1] > 0 ? "memory pinned" : "heap"),
                        expected.equals(seen) && others.size() > 6,
                        seen.size() + " tokens in " + others.size() / 2 + " turns");
            }
        }
    }

    /** Another session, so that slots and blocks change hands. */
    private SessionState other(Front front, int seed) throws InterruptedException {
        int[] tokens = Arrays.copyOfRange(prompt, seed % 5, seed % 5 + 7);
        try (var turn =
                resume(front, SessionState.EMPTY.append(tokens), request(tokens, 3, SamplingParams.GREEDY, 0))) {
            texts.read(turn);
            return turn.outcome().orElseThrow().state();
        }
    }

    private void branchesGoOnAsIfAlone() throws InterruptedException {
        var request = request(prompt, answerCount, SamplingParams.DEFAULT, 0);
        try (var front = start(openCuda(1 << 30), 0)) {
            var expected = texts.whole(front, request);
            try (var turn = resume(front, SessionState.EMPTY.append(prompt), request)) {
                var trunk = new ArrayList<Seen>();
                while (trunk.size() < answerCount / 3) {
                    trunk.add(texts.seen((TokenEvent.Sampled) turn.next().orElseThrow()));
                }
                var forked = turn.fork().orElseThrow().state();
                trunk.addAll(texts.read(turn));
                boolean isGood = expected.equals(trunk);
                int count = (int) forked.tokenCount() - prompt.length;
                int[] history = Arrays.copyOf(prompt, prompt.length + count + 1);
                for (int i = 0; i < count; i++) {
                    history[prompt.length + i] = expected.get(i).token();
                }
                for (int branch = 0; branch < FORKS; branch++) {
                    history[history.length - 1] = branch;
                    var own = request(history, 10, SamplingParams.DEFAULT, 0);
                    try (var branched = resume(front, forked.append(branch), own)) {
                        isGood &= texts.whole(front, own).equals(texts.read(branched));
                    }
                }
                texts.verdict(
                        "fork of a running turn", isGood, FORKS + " branches from token " + count + ", and the trunk");
            }
        }
    }

    /** By way of the bytes that servers exchange. */
    private void statesGoToTheCpuAndBack() throws InterruptedException {
        int third = answerCount / 3;
        try (var cpu = start(openCpu(), 0);
                var cuda = start(openCuda(1 << 30), 0)) {
            var state = SessionState.EMPTY.append(prompt);
            var parts = new ArrayList<int[]>();
            for (Front front : List.of(cpu, cuda, cpu)) {
                state = moved(state, front);
                try (var turn = resume(front, state, request(prompt, third, SamplingParams.GREEDY, 0))) {
                    parts.add(texts.read(turn).stream().mapToInt(Seen::token).toArray());
                    state = turn.outcome().orElseThrow().state();
                }
            }
            compare("from the CPU to the GPU", cpu, parts.subList(0, 1), parts.get(1));
            compare("from the GPU to the CPU", cpu, parts.subList(0, 2), parts.get(2));
        }
        try (var one = start(openCuda(1 << 30), 0)) {
            var expected = texts.whole(one, request(prompt, 2 * third, SamplingParams.DEFAULT, 0));
            var request = request(prompt, third, SamplingParams.DEFAULT, 0);
            var seen = new ArrayList<Seen>();
            try (var turn = resume(one, SessionState.EMPTY.append(prompt), request)) {
                seen.addAll(texts.read(turn));
                try (var two = start(openCuda(1 << 30), 0);
                        var later =
                                resume(two, moved(turn.outcome().orElseThrow().state(), two), request)) {
                    seen.addAll(texts.read(later));
                }
            }
            texts.verdict(
                    "from one GPU backend to another", expected.equals(seen), "bits of " + seen.size() + " tokens");
        }
    }

    private SessionState moved(SessionState state, Front to) {
        byte[] bytes = StateFile.bytes(state, checkpoint.fingerprint());
        return StateFile.read(
                bytes,
                checkpoint.fingerprint(),
                to.layout(),
                checkpoint.config().vocabSize());
    }

    /** Against what the CPU says without interruption; only a near tie excuses another token. */
    private void compare(String name, Front cpu, List<int[]> before, int[] text) throws InterruptedException {
        int[] history = prompt;
        for (int[] part : before) {
            history = concat(history, part);
        }
        int equal = 0;
        float margin = Float.POSITIVE_INFINITY;
        try (var generation = cpu.submit(List.of(request(history, text.length, SamplingParams.GREEDY, 2)))
                .getFirst()) {
            for (var event = generation.next(); event.isPresent(); event = generation.next()) {
                if (event.get() instanceof TokenEvent.Sampled e && equal == e.index()) {
                    float[] top = e.logprobs().orElseThrow().topLogprobs();
                    margin = top[0] - top[1];
                    equal += e.token() == text[equal] ? 1 : 0;
                }
            }
        }
        boolean isWhole = equal == text.length;
        texts.verdict(
                name,
                isWhole || margin < GpuRules.ARGMAX_TOLERANCE,
                equal + " of " + text.length + " tokens are the uninterrupted ones"
                        + (isWhole ? "" : String.format(", then two likeliest %.3f apart", margin)));
    }

    private static int[] concat(int[] first, int[] second) {
        int[] all = Arrays.copyOf(first, first.length + second.length);
        System.arraycopy(second, 0, all, first.length, second.length);
        return all;
    }

    private void sessionsSurviveARestart() throws InterruptedException, IOException {
        var directory = Files.createTempDirectory("gpu-sessions");
        try {
            var request = request(prompt, 10, SamplingParams.DEFAULT, 0);
            List<Seen> expected;
            try (var front = start(openCuda(0), 0)) {
                expected = texts.whole(front, request(prompt, 40, SamplingParams.DEFAULT, 0));
            }
            var seen = new ArrayList<Seen>();
            String id = "";
            long cached = 0;
            for (int i = 0; i < 4; i++) {
                var config = new SessionConfig(checkpoint.fingerprint(), 10, 1 << 30, 1 << 30, 1);
                var archive = DirectoryArchive.open(directory, Durability.OFF, Long.MAX_VALUE);
                List<Backend> backends = List.of(openCuda(1 << 30));
                try (var engine = Engine.start(checkpoint.config(), Optional.empty(), backends, CONFIG);
                        var store = SessionStore.open(engine, config, archive, () -> 1)) {
                    id = i == 0 ? store.create("owner", Duration.ZERO) : id;
                    int[] next = i == 0 ? prompt : new int[0];
                    try (var turn = store.turn(
                            "owner", id, new TurnRequest(next, next, request, false), new Patience(Duration.ZERO))) {
                        seen.addAll(texts.read(turn));
                        cached = turn.usage().cachedTokenCount();
                    }
                }
            }
            texts.verdict(
                    "sessions through three restarts",
                    expected.equals(seen) && cached == prompt.length + 29,
                    "bits of " + seen.size() + " tokens, the last turn read " + cached + " from an image");
        } finally {
            try (var files = Files.walk(directory)) {
                files.sorted(Comparator.reverseOrder())
                        .forEach(file -> file.toFile().delete());
            }
        }
    }
}
