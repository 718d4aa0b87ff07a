package basalt.engine.backend.cuda;

import basalt.engine.EngineException.DeviceFailure;
import java.lang.foreign.MemorySegment;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.Arrays;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * A device that can be told to fail: whatever is asked of it from then on fails, as after a fault in a kernel. It can
 * still be closed, and takes no notice of memory that is taken back from it.
 */
final class FailingDevice implements InvocationHandler {
    private final String name;
    private final Device device;
    private final Set<Long> lent = ConcurrentHashMap.newKeySet(); // addresses
    private volatile Predicate<String> isLast = operation -> false;
    private volatile boolean hasFailed;

    FailingDevice(String name, Device device) {
        this.name = name;
        this.device = device;
    }

    /** What a backend is opened on. */
    Device device() {
        return (Device) Proxy.newProxyInstance(Device.class.getClassLoader(), new Class<?>[] {Device.class}, this);
    }

    void fail() {
        hasFailed = true;
    }

    /** Fails when this says so of an operation, a method's name with what it is given. */
    void failAt(Predicate<String> operation) {
        isLast = operation;
    }

    /** Blocks of memory that are lent to it. */
    int lentCount() {
        return lent.size();
    }

    @Override
    public @Nullable Object invoke(Object proxy, Method method, Object @Nullable [] arguments) throws Throwable {
        String operation = method.getName();
        if (operation.equals("name")) {
            return name;
        }
        if (isLast.test(operation + " " + Arrays.toString(arguments))) {
            fail();
        }
        boolean takesBack = operation.equals("unpin");
        if (takesBack && arguments != null) {
            lent.remove(((MemorySegment) arguments[0]).address());
        }
        if (hasFailed && !operation.equals("close")) {
            if (takesBack) {
                return null;
            }
            throw new DeviceFailure(name + ": " + operation + ": failed as told");
        }
        try {
            Object result = method.invoke(device, arguments);
            if (operation.equals("pin") && arguments != null) {
                lent.add(((MemorySegment) arguments[0]).address());
            }
            return result;
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }
}
