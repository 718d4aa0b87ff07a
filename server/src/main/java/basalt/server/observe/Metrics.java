package basalt.server.observe;

import basalt.engine.EngineStats;
import basalt.engine.FinishReason;
import basalt.engine.Generation;
import basalt.engine.Usage;
import basalt.engine.session.Peers;
import basalt.engine.session.SessionStats;
import basalt.engine.state.PrefixCache;
import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.DistributionSummary;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tag;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.Timer;
import io.micrometer.core.instrument.binder.jvm.JvmGcMetrics;
import io.micrometer.core.instrument.binder.jvm.JvmMemoryMetrics;
import io.micrometer.core.instrument.binder.jvm.JvmThreadMetrics;
import io.micrometer.core.instrument.binder.system.FileDescriptorMetrics;
import io.micrometer.core.instrument.binder.system.ProcessorMetrics;
import io.micrometer.core.instrument.binder.system.UptimeMetrics;
import io.micrometer.prometheusmetrics.PrometheusConfig;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import io.prometheus.metrics.core.metrics.Info;
import java.time.Duration;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.function.ToDoubleFunction;

/**
 * What is measured, and its names. Those that begin with {@code vllm:} have the names and meanings that gateways and
 * dashboards expect; the others are our own. Safe for use by any number of threads.
 */
public final class Metrics implements AutoCloseable {
    /** Requests that hold slots. */
    public static final String REQUESTS_RUNNING = "vllm:num_requests_running";
    /** Requests in the queue. */
    public static final String REQUESTS_WAITING = "vllm:num_requests_waiting";
    /** Busy slots by slots. */
    public static final String STATE_USAGE = "vllm:kv_cache_usage_perc";
    /** Prompt tokens read. */
    public static final String PROMPT_TOKENS = "vllm:prompt_tokens";
    /** Tokens sampled. */
    public static final String GENERATION_TOKENS = "vllm:generation_tokens";
    /** Choices ended, by reason. */
    public static final String REQUEST_SUCCESS = "vllm:request_success";
    /** From arrival to the first token. */
    public static final String TIME_TO_FIRST_TOKEN = "vllm:time_to_first_token";
    /** Between two tokens of a choice. */
    public static final String INTER_TOKEN_LATENCY = "vllm:inter_token_latency";
    /** From arrival to the end. */
    public static final String REQUEST_LATENCY = "vllm:e2e_request_latency";
    /** From arrival to the slot. */
    public static final String QUEUE_TIME = "vllm:request_queue_time";
    /** From the slot to the first token. */
    public static final String PREFILL_TIME = "vllm:request_prefill_time";
    /** From the first token to the end. */
    public static final String DECODE_TIME = "vllm:request_decode_time";
    /** Prompt tokens of a request. */
    public static final String REQUEST_PROMPT_TOKENS = "vllm:request_prompt_tokens";
    /** Sampled tokens of a request. */
    public static final String REQUEST_GENERATION_TOKENS = "vllm:request_generation_tokens";
    /** Always 1: its labels tell a gateway how many sequences fit, each a block of its own. */
    public static final String CACHE_CONFIG = "vllm:cache_config_info";
    /** Always 1: its labels tell a gateway that there are no adapters. */
    public static final String LORA_REQUESTS = "vllm:lora_requests_info";
    /** Slots. */
    public static final String SLOTS = "basalt_slots";
    /** Slots held by requests. */
    public static final String SLOTS_BUSY = "basalt_slots_busy";
    /** Size of one sequence's state. */
    public static final String STATE_BYTES_PER_SLOT = "basalt_state_bytes_per_slot";
    /** Prompt tokens in the queue. */
    public static final String TOKENS_WAITING = "basalt_tokens_waiting";
    /** Steps of the engine. */
    public static final String STEPS = "basalt_steps";
    /** Rows of all steps; by steps, the mean batch. */
    public static final String STEP_ROWS = "basalt_step_rows";
    /** Whether the Redis of the sessions answers, 1 or 0; only with one. */
    public static final String SESSION_STORE_UP = "basalt_session_store_up";
    /** Calls of it that failed or were not tried as it is down. */
    public static final String SESSION_STORE_FAILURES = "basalt_session_store_failures";
    /** Turns refused as another server had committed one. */
    public static final String SESSION_STORE_CONFLICTS = "basalt_session_store_conflicts";
    /** Answers, by route and status. */
    public static final String HTTP_RESPONSES = "basalt_http_responses";
    /** Open connections. */
    public static final String HTTP_CONNECTIONS = "basalt_http_connections";
    /** Resumable streams that are kept. */
    public static final String RESUMABLE_STREAMS = "basalt_resumable_streams";
    /** Sessions, by where their state is. */
    public static final String SESSIONS = "basalt_sessions";
    /** Slots that hold a session at rest. */
    public static final String SESSION_SLOTS = "basalt_session_slots";
    /** Turns that began in such a slot. */
    public static final String SESSION_SLOT_HITS = "basalt_session_slot_hits";
    /** Bytes of their states, by where they are. */
    public static final String SESSION_BYTES = "basalt_session_bytes";
    /** Turns begun, by where the state was. */
    public static final String SESSION_TURNS = "basalt_session_turns";
    /** States read from the archive for a turn. */
    public static final String SESSION_PROMOTIONS = "basalt_session_promotions";
    /** States dropped from memory. */
    public static final String SESSION_DEMOTIONS = "basalt_session_demotions";
    /** Turns that became part of their session. */
    public static final String SESSION_COMMITS = "basalt_session_commits";
    /** Turns refused because another one ran. */
    public static final String SESSION_CONFLICTS = "basalt_session_conflicts";
    /** Journals and states set aside as they could not be read. */
    public static final String SESSION_RESTORE_FAILURES = "basalt_session_restore_failures";
    /** Prompts of which a beginning was known. */
    public static final String PREFIX_HITS = "basalt_prefix_cache_hits";
    /** Prompts of which none was. */
    public static final String PREFIX_MISSES = "basalt_prefix_cache_misses";
    /** Beginnings kept. */
    public static final String PREFIX_ENTRIES = "basalt_prefix_cache_entries";
    /** Bytes of those. */
    public static final String PREFIX_BYTES = "basalt_prefix_cache_bytes";
    /** Tokens of prompts that were looked for. */
    public static final String PREFIX_QUERIED_TOKENS = "vllm:prefix_cache_queries";
    /** Tokens of those that need not be read again. */
    public static final String PREFIX_CACHED_TOKENS = "vllm:prefix_cache_hits";

    private static final double[] LATENCY_SECONDS = {
        0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680
    };
    private static final double[] STAGE_SECONDS =
            concat(new double[] {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2}, LATENCY_SECONDS);
    private static final double[] FIRST_TOKEN_SECONDS = {
        0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160,
        640, 2560
    };
    private static final double[] INTER_TOKEN_SECONDS = {
        0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
        0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80
    };
    private static final double[] TOKEN_COUNTS = {
        1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6
    };

    private final PrometheusMeterRegistry registry = new PrometheusMeterRegistry(PrometheusConfig.DEFAULT);
    private final JvmGcMetrics gcMetrics = new JvmGcMetrics();
    private final Tags tags;
    private final Map<FinishReason, Counter> finished = new EnumMap<>(FinishReason.class);
    private final Timer timeToFirstToken;
    private final Timer interTokenLatency;
    private final Timer requestLatency;
    private final Timer queueTime;
    private final Timer prefillTime;
    private final Timer decodeTime;
    private final DistributionSummary requestPromptTokens;
    private final DistributionSummary requestGenerationTokens;

    /** Of a server of one model. */
    public Metrics(String modelName) {
        tags = Tags.of("model_name", modelName, "engine", "0");
        for (FinishReason reason : FinishReason.values()) {
            finished.put(reason, finishedCounter(reason));
        }
        timeToFirstToken = timer(TIME_TO_FIRST_TOKEN, "From arrival to the first token", FIRST_TOKEN_SECONDS);
        interTokenLatency = timer(INTER_TOKEN_LATENCY, "Between two tokens of a choice", INTER_TOKEN_SECONDS);
        requestLatency = timer(REQUEST_LATENCY, "From arrival to the end", STAGE_SECONDS);
        queueTime = timer(QUEUE_TIME, "From arrival to the slot", STAGE_SECONDS);
        prefillTime = timer(PREFILL_TIME, "From the slot to the first token", STAGE_SECONDS);
        decodeTime = timer(DECODE_TIME, "From the first token to the end", STAGE_SECONDS);
        requestPromptTokens = summary(REQUEST_PROMPT_TOKENS, "Prompt tokens of a request");
        requestGenerationTokens = summary(REQUEST_GENERATION_TOKENS, "Sampled tokens of a request");
        new JvmMemoryMetrics().bindTo(registry);
        new JvmThreadMetrics().bindTo(registry);
        new ProcessorMetrics().bindTo(registry);
        new FileDescriptorMetrics().bindTo(registry);
        new UptimeMetrics().bindTo(registry);
        gcMetrics.bindTo(registry);
    }

    private Counter finishedCounter(FinishReason reason) {
        return Counter.builder(REQUEST_SUCCESS)
                .description("Choices ended, by reason")
                .tags(tags.and("finished_reason", label(reason)))
                .register(registry);
    }

    private static double[] concat(double[] first, double[] second) {
        double[] all = Arrays.copyOf(first, first.length + second.length);
        System.arraycopy(second, 0, all, first.length, second.length);
        return all;
    }

    private static String label(FinishReason reason) {
        return switch (reason) {
            case STOP -> "stop";
            case LENGTH -> "length";
            case CANCELLED -> "abort";
            case DEADLINE -> "deadline";
            case ERROR -> "error";
        };
    }

    private Timer timer(String name, String description, double[] seconds) {
        Duration[] buckets = Arrays.stream(seconds)
                .mapToObj(s -> Duration.ofNanos(Math.round(s * 1e9)))
                .toArray(Duration[]::new);
        return Timer.builder(name)
                .description(description)
                .tags(tags)
                .serviceLevelObjectives(buckets)
                .register(registry);
    }

    private DistributionSummary summary(String name, String description) {
        return DistributionSummary.builder(name)
                .description(description)
                .tags(tags)
                .serviceLevelObjectives(TOKEN_COUNTS)
                .register(registry);
    }

    /**
     * Adds the engine's own counts.
     *
     * @param stats read at each scrape
     * @param baseline what was counted while warming up, not to be shown
     */
    public void bindEngine(Supplier<EngineStats> stats, EngineStats baseline) {
        gauge(REQUESTS_RUNNING, "Requests that hold slots", stats, EngineStats::runningRequestCount);
        gauge(REQUESTS_WAITING, "Requests in the queue", stats, EngineStats::waitingRequestCount);
        gauge(STATE_USAGE, "Busy slots by slots", stats, s -> s.busySlotCount() / (double) s.slotCount());
        gauge(SLOTS, "Slots", stats, EngineStats::slotCount);
        info(
                CACHE_CONFIG,
                "Sequences that fit, as blocks",
                Tags.of("block_size", "1", "num_gpu_blocks", Integer.toString(baseline.slotCount())));
        info(
                LORA_REQUESTS,
                "Adapters, of which there are none",
                Tags.of("max_lora", "0", "running_lora_adapters", "", "waiting_lora_adapters", ""));
        gauge(SLOTS_BUSY, "Slots held by requests", stats, EngineStats::busySlotCount);
        gauge(SESSION_SLOTS, "Slots that hold a session at rest", stats, EngineStats::residentSlotCount);
        counter(SESSION_SLOT_HITS, "Turns that began in such a slot", stats, EngineStats::residentHitCount);
        gauge(STATE_BYTES_PER_SLOT, "Size of one sequence's state", stats, EngineStats::stateBytesPerSlot);
        gauge(TOKENS_WAITING, "Prompt tokens in the queue", stats, EngineStats::waitingTokenCount);
        counter(PROMPT_TOKENS, "Prompt tokens read", stats, s -> s.promptTokenCount() - baseline.promptTokenCount());
        counter(GENERATION_TOKENS, "Tokens sampled", stats, s -> s.sampledTokenCount() - baseline.sampledTokenCount());
        counter(STEPS, "Steps of the engine", stats, s -> s.stepCount() - baseline.stepCount());
        counter(STEP_ROWS, "Rows of all steps", stats, s -> s.rowCount() - baseline.rowCount());
    }

    /** Adds how the store fares that servers share their sessions by. */
    public void bindSessionStore(Supplier<Peers.Health> health) {
        Gauge.builder(SESSION_STORE_UP, () -> health.get().isAvailable() ? 1 : 0)
                .description("Whether the Redis of the sessions answers")
                .register(registry);
        FunctionCounter.builder(SESSION_STORE_FAILURES, health, h -> h.get().failureCount())
                .description("Calls of it that failed or were not tried as it is down")
                .register(registry);
        FunctionCounter.builder(SESSION_STORE_CONFLICTS, health, h -> h.get().conflictCount())
                .description("Turns refused as another server had committed one")
                .register(registry);
    }

    /** Adds the numbers of open connections and of resumable streams. */
    public void bindHttp(Supplier<Number> connections, Supplier<Number> streams) {
        Gauge.builder(HTTP_CONNECTIONS, connections)
                .description("Open connections")
                .register(registry);
        Gauge.builder(RESUMABLE_STREAMS, streams)
                .description("Resumable streams that are kept")
                .register(registry);
    }

    /** Adds what is known of sessions. The readings are taken at each scrape, as all sessions are looked at. */
    public void bindSessions(Supplier<SessionStats> readings) {
        var stats = new Remembered<>(readings, System::nanoTime);
        tier("memory", stats, SessionStats::memory);
        tier("archive", stats, SessionStats::archive);
        tier("tokens", stats, SessionStats::tokens);
        counter(SESSION_PROMOTIONS, "States read from the archive", stats, SessionStats::promotions);
        counter(SESSION_DEMOTIONS, "States dropped from memory", stats, SessionStats::demotions);
        counter(SESSION_COMMITS, "Turns that became part of their session", stats, SessionStats::commits);
        counter(SESSION_CONFLICTS, "Turns refused because another one ran", stats, SessionStats::conflicts);
        counter(SESSION_RESTORE_FAILURES, "Journals and states set aside", stats, SessionStats::restoreFailures);
    }

    private void tier(String name, Supplier<SessionStats> stats, Function<SessionStats, SessionStats.Tier> tier) {
        Tags labels = tags.and("tier", name);
        Gauge.builder(SESSIONS, () -> tier.apply(stats.get()).sessions())
                .description("Sessions, by where their state is")
                .tags(labels)
                .register(registry);
        Gauge.builder(SESSION_BYTES, () -> tier.apply(stats.get()).bytes())
                .description("Bytes of states, by where they are")
                .tags(labels)
                .register(registry);
        FunctionCounter.builder(SESSION_TURNS, stats, s -> tier.apply(s.get()).turns())
                .description("Turns begun, by where the state was")
                .tags(labels)
                .register(registry);
    }

    /** Adds what is known of the beginnings of prompts. */
    public void bindPrefixes(Supplier<PrefixCache.Stats> stats) {
        counter(PREFIX_HITS, "Prompts of which a beginning was known", stats, PrefixCache.Stats::hits);
        counter(PREFIX_MISSES, "Prompts of which none was", stats, PrefixCache.Stats::misses);
        counter(PREFIX_QUERIED_TOKENS, "Tokens that were looked for", stats, PrefixCache.Stats::queriedTokens);
        counter(PREFIX_CACHED_TOKENS, "Tokens not read again", stats, PrefixCache.Stats::cachedTokens);
        gauge(PREFIX_ENTRIES, "Beginnings kept", stats, PrefixCache.Stats::entries);
        gauge(PREFIX_BYTES, "Bytes of those", stats, PrefixCache.Stats::bytes);
    }

    private <T> void gauge(String name, String description, Supplier<T> stats, ToDoubleFunction<T> value) {
        Gauge.builder(name, () -> value.applyAsDouble(stats.get()))
                .description(description)
                .tags(tags)
                .register(registry);
    }

    /** Micrometer has no such metric: it would lose the end of the name. */
    private void info(String name, String description, Tags labels) {
        List<Tag> all = tags.and(labels).stream().toList();
        Info.builder()
                .name(name)
                .help(description)
                .labelNames(all.stream().map(Tag::getKey).toArray(String[]::new))
                .register(registry.getPrometheusRegistry())
                .addLabelValues(all.stream().map(Tag::getValue).toArray(String[]::new));
    }

    private <T> void counter(String name, String description, Supplier<T> stats, ToDoubleFunction<T> value) {
        FunctionCounter.builder(name, stats, s -> value.applyAsDouble(s.get()))
                .description(description)
                .tags(tags)
                .register(registry);
    }

    /** A choice ended. */
    public void choiceFinished(FinishReason reason) {
        Objects.requireNonNull(finished.get(reason)).increment();
    }

    /** Some tokens of one choice came at once, so long after the one before them. */
    public void tokensArrived(int count, long nanosSinceLast) {
        Duration each = Duration.ofNanos(nanosSinceLast / count);
        for (int i = 0; i < count; i++) {
            interTokenLatency.record(each);
        }
    }

    /**
     * A request ended, well or not.
     *
     * @param timing moments of its stages
     * @param nowNanos {@link System#nanoTime}
     */
    public void requestFinished(Generation.Timing timing, Usage usage, long nowNanos) {
        long end = timing.finishedNanos() == 0 ? nowNanos : timing.finishedNanos();
        record(requestLatency, timing.arrivedNanos(), end);
        requestPromptTokens.record((double) usage.promptTokenCount());
        requestGenerationTokens.record((double) usage.completionTokenCount());
        if (timing.admittedNanos() != 0) {
            record(queueTime, timing.arrivedNanos(), timing.admittedNanos());
        }
        if (timing.firstTokenNanos() != 0) {
            record(timeToFirstToken, timing.arrivedNanos(), timing.firstTokenNanos());
            record(prefillTime, timing.admittedNanos(), timing.firstTokenNanos());
            record(decodeTime, timing.firstTokenNanos(), end);
        }
    }

    /** The engine reads its clock once a step, so that what ends in the step it arrived in may seem to end before. */
    private static void record(Timer timer, long fromNanos, long toNanos) {
        timer.record(Duration.ofNanos(Math.max(0, toNanos - fromNanos)));
    }

    /** An answer was sent. */
    public void responded(String route, int status) {
        Counter.builder(HTTP_RESPONSES)
                .description("Answers, by route and status")
                .tags(List.of(Tag.of("route", route), Tag.of("status", Integer.toString(status))))
                .register(registry)
                .increment();
    }

    /** For tracing and tests. */
    public MeterRegistry registry() {
        return registry;
    }

    /** All of it in Prometheus's text format. */
    public String scrape() {
        return registry.scrape();
    }

    @Override
    public void close() {
        gcMetrics.close();
        registry.close();
    }
}
