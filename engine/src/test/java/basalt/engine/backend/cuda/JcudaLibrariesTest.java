package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import org.junit.jupiter.api.Test;

class JcudaLibrariesTest {
    private static final String BEFORE = System.getProperty("java.io.tmpdir");

    private static Path folder() {
        return Path.of(System.getProperty("java.io.tmpdir"));
    }

    @Test
    void theFolderIsNewAndForTheOwnerAloneAndGoesAway() {
        var folders = new ArrayList<Path>();

        for (int i = 0; i < 2; i++) {
            JcudaLibraries.load(() -> {
                folders.add(folder());
                try {
                    Files.createFile(folder().resolve("library.so"));
                    assertEquals("rwx------", PosixFilePermissions.toString(Files.getPosixFilePermissions(folder())));
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            });
        }

        assertNotEquals(folders.get(0), folders.get(1));
        folders.forEach(folder -> assertFalse(Files.exists(folder)));
        assertEquals(BEFORE, System.getProperty("java.io.tmpdir"));
    }

    @Test
    void aFailureLeavesNothingBehind() {
        var folders = new ArrayList<Path>();

        assertThrows(
                UnsatisfiedLinkError.class,
                () -> JcudaLibraries.load(() -> {
                    folders.add(folder());
                    throw new UnsatisfiedLinkError("no driver");
                }));

        assertFalse(Files.exists(folders.getFirst()));
        assertEquals(BEFORE, System.getProperty("java.io.tmpdir"));
    }
}
