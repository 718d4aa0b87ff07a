package basalt.server.api;

import basalt.engine.session.SessionSummary;
import java.util.List;
import java.util.Locale;

/** Writes what is told of sessions. */
public final class SessionWriter {
    private static final long SECOND = 1_000;

    private SessionWriter() {}

    /** One session. */
    public static byte[] one(SessionSummary session) {
        var out = new JsonBuffer();
        write(out, session);
        return out.toByteArray();
    }

    /** A list of sessions. */
    public static byte[] list(List<SessionSummary> sessions, boolean hasMore) {
        var out = new JsonBuffer();
        out.raw("{\"object\":\"list\",\"data\":[");
        for (int i = 0; i < sessions.size(); i++) {
            out.raw(i > 0 ? "," : "");
            write(out, sessions.get(i));
        }
        out.raw("],\"has_more\":").raw(hasMore ? "true" : "false").raw("}");
        return out.toByteArray();
    }

    /** That a session is no more. */
    public static byte[] deleted(String id) {
        var out = new JsonBuffer();
        out.raw("{\"id\":").string(id).raw(",\"object\":\"session.deleted\",\"deleted\":true}");
        return out.toByteArray();
    }

    private static void write(JsonBuffer out, SessionSummary session) {
        out.raw("{\"id\":").string(session.id());
        out.raw(",\"object\":\"session\",\"created\":").number(session.createdMillis() / SECOND);
        out.raw(",\"last_used\":").number(session.usedMillis() / SECOND);
        out.raw(",\"expires\":");
        session.expiresMillis().ifPresentOrElse(millis -> out.number(millis / SECOND), () -> out.raw("null"));
        out.raw(",\"tokens\":").number(session.tokenCount());
        out.raw(",\"turns\":").number(session.turnCount());
        out.raw(",\"usage\":{\"prompt_tokens\":").number(session.promptTokenCount());
        out.raw(",\"completion_tokens\":").number(session.answerTokenCount());
        out.raw("},\"digest\":").string(session.digest());
        out.raw(",\"tier\":").string(session.tier().name().toLowerCase(Locale.ROOT));
        out.raw(",\"bytes\":").number(session.imageBytes());
        out.raw(",\"busy\":").raw(session.isBusy() ? "true" : "false");
        out.raw(",\"checkpoints\":[");
        String comma = "";
        for (long checkpoint : session.checkpoints()) {
            out.raw(comma).number(checkpoint);
            comma = ",";
        }
        out.raw("]}");
    }
}
