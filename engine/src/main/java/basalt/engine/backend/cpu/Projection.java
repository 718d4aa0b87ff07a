package basalt.engine.backend.cpu;

import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One matrix product of a step, split over the workers by panels of output columns, with the norm before it and what
 * follows on the same columns. Owned by the engine thread.
 */
final class Projection implements WorkerPool.Job {
    /** What is done to the columns of a task once they are computed. */
    interface Epilogue {
        void finish(int panelFrom, int panelTo, int rowCount, int worker);
    }

    /**
     * What a product reads and writes.
     *
     * @param normed room for normalised rows; not used without a norm
     */
    record Route(Activations from, Activations normed, Activations to) {}

    /** Up to so many rows, each worker computes the norm for itself: cheaper than a barrier. */
    private static final int PRIVATE_ROWS = 2;
    /** Rows normalised by one task. */
    private static final int NORM_ROWS = 4;
    /** Tasks per worker aimed at, so that a late worker costs little. */
    private static final int TASKS_PER_WORKER = 6;

    private final PackedMatrix matrix;
    private final @Nullable Norm norm;
    private final Activations from;
    private final Epilogue epilogue;
    private final PackedMatrix.Operands shared;
    private final PackedMatrix.Operands[] own; // [workers], only with a norm
    private final WorkerPool pool;
    private final WorkerPool.Job normJob = this::normaliseRows;
    private final Activations normed;
    private boolean isPrivate;
    private int rowCount;
    private int panelsPerTask;

    /**
     * A product.
     *
     * @param norm applied to the rows of {@code from} first, or null
     */
    Projection(WorkerPool pool, PackedMatrix matrix, @Nullable Norm norm, Route route, Epilogue epilogue) {
        this.pool = pool;
        this.matrix = matrix;
        this.norm = norm;
        from = route.from();
        normed = route.normed();
        Activations to = route.to();
        this.epilogue = epilogue;
        var x = norm == null ? from : normed;
        shared = new PackedMatrix.Operands(x.data(), x.stride(), to.data(), to.stride());
        own = new PackedMatrix.Operands[norm == null ? 0 : pool.workerCount()];
        for (int worker = 0; worker < own.length; worker++) {
            var room = new float[PRIVATE_ROWS * x.stride()];
            own[worker] = new PackedMatrix.Operands(room, x.stride(), to.data(), to.stride());
        }
    }

    /** Computes so many rows. */
    void run(int rows) {
        rowCount = rows;
        isPrivate = norm != null && rows <= PRIVATE_ROWS;
        if (norm != null && !isPrivate) {
            pool.run(normJob, (rows + NORM_ROWS - 1) / NORM_ROWS);
        }
        int group = PackedMatrix.PANEL_GROUP;
        int groups = (matrix.panelCount + group - 1) / group;
        int groupsPerTask = Math.max(1, groups / (TASKS_PER_WORKER * pool.workerCount()));
        panelsPerTask = groupsPerTask * group;
        pool.run(this, (matrix.panelCount + panelsPerTask - 1) / panelsPerTask);
    }

    private void normaliseRows(int task, int worker) {
        Norm rowNorm = Objects.requireNonNull(norm);
        int end = Math.min(rowCount, (task + 1) * NORM_ROWS);
        for (int row = task * NORM_ROWS; row < end; row++) {
            rowNorm.apply(from.data(), from.at(row), normed.data(), normed.at(row));
        }
    }

    @Override
    public void prepare(int worker) {
        if (norm == null || !isPrivate) {
            return;
        }
        for (int row = 0; row < rowCount; row++) {
            norm.apply(from.data(), from.at(row), own[worker].x, row * own[worker].xStride);
        }
    }

    @Override
    public void run(int task, int worker) {
        int panelFrom = task * panelsPerTask;
        int panelTo = Math.min(matrix.panelCount, panelFrom + panelsPerTask);
        var operands = isPrivate ? own[worker] : shared;
        operands.rowCount = rowCount;
        matrix.multiply(operands, panelFrom, panelTo);
        epilogue.finish(panelFrom, panelTo, rowCount, worker);
    }
}
