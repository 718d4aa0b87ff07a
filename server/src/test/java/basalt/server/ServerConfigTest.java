package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.redis.RedisConfig;
import basalt.server.redis.RedisUrl;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class ServerConfigTest {
    private static final Path HOME = Path.of("home");

    @TempDir
    private Path folder;

    private static ServerConfig load(String... args) {
        return ServerConfig.load(List.of(args), Map.of(), HOME);
    }

    private static String failure(String... args) {
        return failure(Map.of(), args);
    }

    private static String failure(Map<String, String> environment, String... args) {
        return String.valueOf(
                assertThrows(StartException.class, () -> ServerConfig.load(List.of(args), environment, HOME))
                        .getMessage());
    }

    @Test
    void settingsOfTheHubMatterToItsModelsAlone() {
        var environment = Map.of("HF_ENDPOINT", "no address", "HF_TOKEN_PATH", "/absent");

        ServerConfig config = ServerConfig.load(List.of("--model", "/a/folder"), environment, HOME);

        assertEquals("folder", config.modelName());
        assertTrue(failure(environment, "--model", "owner/name").contains("no address"));
    }

    @Test
    void nothingGivenIsTheDefaults() {
        ServerConfig config = load();

        assertEquals(new ModelSource.Local(HOME.resolve("models").resolve("based-10m")), config.model());
        assertEquals("based-10m", config.modelName());
        assertEquals("127.0.0.1", config.http().host());
        assertEquals(8080, config.http().port());
        assertTrue(config.http().opsPort().isEmpty());
        assertEquals(ServerConfig.BackendKind.AUTO, config.compute().backend());
        assertEquals(new Steps(0, 0), config.compute().steps());
        assertEquals(Duration.ofSeconds(30), config.engine().slowReaderTimeout());
        assertEquals(16 << 20, config.http().limits().bodyBytesMax());
        assertEquals(Duration.ofMillis(700), config.lifecycle().warmUp());
        assertTrue(config.http().access().apiKeys().isEmpty());
    }

    @Test
    void aStepIsAsLargeAsTheBackendLikesUnlessAskedFor() {
        ServerConfig config = load("--batch-max", "64");

        assertEquals(new Steps(64, 128), config.compute().steps().or(Steps.CPU));
        assertEquals(new Steps(64, 2_048), config.compute().steps().or(Steps.CUDA));
        assertEquals(64, config.engine().batchRowsMax());
        assertEquals(2_048, config.engine().chunkTokensMax());
    }

    @Test
    void sessionsAreKeptAtOnePlaceAndRedisHasAnAddress() {
        assertEquals(new ServerConfig.SessionPlace.Memory(), load().sessions().place());
        assertEquals(
                new ServerConfig.SessionPlace.Redis(new RedisConfig(
                        RedisUrl.parse("rediss://user:secret@redis.example:6380/3")
                                .orElseThrow(),
                        Duration.ofMillis(500),
                        Duration.ofDays(7))),
                load("--redis-url", "rediss://user:secret@redis.example:6380/3", "--redis-timeout", "500ms")
                        .sessions()
                        .place());

        var twice = failure("--redis-url", "redis://localhost:6379", "--sessions-dir", "x");
        assertTrue(twice.contains("--redis-url") && twice.contains("--sessions-dir"), twice);
        for (String url :
                List.of("localhost:6379", "redis://:secret@localhost", "http://localhost:80", "redis://a b:1")) {
            String said = failure("--redis-url", url);
            assertTrue(said.contains("redis://USER:PASSWORD@HOST:PORT"), said);
            assertFalse(said.contains("secret"), said);
        }
    }

    static Stream<ConfigKey<?>> keys() {
        return ConfigKeys.KEYS.stream();
    }

    @ParameterizedTest
    @MethodSource("keys")
    void defaultIsWithinItsBounds(ConfigKey<?> key) {
        key.parse(key.defaultText(), key.name());
        assertTrue(key.name().matches("[a-z]+(-[a-z]+)*"), key.name());
        assertTrue(key.meaning().length() > 10, key.name());
    }

    @ParameterizedTest
    @MethodSource("keys")
    void boundsAreAllowedAndWhatLiesBeyondIsNot(ConfigKey<?> key) {
        switch (key.kind()) {
            case ConfigKey.Whole(long min, long max) -> {
                load(key.flag(), Long.toString(min));
                load(key.flag(), Long.toString(max));
                assertRefused(key, Long.toString(min - 1));
                assertRefused(key, Long.toString(max + 1));
                assertRefused(key, "1.5");
                assertRefused(key, "many");
            }
            case ConfigKey.Time(Duration min, Duration max) -> {
                load(key.flag(), ConfigKey.Time.text(min));
                load(key.flag(), ConfigKey.Time.text(max));
                assertRefused(key, max.plusMillis(1).toMillis() + "ms");
                if (!min.isZero()) {
                    assertRefused(key, min.minusMillis(1).toMillis() + "ms");
                }
                assertRefused(key, "30");
                assertRefused(key, "-1s");
                assertRefused(key, "1 day");
            }
            case ConfigKey.Size(long min, long max) -> {
                load(key.flag(), ConfigKey.Size.text(min));
                load(key.flag(), ConfigKey.Size.text(max));
                assertRefused(key, max + 1 + "B");
                if (min > 0) {
                    assertRefused(key, min - 1 + "B");
                }
                assertRefused(key, "16");
                assertRefused(key, "16 apples");
            }
            case ConfigKey.Choice<?> choice -> {
                load(key.flag(), key.defaultText());
                assertRefused(key, "other");
                assertRefused(key, "");
            }
            case ConfigKey.Switch() -> {
                load(key.flag(), "true");
                load(key.flag(), "false");
                assertRefused(key, "yes");
            }
            case ConfigKey.Text text -> assertEquals(text.bounds().toUpperCase(Locale.ROOT), text.bounds());
        }
    }

    private static void assertRefused(ConfigKey<?> key, String value) {
        String message = failure(Map.of(), key.flag(), value);
        assertTrue(message.startsWith(key.flag() + " = \"" + value + "\": "), message);
    }

    @Test
    void flagsAreStrongerThanTheEnvironmentAndThatThanTheFile() throws IOException {
        Path file = Files.writeString(folder.resolve("basalt.yaml"), "port: 1\nslots: 2\nthreads: 3\nhost: 0.0.0.0\n");
        var environment = Map.of("BASALT_PORT", "4", "BASALT_SLOTS", "5", "BASALT_CONFIG", file.toString());

        ServerConfig config = ServerConfig.load(List.of("--port=6"), environment, HOME);

        assertEquals(6, config.http().port());
        assertEquals(5, config.compute().slotCount());
        assertEquals(3, config.compute().threadCount());
        assertEquals("0.0.0.0", config.http().host());
    }

    @Test
    void filesMayBeProperties() throws IOException {
        Path file = Files.writeString(folder.resolve("basalt.properties"), "step-target = 20ms\nmodel = /m/x\n");

        ServerConfig config = load("--config", file.toString());

        assertEquals(20, config.engine().stepTargetMillis());
        assertEquals("x", config.modelName());
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"--deterministic", "--deterministic --port 1", "--port 1 --deterministic", "--deterministic=true"
            })
    void switchThatStandsAloneIsOn(String args) {
        assertTrue(load(args.split(" ", -1)).compute().cuda().isDeterministic());
        assertEquals("--deterministic = \"on\": must be true or false", failure(Map.of(), "--deterministic", "on"));
    }

    @ParameterizedTest
    @CsvSource({
        "--prot 1, unknown key --prot; the nearest is --port",
        "--step_target 1s, unknown key --step_target; the nearest is --step-target",
        "--port, --port needs a value: --port (0 to 65535)",
        "--port 1 --port 2, --port is given twice",
        "port 1, unexpected argument \"port\"; options are written --key value"
    })
    void wrongFlagsAreNamed(String args, String message) {
        assertEquals(message, failure(Map.of(), args.split(" ", -1)));
    }

    @Test
    void unknownVariablesAreNamedButThoseOfTheLauncherAndKubernetesAreNot() {
        assertEquals("unknown key BASALT_SLOT; the nearest is BASALT_SLOTS", failure(Map.of("BASALT_SLOT", "1")));
        var allowed = Map.of(
                "BASALT_HOME", "/x",
                "BASALT_PORT", "tcp://10.0.0.1:80",
                "BASALT_PORT_80_TCP_ADDR", "10.0.0.1",
                "BASALT_SERVICE_HOST", "10.0.0.1",
                "BASALT_SERVICE_PORT_HTTP", "80",
                "HOME", "/root");

        assertEquals(8080, ServerConfig.load(List.of(), allowed, HOME).http().port());
    }

    @Test
    void wrongFilesAreNamed() throws IOException {
        Path nested = Files.writeString(folder.resolve("nested.yaml"), "http:\n  port: 1\n");
        Path unknown = Files.writeString(folder.resolve("unknown.yaml"), "portt: 1\n");
        Path twice = Files.writeString(folder.resolve("twice.yaml"), "port: 1\nport: 2\n");
        Path list = Files.writeString(folder.resolve("list.yaml"), "- port\n");
        Path unnameable = Files.writeString(folder.resolve("nul.yaml"), "model: \"a\\0b\"\n");

        assertTrue(failure(Map.of(), "--config", "/no/such/file.yaml").contains("no such file"));
        assertTrue(failure(Map.of(), "--config", nested.toString()).contains("must be one value"));
        assertTrue(failure(Map.of(), "--config", unnameable.toString()).contains("model: must not have"));
        assertTrue(failure(Map.of(), "--config", unknown.toString()).contains("the nearest is port"));
        assertTrue(
                failure(Map.of(), "--config", twice.toString()).contains("duplicate"),
                failure(Map.of(), "--config", twice.toString()));
        assertTrue(
                failure(Map.of(), "--config", list.toString()).contains("lines of key: value"),
                failure(Map.of(), "--config", list.toString()));
    }

    @Test
    void filesNestedWithoutEndAreNamed() throws IOException {
        for (String text : List.of(
                "host: " + "[".repeat(20_000),
                "host: " + "[".repeat(20_000) + "]".repeat(20_000),
                "{a: ".repeat(20_000) + "}".repeat(20_000),
                "- ".repeat(20_000))) {
            Path file = Files.writeString(folder.resolve("deep.yaml"), text);

            assertTrue(failure(Map.of(), "--config", file.toString()).endsWith("is nested too deeply in line 1"));
        }
    }

    @Test
    void apiKeysThatAreNoneDoNotOpenTheServer() {
        for (String none : new String[] {",", " ", " , ,"}) {
            assertTrue(failure(Map.of(), "--api-keys", none).contains("--api-keys: holds no key"), none);
            assertTrue(
                    failure(Map.of("BASALT_API_KEYS", none), new String[0]).contains("BASALT_API_KEYS: holds no key"),
                    none);
        }
        assertTrue(load("--api-keys", "").http().access().apiKeys().isEmpty());
    }

    @Test
    void emptyModelNameIsRefused() {
        assertTrue(failure(Map.of(), "--model-name=").contains("--model-name is empty"));
        assertTrue(failure(Map.of(), "--model-name", " ").contains("--model-name is empty"));
    }

    @Test
    void apiKeysComeFromTextAndFile() throws IOException {
        Path file = Files.writeString(folder.resolve("keys"), "# ours\nc\n\n d \n");
        Path empty = Files.writeString(folder.resolve("empty"), "\n");

        var keys = load("--api-keys", "a, b,", "--api-keys-file", file.toString())
                .http()
                .access()
                .apiKeys();

        assertEquals(List.of("a", "b", "c", "d"), keys);
        assertTrue(failure(Map.of(), "--api-keys-file", empty.toString()).contains("holds no key"));
        assertTrue(failure(Map.of(), "--api-keys-file", "/no/keys").contains("cannot be read"));
    }

    @Test
    void helpNamesEveryKey() {
        for (ConfigKey<?> key : ConfigKeys.KEYS) {
            assertTrue(ConfigKeys.help().contains(key.flag() + " "), key.name());
        }
    }

    @Test
    void aFileSetsEachKeyOnceAndNamesNoOtherFile() throws IOException {
        Path twice = Files.writeString(folder.resolve("twice.properties"), "slots=3\nport=1\nslots=4\n");
        Path other = Files.writeString(folder.resolve("other.yaml"), "config: twice.properties\n");
        Path latin1 = Files.write(folder.resolve("latin1.yaml"), new byte[] {'#', (byte) 0xe9, '\n'});

        assertTrue(failure("--config", twice.toString()).endsWith("twice.properties: slots is there twice"));
        assertTrue(failure("--config", other.toString()).contains("config: a file names no other"));
        assertTrue(failure("--config", latin1.toString()).endsWith("is not UTF-8"));
    }

    @Test
    void onePortIsNotListenedToTwice() {
        assertEquals(
                "--ops-port = \"8080\": is port too; choose another, or leave it out to have both on one",
                failure("--ops-port", "8080"));
        assertTrue(load("--port", "0", "--ops-port", "0").http().opsPort().isPresent());
    }

    @Test
    void anEmptyHostIsNoAddress() {
        assertTrue(failure(Map.of("BASALT_HOST", "")).startsWith("BASALT_HOST is empty: give an address"));
    }
}
