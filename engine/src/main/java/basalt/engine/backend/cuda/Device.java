package basalt.engine.backend.cuda;

import java.lang.foreign.MemorySegment;

/**
 * A GPU: memory, kernels in the order of one stream and its branches, graphs of them, and two more streams of copies
 * aside. Confined to one thread at a time, but for {@link #bind}, {@link #await}, and what has {@code aside} in its
 * name or lends memory. Addresses are device addresses; 0 is none.
 *
 * <p>Every method throws {@link basalt.engine.EngineException.DeviceFailure} naming the operation when the device
 * fails.
 */
interface Device extends AutoCloseable {
    /** As the driver calls it, with its ordinal where there are several. */
    String name();

    /** Makes the calling thread the one that uses the device. */
    void bind();

    /** Blocks that run side by side at least. */
    int multiprocessorCount();

    /** Bytes of the cache between multiprocessors and memory. */
    long cacheBytes();

    /** Device memory that is free now. */
    long freeBytes();

    /** Allocates device memory, aligned for every kernel. Holds zeros or what a test fills it with. */
    long allocate(long bytes);

    /** Allocates host memory that the device reads and writes, at the same address. */
    MemorySegment allocateMapped(long bytes);

    /** Copies from mapped memory, when its turn in the stream comes. */
    void upload(long to, MemorySegment from, long fromOffset, long bytes);

    /** Copies to mapped memory, when its turn in the stream comes. */
    void download(MemorySegment to, long from, long bytes);

    /** Copies within the device. */
    void copy(long to, long from, long bytes);

    /** Sets every byte. */
    void fill(long to, int value, long bytes);

    /** Starts a kernel of {@code gridX · gridY} blocks. */
    void launch(Kernel kernel, int gridX, int gridY, int threads, int sharedBytes, KernelArguments arguments);

    /** Whether it multiplies by whole warpgroups and copies tensors by itself, as compute capability 9.0 does. */
    boolean hasWarpgroupProducts();

    /** Makes a map that kernels copy tiles by; returns its address. */
    long mapTensor(TensorMap map);

    /** Starts a kernel in clusters of blocks. */
    void launchClusters(Kernel kernel, Clusters clusters, KernelArguments arguments);

    /**
     * From here on, launches wait for all that was started before, and may run beside those after the branch's end.
     * Call nothing but {@link #launch}, {@link #launchClusters} and {@link #multiply} before that.
     */
    void beginBranch();

    /** Launches go to the stream again. */
    void endBranch();

    /** What is started from here on waits for the branches that have ended. */
    void joinBranches();

    /** Starts {@code y (+)= x · Wᵀ} by the vendor's library. */
    void multiply(Product product);

    /** From here on, launches and products are recorded instead of run. */
    void beginCapture();

    /**
     * Ends the recording; returns the number of the graph.
     *
     * @throws basalt.engine.EngineException.InsufficientMemory if there is no room for it; the device goes on
     */
    int endCapture();

    /** Starts all that a graph recorded. */
    void replay(int graph);

    /** Forgets a graph; one that runs ends first. */
    void release(int graph);

    /** Makes an event. */
    int createEvent();

    /** Notes that the stream has come this far. */
    void record(int event);

    /** Waits until the stream has come to the event. */
    void await(int event);

    /** Lends the device host memory that it then copies at full speed. */
    void pin(MemorySegment memory);

    /** Takes lent memory back, which nothing copies any more. */
    void unpin(MemorySegment memory);

    /** Copies all of lent memory to the device, beside the stream. */
    void uploadAside(long to, MemorySegment from);

    /** Fills lent memory from the device, beside the stream. */
    void downloadAside(MemorySegment to, long from);

    /** Notes that the copies aside of a direction have come this far. */
    void recordAside(Direction direction, int event);

    /** Lets copies aside of a direction, from here on, wait until the event's stream has come to it. */
    void holdAside(Direction direction, int event);

    /** Lets the stream, from here on, wait until the copies aside have come to the event. */
    void hold(int event);

    /** Time between two events that have been waited for. */
    long nanosBetween(int first, int second);

    /** Waits for everything. */
    void synchronize();

    @Override
    void close();

    /** Of copies aside; each goes on whatever the other waits for. */
    enum Direction {
        /** To the device. */
        UP,
        /** To the host. */
        DOWN
    }

    /** A launch of {@code gridX · gridY} blocks, {@code cluster} neighbours in x together. */
    record Clusters(int gridX, int gridY, int cluster, int threads, int sharedBytes) {}

    /**
     * A bf16 tensor whose boxes come into shared memory in rows of 128 or 64 bytes, swizzled; what lies outside reads
     * as 0.
     *
     * @param sizes of the dimensions, the innermost first
     * @param strides bytes, of all dimensions but the innermost
     * @param box elements of a box
     */
    @SuppressWarnings("ArrayRecordComponent")
    record TensorMap(long address, long[] sizes, long[] strides, int[] box) {}

    /**
     * {@code y = x · Wᵀ}, or {@code y += x · Wᵀ}: x element [M, K], W element [N, K], y [M, N].
     *
     * @param m M
     * @param n N
     * @param k K
     * @param isF32Out whether y is f32; else an element
     * @param isAdding whether y is added to
     */
    record Product(long x, long weight, long y, int m, int n, int k, boolean isF32Out, boolean isAdding) {}
}
