package basalt.engine.session;

/** When what is written has to be on the disk itself. Written data survives the end of the process in any case. */
public enum Durability {
    /** Whenever the system likes: a power failure may take turns that were acknowledged. */
    OFF,
    /** Within a second: a power failure takes the turns of the last second at most. */
    SECOND,
    /** Before a turn is acknowledged. */
    COMMIT
}
