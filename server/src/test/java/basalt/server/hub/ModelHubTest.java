package basalt.server.hub;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.fixture.LocalHub;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ModelHubTest {
    private static final HubId ID = HubId.parse("owner/name").orElseThrow();
    private static final String WEIGHTS = "model.safetensors";
    private static final long LAST_PART_BYTES = 12_345;
    /** What may be on its way to connections that have just ended; a part that comes again is much more. */
    private static final long LOST_BYTES_MAX = FileDownload.PART_BYTES / 4;

    private final LocalHub hub = new LocalHub();
    private final byte[] weights = random((int) (3 * FileDownload.PART_BYTES + LAST_PART_BYTES));

    @TempDir
    private Path cache;

    ModelHubTest() throws IOException {}

    @BeforeEach
    void publish() {
        hub.files.put("config.json", "{\"n_layer\":1}".getBytes(StandardCharsets.UTF_8));
        hub.files.put("tokenizer.json", "{}".getBytes(StandardCharsets.UTF_8));
        hub.files.put("README.md", new byte[100]);
        hub.files.put(WEIGHTS, weights);
    }

    @AfterEach
    void close() {
        hub.close();
    }

    private static byte[] random(int bytes) {
        var content = new byte[bytes];
        new Random(7).nextBytes(content);
        return content;
    }

    private Path fetch(HubId id) throws InterruptedException {
        return fetch(id, Optional.empty(), false);
    }

    private Path fetch(HubId id, Optional<String> token, boolean isOffline) throws InterruptedException {
        var settings = new HubSettings(hub.endpoint(), cache, token, isOffline, HubProxies.NONE);
        return new ModelHub(settings, Duration.ofSeconds(60), Duration.ofMillis(1)).fetch(id);
    }

    private String failure(HubId id, boolean isOffline) {
        return String.valueOf(assertThrows(HubException.class, () -> fetch(id, Optional.empty(), isOffline))
                .getMessage());
    }

    private List<String> leftovers() throws IOException {
        try (Stream<Path> blobs = Files.list(cache.resolve("models--owner--name/blobs"))) {
            return blobs.map(blob -> blob.getFileName().toString())
                    .filter(name -> name.contains("."))
                    .sorted()
                    .toList();
        }
    }

    @Test
    void modelIsDownloadedOnceInTheSharedLayout() throws Exception {
        Path directory = fetch(ID);

        assertEquals(cache.resolve("models--owner--name/snapshots/" + LocalHub.COMMIT), directory);
        assertArrayEquals(weights, Files.readAllBytes(directory.resolve(WEIGHTS)));
        assertTrue(Files.isSymbolicLink(directory.resolve(WEIGHTS)));
        assertTrue(Files.exists(directory.resolve("tokenizer.json")));
        assertFalse(Files.exists(directory.resolve("README.md")));
        assertEquals(LocalHub.COMMIT, Files.readString(cache.resolve("models--owner--name/refs/main")));
        assertEquals(List.of(), leftovers());

        long sent = hub.sentBytes.get();
        assertEquals(directory, fetch(ID));
        assertEquals(sent, hub.sentBytes.get());
    }

    @Test
    void modelIsDownloadedThroughAProxy() throws Exception {
        var proxies = HubProxies.of(Map.of("http_proxy", hub.endpoint().toString()));
        var settings = new HubSettings(URI.create("http://hub.invalid"), cache, Optional.empty(), false, proxies);

        Path directory = new ModelHub(settings, Duration.ofSeconds(60), Duration.ofMillis(1)).fetch(ID);

        assertArrayEquals(weights, Files.readAllBytes(directory.resolve(WEIGHTS)));
    }

    @Test
    void cutConnectionsGoOnWhereTheyWere() throws Exception {
        hub.cuts.set(12);

        Path directory = fetch(ID);

        assertArrayEquals(weights, Files.readAllBytes(directory.resolve(WEIGHTS)));
        assertTrue(hub.sentBytes.get() <= weights.length + 200, () -> hub.sentBytes + " bytes sent");
    }

    @Test
    void downloadThatWasGivenUpGoesOnAtTheNextStart() throws Exception {
        hub.bytesUntilDown = FileDownload.PART_BYTES + 1_000_000;
        String message = failure(ID, false);
        assertTrue(message.contains("what has arrived is kept"), message);
        long sentBefore = hub.sentBytes.get();
        hub.bytesUntilDown = Long.MAX_VALUE;

        Path directory = fetch(ID);

        assertArrayEquals(weights, Files.readAllBytes(directory.resolve(WEIGHTS)));
        long sent = hub.sentBytes.get() - sentBefore;
        assertTrue(sent < weights.length - FileDownload.PART_BYTES + LOST_BYTES_MAX, () -> sent + " bytes sent again");
        assertEquals(List.of(), leftovers());
    }

    @Test
    void anotherContentIsThrownAway() throws Exception {
        hub.corruptFile = Optional.of(WEIGHTS);

        String message = failure(ID, false);

        assertTrue(message.contains(WEIGHTS) && message.contains("hash"), message);
        assertEquals(List.of(), leftovers());
        hub.corruptFile = Optional.empty();
        assertArrayEquals(weights, Files.readAllBytes(fetch(ID).resolve(WEIGHTS)));
    }

    @Test
    void damagedLogOfPartsCannotSpoilTheFile() throws Exception {
        hub.files.put(WEIGHTS, random(100_000));
        Path blobs = Files.createDirectories(cache.resolve("models--owner--name/blobs"));
        String hash = hash(WEIGHTS);
        Files.write(blobs.resolve(hash + ".partial"), new byte[100_000]);
        Files.writeString(blobs.resolve(hash + ".parts"), "0-100000\n");

        assertTrue(failure(ID, false).contains("hash"));
        assertArrayEquals(random(100_000), Files.readAllBytes(fetch(ID).resolve(WEIGHTS)));
    }

    private String hash(String name) throws IOException {
        var settings = new HubSettings(hub.endpoint(), cache, Optional.empty(), false, HubProxies.NONE);
        return new HubClient(settings, Duration.ofSeconds(60))
                .list(ID).files().stream()
                        .filter(file -> file.name().equals(name))
                        .findFirst()
                        .orElseThrow()
                        .hash();
    }

    @Test
    void serverWithoutRangesSendsItAtOnce() throws Exception {
        hub.knowsRanges = false;

        assertArrayEquals(weights, Files.readAllBytes(fetch(ID).resolve(WEIGHTS)));
        assertTrue(hub.sentBytes.get() <= weights.length + 200, () -> hub.sentBytes + " bytes sent");
    }

    @Test
    void tokenIsShownToTheHubAndNotToWhereItRedirects() throws Exception {
        hub.wantedToken = Optional.of("secret");
        hub.redirects = true;

        assertTrue(failure(ID, false).contains("HF_TOKEN"));
        Path directory = fetch(ID, Optional.of("secret"), false);

        assertArrayEquals(weights, Files.readAllBytes(directory.resolve(WEIGHTS)));
        assertEquals(Optional.empty(), hub.tokenAtStore);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"/api/models/owner/name", "file:///etc/passwd", "http://127.0.0.1:99999/", "http://", "a b"})
    void redirectsThatLeadNowhereAreRefused(String location) {
        hub.elsewhere = Optional.of(location);

        assertTrue(failure(ID, false).contains("redirects"));
        assertTrue(hub.requests.size() <= 6, () -> hub.requests + " were asked");
    }

    @Test
    void overloadedHubIsAskedAgain() throws Exception {
        hub.nextStatuses.addAll(List.of(503, 429));

        assertTrue(Files.exists(fetch(ID).resolve("config.json")));
    }

    @Test
    void unknownModelIsRefusedAtOnce() {
        String message = failure(HubId.parse("owner/other").orElseThrow(), false);

        assertTrue(message.contains("has no model owner/other"), message);
        assertEquals(1, hub.requests.size());
    }

    @Test
    void offlineAndUnreachableServeWhatIsThere() throws Exception {
        assertTrue(failure(ID, true).contains("hub-offline"));
        Path directory = fetch(ID);
        int requests = hub.requests.size();

        assertEquals(directory, fetch(ID, Optional.empty(), true));
        assertEquals(directory, fetch(ID.at(LocalHub.COMMIT)));
        assertEquals(requests, hub.requests.size());
        hub.close();
        assertEquals(directory, fetch(ID));
    }

    @Test
    void revisionMayHaveSlashes() throws Exception {
        HubId id = HubId.parse("owner/name@refs/pr/1").orElseThrow();

        Path directory = fetch(id);

        assertEquals(directory, fetch(id, Optional.empty(), true));
        assertEquals(LocalHub.COMMIT, Files.readString(cache.resolve("models--owner--name/refs/refs/pr/1")));
    }

    @Test
    void updateThatFailsServesWhatIsThere() throws Exception {
        Path directory = fetch(ID);
        hub.commit = "f".repeat(40);
        hub.files.put(WEIGHTS, random(1_000_000));
        hub.bytesUntilDown = 0;

        assertEquals(directory, fetch(ID));
        assertEquals(LocalHub.COMMIT, Files.readString(cache.resolve("models--owner--name/refs/main")));
        hub.bytesUntilDown = Long.MAX_VALUE;
        assertEquals(directory.resolveSibling("f".repeat(40)), fetch(ID));
    }

    @Test
    void partOfAModelThatAnotherToolFetchedIsCompleted() throws Exception {
        Path snapshot = cache.resolve("models--owner--name/snapshots/" + LocalHub.COMMIT);
        Files.createDirectories(snapshot);
        Files.write(snapshot.resolve("config.json"), hub.files.get("config.json"));
        HubId commit = ID.at(LocalHub.COMMIT);
        assertTrue(failure(commit, true).contains("offline"));

        assertArrayEquals(weights, Files.readAllBytes(fetch(commit).resolve(WEIGHTS)));
    }

    @Test
    void contentThatWasCutShortIsFetchedAgain() throws Exception {
        Path blob = fetch(ID).resolve(WEIGHTS).toRealPath();
        Files.write(blob, new byte[10]);

        assertArrayEquals(weights, Files.readAllBytes(fetch(ID).resolve(WEIGHTS)));
    }

    @Test
    void unfinishedFilesOfOtherToolsAreLeftAlone() throws Exception {
        Path blobs = Files.createDirectories(cache.resolve("models--owner--name/blobs"));
        Path theirs = Files.writeString(blobs.resolve(hash(WEIGHTS) + ".incomplete"), "a beginning");
        hub.bytesUntilDown = FileDownload.PART_BYTES + 1_000_000;

        failure(ID, false);

        assertEquals("a beginning", Files.readString(theirs));
        assertEquals(
                List.of(hash(WEIGHTS) + ".incomplete", hash(WEIGHTS) + ".partial", hash(WEIGHTS) + ".parts"),
                leftovers());
        // The last part is so small that it may be whole too.
        long arrived = FileDownload.arrivedBytes(blobs.resolve(hash(WEIGHTS)));
        assertTrue(
                Set.of(FileDownload.PART_BYTES, FileDownload.PART_BYTES + LAST_PART_BYTES)
                        .contains(arrived),
                () -> arrived + " bytes");
    }

    @Test
    void behindAProxyThatRefusesWhatIsThereIsServed() throws Exception {
        Path directory = fetch(ID);
        int asked = hub.requests.size();
        hub.nextStatuses.add(407);

        assertEquals(directory, fetch(ID));
        assertEquals(asked + 1, hub.requests.size()); // a wrong password is not told twice
    }

    @Test
    void nothingIsWrittenWhereAllIsThere() throws Exception {
        Path directory = fetch(ID);
        Path lock = cache.resolve("models--owner--name/.basalt.lock");
        Files.delete(lock);
        Files.createDirectory(lock); // so that taking it fails, as on a read-only disk

        assertEquals(directory, fetch(ID));
    }

    @Test
    void plantedLinkIsNotFollowed() throws Exception {
        Path blobs = Files.createDirectories(cache.resolve("models--owner--name/blobs"));
        Path victim = Files.writeString(cache.resolve("victim"), "precious");
        Files.createSymbolicLink(blobs.resolve(hash(WEIGHTS) + ".partial"), victim);

        failure(ID, false);

        assertEquals("precious", Files.readString(victim));
    }

    @ParameterizedTest
    @CsvSource({
        "config.json model.safetensors, true",
        "config.json pytorch_model.bin, true",
        "config.json, false",
        "model.safetensors, false",
        "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors, false",
        "config.json model.safetensors.index.json, false",
        "config.json model.safetensors.index.json model-00001-of-00002.safetensors, false",
        "config.json model.safetensors.index.json model-1-of-2.safetensors model-2-of-2.safetensors, true"
    })
    void checkpointIsWholeWithConfigurationAndAllWeights(String names, boolean isWhole) {
        assertEquals(isWhole, HubListing.isCheckpoint(Set.of(names.split(" ", -1))));
    }

    @Test
    void unreachableHubIsNamed() {
        hub.close();

        String message = failure(ID, false);

        assertTrue(message.contains(hub.endpoint().toString()) && message.contains("HF_ENDPOINT"), message);
    }

    @ParameterizedTest
    @CsvSource({
        "pytorch_model.bin, 'pytorch_model.bin'",
        "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json"
                + " pytorch_model.bin, 'model-00001-of-00002.safetensors model-00002-of-00002.safetensors"
                + " model.safetensors.index.json'",
        "model.safetensors pytorch_model.bin, model.safetensors"
    })
    void weightsAreTakenInTheFormThatTheEnginePrefers(String published, String wanted) throws Exception {
        hub.files.remove(WEIGHTS);
        for (String name : published.split(" ", -1)) {
            hub.files.put(name, name.getBytes(StandardCharsets.UTF_8));
        }

        Path directory = fetch(ID);

        try (Stream<Path> files = Files.list(directory)) {
            assertEquals(
                    Stream.concat(Stream.of("config.json", "tokenizer.json"), Stream.of(wanted.split(" ", -1)))
                            .sorted()
                            .toList(),
                    files.map(file -> file.getFileName().toString()).sorted().toList());
        }
    }

    @Test
    void modelWithoutWeightsIsRefused() {
        hub.files.remove(WEIGHTS);

        assertTrue(failure(ID, false).contains("no weights"));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{",
                "[]",
                "{\"sha\":\"main\",\"siblings\":[]}",
                "{\"sha\":\"" + LocalHub.COMMIT + "\",\"siblings\":[{\"rfilename\":\"config.json\",\"size\":2,"
                        + "\"blobId\":\"../../../etc/passwd\"}]}",
                "{\"sha\":\"" + LocalHub.COMMIT + "\",\"siblings\":[{\"rfilename\":\"config.json\",\"size\":-2,"
                        + "\"blobId\":\"" + LocalHub.COMMIT + "\"}]}",
                "{\"sha\":\"" + LocalHub.COMMIT + "\",\"siblings\":[{\"rfilename\":\"config.json\","
                        + "\"size\":4611686018427387903,\"blobId\":\"" + LocalHub.COMMIT + "\"}]}"
            })
    void listingThatLiesIsRefused(String json) {
        assertThrows(HubException.class, () -> HubListing.parse(ID, json.getBytes(StandardCharsets.UTF_8)));
    }

    @Test
    void filesThatNoCheckpointHasAreIgnored() {
        String json = "{\"sha\":\"" + LocalHub.COMMIT + "\",\"siblings\":[{\"rfilename\":\"../x\",\"size\":2},"
                + "{\"rfilename\":\"a/config.json\",\"size\":2},{\"rfilename\":\"config.json\\u0000\"},"
                + "{\"rfilename\":\"model-1-of-1.safetensors/../../x\"},{\"rfilename\":\"README.md\",\"size\":-1}]}";

        assertEquals(
                List.of(),
                HubListing.parse(ID, json.getBytes(StandardCharsets.UTF_8)).files());
    }
}
