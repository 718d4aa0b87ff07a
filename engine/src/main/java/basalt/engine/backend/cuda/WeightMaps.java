package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;

/** Maps by which the tensor copy engine brings tiles of a bf16 weight into shared memory, eight rows at a time. */
final class WeightMaps {
    /** Rows of a weight are a multiple of it, and half of those that are paired. */
    static final int ROWS = 8;

    private WeightMaps() {}

    /** Of boxes of so many rows and elements of each; returns its address. */
    static long rows(Device device, DeviceModel.Linear linear, int depth, int rows) {
        long stride = stride(linear);
        return device.mapTensor(new Device.TensorMap(
                linear.weight(),
                new long[] {linear.depth(), ROWS, 1, linear.rows() / ROWS},
                new long[] {stride, stride, ROWS * stride},
                new int[] {depth, ROWS, 1, rows / ROWS}));
    }

    /**
     * The same, where of every sixteen rows of a box eight are of the first half of the weight and the next eight those
     * of the second half that are paired with them.
     */
    static long pairs(Device device, DeviceModel.Linear linear, int depth, int rows) {
        long stride = stride(linear);
        int pairs = linear.rows() / 2;
        return device.mapTensor(new Device.TensorMap(
                linear.weight(),
                new long[] {linear.depth(), ROWS, 2, pairs / ROWS},
                new long[] {stride, pairs * stride, ROWS * stride},
                new int[] {depth, ROWS, 2, rows / (2 * ROWS)}));
    }

    private static long stride(DeviceModel.Linear linear) {
        return (long) ElementType.BF16.bytes() * linear.depth();
    }
}
