package basalt.server.hub;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class HubIdTest {
    @TempDir
    private Path home;

    @Test
    void revisionIsMainUnlessGiven() {
        assertEquals(Optional.of(new HubId("hazyresearch/based-360m", "main")), HubId.parse("hazyresearch/based-360m"));
        assertEquals(Optional.of(new HubId("a/b", "v1.0")), HubId.parse("a/b@v1.0"));
        assertEquals(Optional.of(new HubId("a/b", "refs/pr/1")), HubId.parse("a/b@refs/pr/1"));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "a",
                "a/b/c",
                "./a",
                "../a",
                "/a",
                "a/",
                "a/..b",
                "a/b@",
                "a/b@../c",
                "a b/c",
                "~/a",
                "a--b/c",
                "a/b@/c",
                "a/b@c/",
                "a/b@c//d",
                "a/b@c/.d"
            })
    void pathsAreNoNames(String text) {
        assertEquals(Optional.empty(), HubId.parse(text));
    }

    @Test
    void settingsComeFromTheEnvironmentOfOtherTools() throws Exception {
        Files.writeString(home.resolve("token"), "secret\n");
        var environment =
                Map.of("HF_HOME", home.toString(), "HF_ENDPOINT", "http://127.0.0.1:9/hub/", "HF_HUB_OFFLINE", "1");

        assertEquals(
                new HubSettings(
                        URI.create("http://127.0.0.1:9/hub"),
                        home.resolve("hub"),
                        Optional.of("secret"),
                        true,
                        HubProxies.NONE),
                HubSettings.of(environment, "", "", false));
        assertEquals(
                new HubSettings(
                        URI.create("https://other"), Path.of("cache"), Optional.of("own"), false, HubProxies.NONE),
                HubSettings.of(Map.of("HF_TOKEN", "own"), "https://other", "cache", false));
    }

    @Test
    void tildeIsTheHomeOfTheUser() {
        Path user = Path.of(System.getProperty("user.home"));

        assertEquals(user.resolve(".cache/huggingface/hub"), cache(Map.of()));
        assertEquals(user.resolve("models/hub"), cache(Map.of("HF_HOME", "~/models")));
        assertEquals(user, cache(Map.of("HF_HUB_CACHE", "~")));
    }

    private static Path cache(Map<String, String> environment) {
        return HubSettings.of(environment, "", "", false).cache();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "file:///etc",
                "huggingface.co",
                "http://",
                "http://hub/?a=b",
                "http://hub/#a",
                "http://a:b@hub",
                "http://hub:99999",
                "a b"
            })
    void endpointThatIsNoPlainAddressIsRefused(String endpoint) {
        var environment = Map.of("HF_HOME", home.toString());

        assertThrows(HubException.class, () -> HubSettings.of(environment, endpoint, "", false));
    }

    @ParameterizedTest
    @ValueSource(strings = {"a\nb", "a b", "\"a\"", "tökén", "a\u0000"})
    void tokenThatCannotBeSentIsRefusedWithoutShowingIt(String token) {
        var environment = Map.of("HF_HOME", home.toString(), "HF_TOKEN", token);

        String message =
                String.valueOf(assertThrows(HubException.class, () -> HubSettings.of(environment, "", "", false))
                        .getMessage());

        assertTrue(message.contains("HF_TOKEN") && !message.contains(token), message);
    }

    @Test
    void tokenFileThatWasNamedMustBeThere() {
        var environment = Map.of("HF_TOKEN_PATH", home.resolve("absent").toString());

        assertThrows(HubException.class, () -> HubSettings.of(environment, "", "", false));
    }
}
