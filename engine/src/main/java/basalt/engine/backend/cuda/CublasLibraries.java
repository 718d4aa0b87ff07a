package basalt.engine.backend.cuda;

import basalt.engine.EngineException.DeviceFailure;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;

/**
 * Loads the libraries that JCublas needs: {@code libcublas.so.12} where there is one, else {@code libcublas.so.13}
 * behind the forwarding library of the native module. JCuda itself ends at CUDA 12.
 */
final class CublasLibraries {
    /** System property: a folder with libcublas and libcublasLt. */
    static final String FOLDER_PROPERTY = "basalt.cublas.folder";

    private static final String FORWARDING = "/META-INF/basalt/libbasalt-cublas.so";
    private static final List<String> FOLDERS = List.of(
            "/usr/local/cuda/lib64",
            "/usr/local/cuda/targets/x86_64-linux/lib",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib64",
            "/usr/local/cuda-13/lib64",
            "/usr/local/cuda-13.0/lib64",
            "/usr/local/cuda-12/lib64");

    private CublasLibraries() {}

    /** Loads them, once a process; a second call does nothing more. */
    static void load() {
        var tried = new ArrayList<String>();
        if (loadFrom(folders(), 12, tried)) {
            return;
        }
        if (!loadFrom(folders(), 13, tried)) {
            throw new DeviceFailure("cuBLAS 12 or 13 was not found: install it or set -D" + FOLDER_PROPERTY
                    + "=<its folder>; looked in " + String.join(", ", tried));
        }
        loadForwarding();
    }

    private static List<String> folders() {
        String given = System.getProperty(FOLDER_PROPERTY);
        return given == null ? FOLDERS : List.of(given);
    }

    private static boolean loadFrom(List<String> folders, int version, List<String> tried) {
        for (String folder : folders) {
            Path library = Path.of(folder, "libcublas.so." + version);
            Path light = Path.of(folder, "libcublasLt.so." + version);
            tried.add(library.toString());
            if (Files.exists(library) && Files.exists(light) && loadBoth(light, library)) {
                return true;
            }
        }
        return false;
    }

    @SuppressWarnings("restricted")
    private static boolean loadBoth(Path light, Path library) {
        try {
            System.load(light.toAbsolutePath().toString());
            System.load(library.toAbsolutePath().toString());
            return true;
        } catch (UnsatisfiedLinkError e) {
            return false;
        }
    }

    @SuppressWarnings("restricted")
    private static void loadForwarding() {
        try (InputStream in = CublasLibraries.class.getResourceAsStream(FORWARDING)) {
            if (in == null) {
                throw new DeviceFailure("only cuBLAS 13 was found, and this build has no forwarding library for it:"
                        + " build with gcc present, or install cuBLAS 12");
            }
            Path file = Files.createTempFile("libbasalt-cublas", ".so");
            try {
                Files.copy(in, file, StandardCopyOption.REPLACE_EXISTING);
                System.load(file.toString());
            } finally {
                Files.delete(file);
            }
        } catch (IOException e) {
            throw new DeviceFailure("cannot unpack the forwarding library of cuBLAS", e);
        }
    }
}
