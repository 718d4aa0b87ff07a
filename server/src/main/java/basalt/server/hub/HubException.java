package basalt.server.hub;

import java.io.IOException;
import java.net.UnknownHostException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.NotDirectoryException;

/** A model cannot be had from the hub; the message says why and what to do. */
public final class HubException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    HubException(String message) {
        super(message);
    }

    HubException(String message, Throwable cause) {
        super(message, cause);
    }

    /** What has failed, of exceptions too whose message is no more than a name. */
    static String reason(IOException e) {
        String message = String.valueOf(e.getMessage());
        return switch (e) {
            case UnknownHostException _ -> "unknown host " + message;
            case AccessDeniedException _ -> "no access to " + message;
            case NotDirectoryException _ -> message + " is no folder";
            case FileAlreadyExistsException _ -> message + " is no folder";
            default -> e.getMessage() == null ? e.getClass().getSimpleName() : message;
        };
    }
}
