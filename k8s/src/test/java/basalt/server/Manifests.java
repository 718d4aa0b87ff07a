package basalt.server;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.snakeyaml.engine.v2.api.Load;
import org.snakeyaml.engine.v2.api.LoadSettings;

/** Objects of an overlay as {@code kubectl kustomize} renders them. Their maps and lists can be changed. */
final class Manifests {
    private static final Path FOLDER = Path.of("overlays");

    private Manifests() {}

    /** The real program, if there is one: named by the system property {@code kubectl}, or on the path. */
    static Optional<Path> kubectl() {
        String named = System.getProperty("kubectl", "");
        Stream<Path> folders = Stream.of(String.valueOf(System.getenv("PATH")).split(":", -1))
                .map(folder -> Path.of(folder, "kubectl"));
        return Stream.concat(named.isEmpty() ? Stream.of() : Stream.of(Path.of(named)), folders)
                .filter(Files::isExecutable)
                .findFirst();
    }

    static List<String> overlays() throws IOException {
        try (Stream<Path> folders = Files.list(FOLDER)) {
            return folders.map(folder -> folder.getFileName().toString())
                    .sorted()
                    .toList();
        }
    }

    static List<Map<String, Object>> render(Path kubectl, String overlay) throws IOException, InterruptedException {
        var process = new ProcessBuilder(
                        kubectl.toAbsolutePath().toString(),
                        "kustomize",
                        FOLDER.resolve(overlay).toString())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        String yaml = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        if (process.waitFor() != 0) {
            throw new IllegalStateException("kubectl kustomize fails for " + overlay);
        }
        var objects = new ArrayList<Map<String, Object>>();
        for (Object document : new Load(LoadSettings.builder().build()).loadAllFromString(yaml)) {
            objects.add(map(document));
        }
        return objects;
    }

    @SuppressWarnings("unchecked") // keys of YAML maps are strings here, which kustomize requires
    static Map<String, Object> map(Object value) {
        return (Map<String, Object>) value;
    }

    @SuppressWarnings("unchecked")
    static List<Object> list(Object value) {
        return (List<Object>) value;
    }

    /** What stands at a path such as {@code spec.template.spec.containers.0.env}. */
    static Object at(Object object, String path) {
        Object value = object;
        for (String step : path.split("\\.", -1)) {
            value = value instanceof List<?> list
                    ? list.get(Integer.parseInt(step))
                    : map(value).get(step);
            if (value == null) {
                throw new IllegalStateException("there is no " + step + " of " + path);
            }
        }
        return value;
    }

    static String kind(Map<String, Object> object) {
        return String.valueOf(object.get("kind"));
    }

    static Map<String, Object> only(List<Map<String, Object>> objects, String kind) {
        return objects.stream()
                .filter(object -> kind(object).equals(kind))
                .findFirst()
                .orElseThrow(() -> new IllegalStateException("there is no " + kind));
    }
}
