package basalt.server;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Servers of the default model on free ports. */
final class Servers {
    private static final Path HOME = Path.of("..");

    private Servers() {}

    static Application start(String... args) throws InterruptedException {
        var all = new ArrayList<>(List.of("--port", "0", "--warm-up", "500ms"));
        all.addAll(List.of(args));
        return Application.start(ServerConfig.load(all, Map.of(), HOME), LoadedModel::load);
    }
}
