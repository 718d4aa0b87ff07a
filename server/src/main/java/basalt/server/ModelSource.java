package basalt.server;

import basalt.server.hub.HubException;
import basalt.server.hub.HubId;
import basalt.server.hub.HubSettings;
import basalt.server.hub.ModelHub;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.function.Supplier;

/** Where the served checkpoint comes from. */
sealed interface ModelSource {
    /** The name that clients use unless another is configured. */
    String name();

    /**
     * The directory of the checkpoint, downloaded first if need be.
     *
     * @throws StartException if it cannot be had
     */
    Path directory() throws InterruptedException;

    /**
     * A directory if there is one, else a model of a hub if the text can name one.
     *
     * @param hub asked only then: what is wrong with it must not stop a server that needs no hub
     */
    static ModelSource of(String text, Supplier<HubSettings> hub) {
        Optional<HubId> id = HubId.parse(text);
        return Files.isDirectory(Path.of(text)) || id.isEmpty()
                ? new Local(Path.of(text))
                : new OnHub(id.get(), hub.get());
    }

    /** A directory of this machine. */
    record Local(Path path) implements ModelSource {
        @Override
        public String name() {
            return String.valueOf(path.toAbsolutePath().normalize().getFileName());
        }

        @Override
        public Path directory() {
            if (!Files.isDirectory(path)) {
                throw new StartException(
                        "model " + path + " is not a directory; give --model one that holds config.json"
                                + ", or OWNER/NAME to download one");
            }
            return path;
        }
    }

    /** A model of a hub. */
    record OnHub(HubId id, HubSettings settings) implements ModelSource {
        @Override
        public String name() {
            return id.repository();
        }

        @Override
        public Path directory() throws InterruptedException {
            try {
                return new ModelHub(settings).fetch(id);
            } catch (HubException e) {
                throw new StartException(String.valueOf(e.getMessage()), e);
            }
        }
    }
}
