package basalt.engine.state;

/** A place of one sequence's state on the device. Confined to the engine thread. */
public final class Slot {
    private final int index;
    private boolean isHeld;

    Slot(int index) {
        this.index = index;
    }

    /** Index in the backend, in [0, slotCount). */
    public int index() {
        return index;
    }

    /** Whether someone has acquired it and not yet released it. */
    public boolean isHeld() {
        return isHeld;
    }

    void hold(boolean value) {
        isHeld = value;
    }
}
