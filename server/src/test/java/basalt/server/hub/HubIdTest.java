package basalt.server.hub;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

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
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "a", "a/b/c", "./a", "../a", "/a", "a/", "a/..b", "a/b@", "a/b@../c", "a b/c", "~/a"})
    void pathsAreNoNames(String text) {
        assertEquals(Optional.empty(), HubId.parse(text));
    }

    @Test
    void settingsComeFromTheEnvironmentOfOtherTools() throws Exception {
        Files.writeString(home.resolve("token"), "secret\n");
        var environment =
                Map.of("HF_HOME", home.toString(), "HF_ENDPOINT", "http://127.0.0.1:9/hub/", "HF_HUB_OFFLINE", "1");

        assertEquals(
                new HubSettings(URI.create("http://127.0.0.1:9/hub"), home.resolve("hub"), Optional.of("secret"), true),
                HubSettings.of(environment, "", "", false));
        assertEquals(
                new HubSettings(URI.create("https://other"), Path.of("cache"), Optional.of("own"), false),
                HubSettings.of(Map.of("HF_TOKEN", "own"), "https://other", "cache", false));
        assertThrows(HubException.class, () -> HubSettings.of(environment, "file:///etc", "", false));
    }
}
