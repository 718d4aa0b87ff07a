package basalt.engine.backend.cuda;

import basalt.engine.EngineException.DeviceFailure;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Gives JCuda a folder of its own to unpack its native libraries into. JCuda writes them under fixed names into the
 * folder for temporary files, and takes a file that is there already, whoever wrote it and however much of it: in a
 * folder that others write to that is their code in this process, and of two processes that start at once one may map
 * what the other has half written.
 */
final class JcudaLibraries {
    private static final String PROPERTY = "java.io.tmpdir";
    private static final ReentrantLock LOCK = new ReentrantLock();

    private JcudaLibraries() {}

    /**
     * Runs the first use of a class of JCuda. While it runs, the folder for temporary files is a new one that only this
     * user can enter; it is removed after, since a loaded library needs its name no more.
     *
     * @throws DeviceFailure if there is no place for temporary files
     */
    static void load(Runnable firstUse) {
        LOCK.lock();
        try {
            unpack(firstUse, System.getProperty(PROPERTY));
        } finally {
            LOCK.unlock();
        }
    }

    private static void unpack(Runnable firstUse, String before) {
        try {
            Path folder = Files.createTempDirectory("basalt-jcuda"); // for the owner alone
            try {
                System.setProperty(PROPERTY, folder.toString());
                firstUse.run();
            } finally {
                System.setProperty(PROPERTY, before);
                remove(folder);
            }
        } catch (IOException e) {
            throw new DeviceFailure("cannot unpack JCuda's libraries into " + before, e);
        }
    }

    private static void remove(Path folder) throws IOException {
        try (var files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
    }
}
