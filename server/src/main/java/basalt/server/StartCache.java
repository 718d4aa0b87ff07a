package basalt.server;

import com.sun.management.HotSpotDiagnosticMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;

/** The start-up cache of the virtual machine ({@code -XX:AOTCache}), which does without one that does not fit. */
final class StartCache {
    private static final System.Logger LOG = System.getLogger(StartCache.class.getName());
    /** What this process has mapped, on Linux; the virtual machine itself does not tell a program. */
    private static final Path MAPS = Path.of("/proc/self/maps");

    private StartCache() {}

    /** Says so if there is a cache and it is not used. */
    static void warnIfUnused() {
        String file = option();
        if (!file.isEmpty() && Files.exists(MAPS) && !isMapped(Path.of(file))) {
            LOG.log(
                    System.Logger.Level.WARNING,
                    "event=start_cache_unused file=\"{0}\" message=\"the start takes longer; the file is missing,"
                            + " damaged, or made by other jars, options or another JDK: make it anew\"",
                    file);
        }
    }

    /** Empty if there is none, or this virtual machine knows of no such thing. */
    private static String option() {
        var machine = ManagementFactory.getPlatformMXBean(HotSpotDiagnosticMXBean.class);
        try {
            return machine == null ? "" : machine.getVMOption("AOTCache").getValue();
        } catch (IllegalArgumentException e) {
            return "";
        }
    }

    private static boolean isMapped(Path file) {
        try {
            return Files.readString(MAPS).contains(file.toRealPath().toString());
        } catch (IOException e) {
            return false;
        }
    }
}
