package basalt.engine.json;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.NoSuchFileException;

/** Says what is wrong with a file: the JDK's own messages are often the file's name alone. */
public final class FileFault {
    private FileFault() {}

    /** What a person is told behind the name of the file. */
    public static String reason(IOException failure) {
        return switch (failure) {
            case NoSuchFileException missing -> "is not there";
            case AccessDeniedException denied -> "may not be read by this user";
            default -> "cannot be read: " + failure.getMessage();
        };
    }
}
