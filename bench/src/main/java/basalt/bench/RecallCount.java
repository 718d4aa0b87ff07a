package basalt.bench;

/** Answers of one kind, and how many of them were right. Not thread-safe. */
final class RecallCount {
    private int askedCount;
    private int rightCount;

    void add(boolean isRight) {
        askedCount++;
        if (isRight) {
            rightCount++;
        }
    }

    int askedCount() {
        return askedCount;
    }

    int rightCount() {
        return rightCount;
    }

    double share() {
        return askedCount == 0 ? Double.NaN : (double) rightCount / askedCount;
    }

    /** Half the width of the share's 95 % interval, by the normal approximation with two answers added of each kind. */
    double margin() {
        double n = askedCount + 4;
        double p = (rightCount + 2) / n;
        return 1.96 * Math.sqrt(p * (1 - p) / n);
    }
}
