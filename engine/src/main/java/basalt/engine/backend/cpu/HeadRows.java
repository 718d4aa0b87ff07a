package basalt.engine.backend.cpu;

import basalt.engine.backend.Batch;
import basalt.engine.backend.StepResult;

/**
 * The head, sampling and log-probabilities of the tokens of a step that need them, in blocks of as many rows as
 * there is room for logits. Owned by the engine thread; tasks are rows of a block.
 */
final class HeadRows implements WorkerPool.Job {
    private final int vocabSize;
    private final CpuModel model;
    private final WorkerPool pool;
    private final Step step;
    private final int blockRowsMax;
    private final Sampler[] samplers; // [workers]
    private final int[] rows; // [blockRowsMax], row of the batch
    private final int[] tokens; // [blockRowsMax], flat token of the step
    private final int[] batchTokens; // [blockRowsMax], flat token of the batch
    private int count;
    private Batch batch = new Batch(1, 1);
    private StepResult result = new StepResult(1, 1);

    HeadRows(int vocabSize, CpuModel model, WorkerPool pool, Step step, int blockRowsMax) {
        this.vocabSize = vocabSize;
        this.model = model;
        this.pool = pool;
        this.step = step;
        this.blockRowsMax = blockRowsMax;
        samplers = new Sampler[pool.workerCount()];
        for (int i = 0; i < samplers.length; i++) {
            samplers[i] = new Sampler(vocabSize);
        }
        rows = new int[blockRowsMax];
        tokens = new int[blockRowsMax];
        batchTokens = new int[blockRowsMax];
    }

    /** Fills the result of a batch whose tokens the model has gone through. */
    void run(Batch stepBatch, StepResult stepResult) {
        batch = stepBatch;
        result = stepResult;
        int batchToken = 0;
        for (int row = 0; row < batch.rowCount(); row++) {
            result.tokens[row] = -1;
            boolean isScored = batch.scoreCount(row) >= 0;
            int last = step.end(row) - 1;
            for (int token = step.start(row); token <= last; token++, batchToken++) {
                if (isScored || (token == last && batch.isSampling(row))) {
                    select(row, token, batchToken);
                }
            }
            batchToken += batch.tokenCount(row) - (step.end(row) - step.start(row));
        }
        flush();
    }

    private void select(int row, int token, int batchToken) {
        model.selectHeadRow(count, token);
        rows[count] = row;
        tokens[count] = token;
        batchTokens[count] = batchToken;
        count++;
        if (count == blockRowsMax) {
            flush();
        }
    }

    private void flush() {
        if (count > 0) {
            model.runHead(count);
            pool.run(this, count);
            count = 0;
        }
    }

    @Override
    public void run(int task, int worker) {
        int row = rows[task];
        boolean isLast = tokens[task] == step.end(row) - 1;
        float[] logits = model.logits().data();
        int at = model.logits().at(task);
        if (batch.scoreCount(row) >= 0) {
            score(row, task, logits, at, isLast);
        }
        if (isLast && batch.isSampling(row)) {
            sample(row, tokens[task], logits, at, worker);
        }
    }

    private void score(int row, int task, float[] logits, int at, boolean isLast) {
        int batchToken = batchTokens[task];
        int next = isLast ? batch.target(row) : batch.token(row, tokens[task] + 1 - step.start(row));
        float normalizer = LogSoftmax.normalizer(logits, at, vocabSize);
        result.scoreLogprobs[batchToken] = next < 0 ? 0 : logits[at + next] - normalizer;
        int count = Math.min(batch.scoreCount(row), vocabSize);
        int to = batchToken * StepResult.TOP_COUNT_MAX;
        LogSoftmax.top(logits, at, vocabSize, count, result.scoreTopIds, result.scoreTopLogprobs, to);
        LogSoftmax.subtract(result.scoreTopLogprobs, to, count, normalizer);
    }

    private void sample(int row, int token, float[] logits, int at, int worker) {
        CpuSlot slot = step.slot(row);
        int sampled = samplers[worker].sample(slot, logits, at, step.position(token) + 1);
        result.tokens[row] = sampled;
        int logprobCount = slot.sampling().logprobCount();
        if (logprobCount >= 0) {
            float normalizer = LogSoftmax.normalizer(logits, at, vocabSize);
            result.logprobs[row] = logits[at + sampled] - normalizer;
            int count = Math.min(logprobCount, vocabSize);
            int to = row * StepResult.TOP_COUNT_MAX;
            LogSoftmax.top(logits, at, vocabSize, count, result.topIds, result.topLogprobs, to);
            LogSoftmax.subtract(result.topLogprobs, to, count, normalizer);
        }
        slot.sampled(sampled);
    }
}
