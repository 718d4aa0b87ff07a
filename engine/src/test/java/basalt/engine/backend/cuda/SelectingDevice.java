package basalt.engine.backend.cuda;

import java.lang.foreign.MemorySegment;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Predicate;

/**
 * A device that can be told to start only some kinds of kernels: the time of a graph of one kind is what that costs by
 * itself, and what a graph without it lacks is what it costs beside the others.
 */
final class SelectingDevice implements Device {
    private final Device device;
    private final Map<String, Integer> launchCounts = new TreeMap<>();
    private Predicate<String> selection = key -> true;

    SelectingDevice(Device device) {
        this.device = device;
    }

    /** Starts only launches whose keys, as in {@link #launchCounts}, are selected from here on. */
    void select(Predicate<String> keys) {
        selection = keys;
        launchCounts.clear();
    }

    /** Launches so far, by kernel and grid. */
    Map<String, Integer> launchCounts() {
        return new TreeMap<>(launchCounts);
    }

    private boolean takes(String key) {
        launchCounts.merge(key, 1, Integer::sum);
        return selection.test(key);
    }

    @Override
    public void launch(Kernel kernel, int gridX, int gridY, int threads, int sharedBytes, KernelArguments arguments) {
        if (takes(kernel.symbol() + " " + gridX + "x" + gridY + "x" + threads)) {
            device.launch(kernel, gridX, gridY, threads, sharedBytes, arguments);
        }
    }

    @Override
    public void launchClusters(Kernel kernel, Clusters clusters, KernelArguments arguments) {
        if (takes(kernel.symbol() + " " + clusters.gridX() + "x" + clusters.gridY() + "x" + clusters.cluster())) {
            device.launchClusters(kernel, clusters, arguments);
        }
    }

    @Override
    public boolean hasWarpgroupProducts() {
        return device.hasWarpgroupProducts();
    }

    @Override
    public long mapTensor(TensorMap map) {
        return device.mapTensor(map);
    }

    @Override
    public void beginBranch() {
        device.beginBranch();
    }

    @Override
    public void endBranch() {
        device.endBranch();
    }

    @Override
    public void joinBranches() {
        device.joinBranches();
    }

    @Override
    public void multiply(Product product) {
        if (takes("cublas " + product.m() + "x" + product.n() + "x" + product.k())) {
            device.multiply(product);
        }
    }

    @Override
    public String name() {
        return device.name();
    }

    @Override
    public void bind() {
        device.bind();
    }

    @Override
    public int multiprocessorCount() {
        return device.multiprocessorCount();
    }

    @Override
    public long cacheBytes() {
        return device.cacheBytes();
    }

    @Override
    public long freeBytes() {
        return device.freeBytes();
    }

    @Override
    public long allocate(long bytes) {
        return device.allocate(bytes);
    }

    @Override
    public MemorySegment allocateMapped(long bytes) {
        return device.allocateMapped(bytes);
    }

    @Override
    public void upload(long to, MemorySegment from, long fromOffset, long bytes) {
        device.upload(to, from, fromOffset, bytes);
    }

    @Override
    public void download(MemorySegment to, long from, long bytes) {
        device.download(to, from, bytes);
    }

    @Override
    public void copy(long to, long from, long bytes) {
        device.copy(to, from, bytes);
    }

    @Override
    public void fill(long to, int value, long bytes) {
        device.fill(to, value, bytes);
    }

    @Override
    public void beginCapture() {
        device.beginCapture();
    }

    @Override
    public int endCapture() {
        return device.endCapture();
    }

    @Override
    public void replay(int graph) {
        device.replay(graph);
    }

    @Override
    public void release(int graph) {
        device.release(graph);
    }

    @Override
    public int createEvent() {
        return device.createEvent();
    }

    @Override
    public void record(int event) {
        device.record(event);
    }

    @Override
    public void await(int event) {
        device.await(event);
    }

    @Override
    public void pin(MemorySegment memory) {
        device.pin(memory);
    }

    @Override
    public void unpin(MemorySegment memory) {
        device.unpin(memory);
    }

    @Override
    public void uploadAside(long to, MemorySegment from) {
        device.uploadAside(to, from);
    }

    @Override
    public void downloadAside(MemorySegment to, long from) {
        device.downloadAside(to, from);
    }

    @Override
    public void recordAside(Direction direction, int event) {
        device.recordAside(direction, event);
    }

    @Override
    public void holdAside(Direction direction, int event) {
        device.holdAside(direction, event);
    }

    @Override
    public void hold(int event) {
        device.hold(event);
    }

    @Override
    public long nanosBetween(int first, int second) {
        return device.nanosBetween(first, second);
    }

    @Override
    public void synchronize() {
        device.synchronize();
    }

    @Override
    public void close() {
        device.close();
    }
}
