package basalt.engine.session;

import basalt.engine.EngineException;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.CRC32C;

/**
 * The bytes of a session's journal: entries, each with its length and checksum. The first entry is a {@link
 * Entry.Head}.
 */
final class Journal {
    private static final int FRAME_BYTES = 2 * Integer.BYTES;
    private static final int VERSION = 1;
    private static final byte HEAD = 0;
    private static final byte BASE = 1;
    private static final byte TURN = 2;
    private static final byte REWIND = 3;
    private static final byte NOTE = 4;
    private static final byte LASTING_NOTE = 5;
    private static final byte DROPPED = 6;
    private static final int TEXT_BYTES_MAX = 4_096;

    private Journal() {}

    /** What a session has been through. */
    sealed interface Entry {
        /**
         * The beginning.
         *
         * @param lifeMillis how long it is kept without use; 0 for ever
         */
        record Head(String fingerprint, String owner, long createdMillis, long lifeMillis) implements Entry {}

        /** The state came from elsewhere, with an image: no token before it is known. */
        record Base(long tokenCount) implements Entry {}

        /**
         * A turn was committed.
         *
         * @param promptCount how many of the tokens were the prompt; the rest is the answer
         */
        @SuppressWarnings("ArrayRecordComponent") // never compared
        record Turned(long millis, int promptCount, int[] tokens) implements Entry {}

        /** The session went back. */
        record Rewound(long millis, long tokenCount) implements Entry {}

        /** What turns amounted to that were taken back and are no longer here; less where more is here than was. */
        record Dropped(long turnCount, long promptTokens, long answerTokens) implements Entry {}

        /**
         * What the owner wants to know of it; the last one counts.
         *
         * @param isLasting whether it holds whatever turns come; else it is of the session as it is
         */
        @SuppressWarnings("ArrayRecordComponent") // never compared
        record Noted(byte[] note, boolean isLasting) implements Entry {}
    }

    /**
     * What a journal says.
     *
     * @param validBytes up to the end of the last whole entry
     */
    record Read(List<Entry> entries, long validBytes) {}

    /** The bytes of one entry. */
    static byte[] bytes(Entry entry) {
        var body = switch (entry) {
            case Entry.Head(var fingerprint, var owner, var created, var life) -> {
                byte[] print = fingerprint.getBytes(StandardCharsets.UTF_8);
                byte[] name = owner.getBytes(StandardCharsets.UTF_8);
                yield buffer(HEAD, 28 + print.length + name.length)
                        .putInt(VERSION)
                        .putInt(print.length)
                        .put(print)
                        .putInt(name.length)
                        .put(name)
                        .putLong(created)
                        .putLong(life);
            }
            case Entry.Base(var count) -> buffer(BASE, Long.BYTES).putLong(count);
            case Entry.Turned(var millis, var promptCount, var tokens) -> {
                var turn = buffer(TURN, Long.BYTES + 2 * Integer.BYTES + Integer.BYTES * tokens.length)
                        .putLong(millis)
                        .putInt(promptCount)
                        .putInt(tokens.length);
                for (int token : tokens) {
                    turn.putInt(token);
                }
                yield turn;
            }
            case Entry.Rewound(var millis, var count) ->
                buffer(REWIND, 2 * Long.BYTES).putLong(millis).putLong(count);
            case Entry.Dropped(var turns, var prompts, var answers) ->
                buffer(DROPPED, 3 * Long.BYTES).putLong(turns).putLong(prompts).putLong(answers);
            case Entry.Noted(var note, var isLasting) ->
                buffer(isLasting ? LASTING_NOTE : NOTE, note.length).put(note);
        };
        var all = new byte[body.flip().remaining()];
        body.get(all);
        var crc = new CRC32C();
        crc.update(all, FRAME_BYTES, all.length - FRAME_BYTES);
        ByteBuffer.wrap(all).putInt(all.length - FRAME_BYTES).putInt((int) crc.getValue());
        return all;
    }

    /** About how many bytes an entry takes. */
    static long byteCount(Entry entry) {
        return switch (entry) {
            case Entry.Turned turn -> FRAME_BYTES + 17 + (long) Integer.BYTES * turn.tokens().length;
            case Entry.Noted noted -> FRAME_BYTES + 1 + noted.note().length;
            case Entry.Head _, Entry.Base _, Entry.Rewound _, Entry.Dropped _ -> 4 * FRAME_BYTES;
        };
    }

    private static ByteBuffer buffer(byte type, int bodyBytes) {
        return ByteBuffer.allocate(FRAME_BYTES + 1 + bodyBytes)
                .position(FRAME_BYTES)
                .put(type);
    }

    /** The bytes of several entries. */
    static byte[] bytes(List<Entry> entries) {
        var parts = entries.stream().map(Journal::bytes).toList();
        var all =
                ByteBuffer.allocate(parts.stream().mapToInt(part -> part.length).sum());
        parts.forEach(all::put);
        return all.array();
    }

    /**
     * Reads a journal. An entry that lacks its end was being written when the process ended and is left out, and so are
     * zeros at the end, which a power failure leaves of what was not on the disk.
     *
     * @throws EngineException.InvalidState if it is not a journal, or damaged
     */
    static Read read(byte[] bytes) {
        var in = ByteBuffer.wrap(bytes);
        var entries = new ArrayList<Entry>();
        long valid = 0;
        while (in.remaining() >= FRAME_BYTES) {
            int length = in.getInt();
            int expected = in.getInt();
            if (length == 0 && isZero(bytes, valid)) {
                break;
            }
            if (length <= 0) {
                throw new EngineException.InvalidState("entry " + entries.size() + " has the length " + length);
            }
            if (length > in.remaining()) {
                break;
            }
            var crc = new CRC32C();
            crc.update(bytes, in.position(), length);
            if ((int) crc.getValue() != expected) {
                throw new EngineException.InvalidState("entry " + entries.size() + " does not match its checksum");
            }
            var entry = entry(in.slice(in.position(), length), entries.size());
            if (entry instanceof Entry.Head != entries.isEmpty()) {
                throw new EngineException.InvalidState("entry " + entries.size() + " is out of place");
            }
            entries.add(entry);
            in.position(in.position() + length);
            valid = in.position();
        }
        if (entries.isEmpty()) {
            throw new EngineException.InvalidState("there is no whole entry");
        }
        return new Read(entries, valid);
    }

    private static boolean isZero(byte[] bytes, long from) {
        for (int i = (int) from; i < bytes.length; i++) {
            if (bytes[i] != 0) {
                return false;
            }
        }
        return true;
    }

    private static Entry entry(ByteBuffer in, int index) {
        try {
            byte type = in.get();
            return switch (type) {
                case HEAD -> head(in);
                case BASE -> new Entry.Base(in.getLong());
                case TURN -> {
                    long millis = in.getLong();
                    int promptCount = in.getInt();
                    int count = in.getInt();
                    if (count < 0 || count != in.remaining() / Integer.BYTES) {
                        throw new EngineException.InvalidState("entry " + index + " has " + count + " tokens");
                    }
                    var tokens = new int[count];
                    in.asIntBuffer().get(tokens);
                    yield new Entry.Turned(millis, promptCount, tokens);
                }
                case REWIND -> new Entry.Rewound(in.getLong(), in.getLong());
                case DROPPED -> new Entry.Dropped(in.getLong(), in.getLong(), in.getLong());
                case NOTE, LASTING_NOTE -> {
                    var note = new byte[in.remaining()];
                    in.get(note);
                    yield new Entry.Noted(note, type == LASTING_NOTE);
                }
                default -> throw new EngineException.InvalidState("entry " + index + " is of the unknown kind " + type);
            };
        } catch (BufferUnderflowException e) {
            throw new EngineException.InvalidState("entry " + index + " is too short");
        }
    }

    private static Entry head(ByteBuffer in) {
        int version = in.getInt();
        if (version != VERSION) {
            throw new EngineException.InvalidState("it is of version " + version + ", not " + VERSION);
        }
        return new Entry.Head(text(in), text(in), in.getLong(), in.getLong());
    }

    private static String text(ByteBuffer in) {
        int length = in.getInt();
        if (length < 0 || length > TEXT_BYTES_MAX) {
            throw new EngineException.InvalidState("a text of " + length + " bytes");
        }
        var text = new byte[length];
        in.get(text);
        return new String(text, StandardCharsets.UTF_8);
    }
}
