package basalt.engine.backend.cuda;

/**
 * Copies states from blocks of host memory into slots. The long way, over the bus, begins at once and goes beside the
 * steps in flight; the short one within the device has its turn after them. Nothing waits but the device. Confined to
 * the engine thread.
 */
final class SlotLoader {
    /** Slots of device memory that are not among those of sequences. */
    static final int PLACE_COUNT = 4;

    private final Device device;
    private final SlotBlocks blocks;
    private final Place[] places = new Place[PLACE_COUNT];
    private int next;

    /** Device memory for one slot, and the events when it is written and when it is read. */
    private record Place(long address, int uploaded, int copied) {}

    SlotLoader(Device device, SlotBlocks blocks) {
        this.device = device;
        this.blocks = blocks;
        for (int i = 0; i < PLACE_COUNT; i++) {
            places[i] = new Place(device.allocate(blocks.blockBytes()), device.createEvent(), device.createEvent());
            device.record(places[i].copied());
        }
    }

    /**
     * Overwrites a slot.
     *
     * @param address of the slot
     * @return false if the state is not in a block
     */
    boolean load(SlotBlock state, long address) {
        var place = places[next];
        device.holdAside(Device.Direction.UP, place.copied());
        if (!blocks.upload(state, place.address())) {
            return false;
        }
        next = (next + 1) % PLACE_COUNT;
        device.recordAside(Device.Direction.UP, place.uploaded());
        device.hold(place.uploaded());
        device.copy(address, place.address(), blocks.blockBytes());
        device.record(place.copied());
        return true;
    }
}
