package basalt.engine;

/** A failure of the world, not of our own code. Each kind has a stable code that clients see. */
public abstract sealed class EngineException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private EngineException(String message) {
        super(message);
    }

    private EngineException(String message, Throwable cause) {
        super(message, cause);
    }

    /** The code a client sees, such as {@code queue_full}. */
    public abstract String code();

    /** A checkpoint cannot be served: the message names the file, field or tensor and what is wrong with it. */
    public static final class InvalidCheckpoint extends EngineException {
        private static final long serialVersionUID = 1L;

        /** Names what is wrong. */
        public InvalidCheckpoint(String message) {
            super(message);
        }

        /** Names what is wrong, with the cause. */
        public InvalidCheckpoint(String message, Throwable cause) {
            super(message, cause);
        }

        @Override
        public String code() {
            return "invalid_checkpoint";
        }
    }

    /** A request cannot be served by this model or capacity, now or later. */
    public static final class InvalidRequest extends EngineException {
        private static final long serialVersionUID = 1L;
        private final String param;

        /** Names the offending field of {@link GenerationRequest} and what to do. */
        public InvalidRequest(String param, String message) {
            super(message);
            this.param = param;
        }

        /** The field at fault. */
        public String param() {
            return param;
        }

        @Override
        public String code() {
            return "invalid_request";
        }
    }

    /** The admission queue is full; try again later. */
    public static final class QueueFull extends EngineException {
        private static final long serialVersionUID = 1L;
        private final long retryAfterMillis;

        /** With the time that the request would have to wait for its slots. */
        public QueueFull(String message, long retryAfterMillis) {
            super(message);
            this.retryAfterMillis = retryAfterMillis;
        }

        /**
         * Milliseconds after which those that wait now will likely have their slots and this request could have its
         * own, at least 1: from the exact capacity and how long slots have been held so far.
         */
        public long retryAfterMillis() {
            return retryAfterMillis;
        }

        @Override
        public String code() {
            return "queue_full";
        }
    }

    /** Not one slot fits into the memory given, or the device lacks memory for the weights. */
    public static final class InsufficientMemory extends EngineException {
        private static final long serialVersionUID = 1L;

        /** Says how much is needed, how much there is, and what to change. */
        public InsufficientMemory(String message) {
            super(message);
        }

        /** The same, of an allocation that failed. */
        public InsufficientMemory(String message, Throwable cause) {
            super(message, cause);
        }

        @Override
        public String code() {
            return "insufficient_memory";
        }
    }

    /** A device or backend failed or cannot be used. */
    public static final class DeviceFailure extends EngineException {
        private static final long serialVersionUID = 1L;

        /** Names the device and the operation. */
        public DeviceFailure(String message) {
            super(message);
        }

        /** Names the device and the operation, with the cause. */
        public DeviceFailure(String message, Throwable cause) {
            super(message, cause);
        }

        @Override
        public String code() {
            return "device_failure";
        }
    }

    /** There is no such session, or it is another owner's. */
    public static final class SessionNotFound extends EngineException {
        private static final long serialVersionUID = 1L;

        /** Names the id. */
        public SessionNotFound(String message) {
            super(message);
        }

        @Override
        public String code() {
            return "session_not_found";
        }
    }

    /** A turn of the session runs. */
    public static final class SessionBusy extends EngineException {
        private static final long serialVersionUID = 1L;

        /** Says what to do. */
        public SessionBusy(String message) {
            super(message);
        }

        @Override
        public String code() {
            return "session_busy";
        }
    }

    /** Another process has changed the session since it was read here. */
    public static final class SessionConflict extends EngineException {
        private static final long serialVersionUID = 1L;

        /** Says what to do. */
        public SessionConflict(String message) {
            super(message);
        }

        @Override
        public String code() {
            return "session_conflict";
        }
    }

    /** No more sessions can be kept. */
    public static final class SessionsFull extends EngineException {
        private static final long serialVersionUID = 1L;

        /** Says how many there are. */
        public SessionsFull(String message) {
            super(message);
        }

        @Override
        public String code() {
            return "sessions_full";
        }
    }

    /** A state that was written down is not one of this model, is torn, or was tampered with. */
    public static final class InvalidState extends EngineException {
        private static final long serialVersionUID = 1L;

        /** Says what is wrong with it. */
        public InvalidState(String message) {
            super(message);
        }

        @Override
        public String code() {
            return "invalid_state";
        }
    }

    /** What keeps sessions cannot be read or written. */
    public static final class ArchiveFailure extends EngineException {
        private static final long serialVersionUID = 1L;

        /** Names the place and the operation, with the cause. */
        public ArchiveFailure(String message, Throwable cause) {
            super(message, cause);
        }

        @Override
        public String code() {
            return "archive_failure";
        }
    }

    /** What keeps sessions does not answer; try again later. */
    public static final class ArchiveUnavailable extends EngineException {
        private static final long serialVersionUID = 1L;

        /** Names the place and the operation. */
        public ArchiveUnavailable(String message) {
            super(message);
        }

        /** Names the place and the operation, with the cause. */
        public ArchiveUnavailable(String message, Throwable cause) {
            super(message, cause);
        }

        @Override
        public String code() {
            return "archive_unavailable";
        }
    }

    /** The engine is shutting down or has stopped. */
    public static final class EngineStopped extends EngineException {
        private static final long serialVersionUID = 1L;

        /** With the reason. */
        public EngineStopped(String message) {
            super(message);
        }

        @Override
        public String code() {
            return "engine_stopped";
        }
    }
}
