package basalt.engine.schedule;

import java.util.Arrays;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Elements that take turns: a list with a cursor at the one whose turn is next. Confined to the engine thread;
 * allocates nothing after construction.
 */
final class Rotation<T> {
    private final @Nullable Object[] elements; // the first count, in order of arrival
    private int count;
    private int cursor;

    Rotation(int capacity) {
        elements = new @Nullable Object[capacity];
    }

    int count() {
        return count;
    }

    void add(T element) {
        elements[count++] = element;
    }

    /** The element so many turns from now. */
    @SuppressWarnings("unchecked") // only T is ever added
    T get(int turns) {
        int index = cursor + turns;
        var element = elements[index < count ? index : index - count];
        if (element == null) {
            throw new IndexOutOfBoundsException(turns);
        }
        return (T) element;
    }

    /** Lets so many turns pass. */
    void turn(int turns) {
        cursor = count == 0 ? 0 : (cursor + turns) % count;
    }

    /** Removes elements; the turn of the others stays as it is. */
    @SuppressWarnings("unchecked") // only T is ever added
    void removeIf(Predicate<? super T> isGone) {
        int kept = 0;
        int newCursor = 0;
        for (int i = 0; i < count; i++) {
            var element = elements[i];
            if (element == null || isGone.test((T) element)) {
                continue;
            }
            newCursor += i < cursor ? 1 : 0;
            elements[kept++] = element;
        }
        Arrays.fill(elements, kept, count, null);
        count = kept;
        cursor = newCursor < count ? newCursor : 0;
    }
}
