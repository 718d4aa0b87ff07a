package basalt.engine.backend.cuda;

import basalt.engine.model.ModelConfig;

/** Launches of products of many tokens by the vendor's library, and of the kernels between them. */
final class ProductKernels {
    private static final int NORM_RMS = 0;
    private static final int NORM_LAYER = 1;

    private final Device device;
    private final ModelConfig config;
    private final StepBuffers buffers;
    private final KernelArguments arguments;
    private final int activation;

    ProductKernels(Device device, ModelConfig config, StepBuffers buffers, KernelArguments arguments) {
        this.device = device;
        this.config = config;
        this.buffers = buffers;
        this.arguments = arguments;
        activation = Forward.activation(config);
    }

    /**
     * A layer's first norm and input projection, without its bias.
     *
     * @param precedingBias of the projection before, that the residual stream still lacks, or 0
     */
    void begin(DeviceModel.Layer layer, Part part, long precedingBias) {
        normalize(part.residual(), part.tokens(), 0, precedingBias, layer.norm1(), part.x());
        multiply(layer.input(), part.x(), part.wide(), part.tokens(), false);
    }

    /** The bias of an input projection. */
    void addBias(DeviceModel.Linear linear, Part part) {
        if (linear.bias() != 0) {
            arguments.clear().add(part.wide()).add(linear.bias()).add(linear.rows());
            device.launch(Kernel.ADD_BIAS, part.tokens(), 1, 256, 0, arguments);
        }
    }

    /** What follows a layer's mixer, but for the bias of its last projection. */
    void end(DeviceModel.Layer layer, Part part) {
        int tokens = part.tokens();
        multiply(layer.output(), part.narrow(), part.residual(), tokens, true);
        normalize(part.residual(), tokens, 0, layer.output().bias(), layer.norm2(), part.x());
        if (part.isAlone()) {
            device.joinBranches();
        }
        multiply(layer.fc1(), part.x(), part.wide(), tokens, false);
        int inner = config.mlp().innerWidth();
        arguments
                .clear()
                .add(part.wide())
                .add(layer.fc1().bias())
                .add(part.narrow())
                .add(inner)
                .add(activation);
        device.launch(Kernel.GATE, tokens, Math.ceilDiv(inner, 1024), 128, 0, arguments);
        multiply(layer.fc2(), part.narrow(), part.residual(), tokens, true);
    }

    /**
     * The last norm and the head.
     *
     * @param picks i32 [count], tokens of the residual stream, or 0 for the first ones
     */
    void head(DeviceModel model, long residual, long picks, int count, long lateBias) {
        var linear = model.head();
        normalize(residual, count, picks, lateBias, model.finalNorm(), buffers.headX());
        device.multiply(new Device.Product(
                buffers.headX(), linear.weight(), buffers.logits(), count, linear.rows(), linear.depth(), true, false));
        if (linear.bias() != 0) {
            arguments.clear().add(buffers.logits()).add(linear.bias()).add(linear.rows());
            device.launch(Kernel.ADD_LOGITS_BIAS, count, 1, 256, 0, arguments);
        }
    }

    private void multiply(DeviceModel.Linear linear, long x, long y, int tokens, boolean isAdding) {
        device.multiply(
                new Device.Product(x, linear.weight(), y, tokens, linear.rows(), linear.depth(), isAdding, isAdding));
    }

    private void normalize(long residual, int tokens, long picks, long precedingBias, DeviceModel.Norm norm, long x) {
        arguments
                .clear()
                .add(residual)
                .add(picks)
                .add(precedingBias)
                .add(norm.weight())
                .add(norm.bias())
                .add(x)
                .add(config.width())
                .add(config.normEpsilon())
                .add(config.isRmsNorm() ? NORM_RMS : NORM_LAYER);
        device.launch(Kernel.NORMALIZE, tokens, 1, 128, 0, arguments);
    }
}
