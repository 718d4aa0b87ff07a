package basalt.engine.session;

import java.util.List;
import java.util.Optional;

/**
 * An archive that several processes write to, so that any of them can go on with a session. The version of its journal
 * is the fence between them: a write that expects another one is refused, and images are neither added nor dropped once
 * the journal has another version than the one last seen or written here.
 */
public interface SharedArchive extends SessionArchive, Peers {
    /**
     * The version of a session's journal; empty if there is none, or it is another owner's. Counts as a use of the
     * session, from which on its life is counted.
     */
    Optional<JournalVersion> version(String owner, String id);

    /** Ids of the sessions of an owner, the oldest first. */
    List<String> ids(String owner);

    /** What is known here of a session is of no use any more; the session stays. */
    void forget(String id);
}
