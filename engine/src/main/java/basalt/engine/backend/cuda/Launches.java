package basalt.engine.backend.cuda;

/** Where launches of kernels go: to the device, or into a list. */
interface Launches {
    /** Starts a kernel of {@code gridX · gridY} blocks, or notes that it is to be started. */
    void launch(Kernel kernel, int gridX, int gridY, int threads, int sharedBytes, KernelArguments arguments);
}
