package basalt.engine.backend.cuda;

import basalt.engine.state.SavedState;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import java.lang.foreign.MemorySegment;

/** A saved state as the bytes of a slot. Where they lie is the business of its {@link SlotBlocks}. */
final class SlotBlock implements SavedState {
    private final SlotBlocks blocks;
    private final long tokenCount;
    private MemorySegment memory; // this and the next two under the lock of the blocks
    private boolean isPinned;
    private int readerCount;

    SlotBlock(SlotBlocks blocks, long tokenCount, MemorySegment pinned) {
        this.blocks = blocks;
        this.tokenCount = tokenCount;
        memory = pinned;
        isPinned = true;
    }

    SlotBlocks blocks() {
        return blocks;
    }

    /** Call only when holding the lock of the blocks. */
    MemorySegment memory() {
        return memory;
    }

    /** Whether the device copies from the memory at full speed. Call only when holding the lock of the blocks. */
    boolean isPinned() {
        return isPinned;
    }

    /** Call only when holding the lock of the blocks. */
    void move(MemorySegment to, boolean isToPinned) {
        memory = to;
        isPinned = isToPinned;
    }

    /** Whether a thread reads the memory, so that it stays. Call only when holding the lock of the blocks. */
    boolean isRead() {
        return readerCount > 0;
    }

    /** Call only when holding the lock of the blocks. */
    void addReaders(int count) {
        readerCount += count;
    }

    @Override
    public void release() {
        blocks.release(this);
    }

    @Override
    public StateLayout layout() {
        return blocks.layout();
    }

    @Override
    public long tokenCount() {
        return tokenCount;
    }

    @Override
    public long bytes() {
        return blocks.blockBytes();
    }

    @Override
    public StateImage image() {
        return blocks.image(this);
    }
}
