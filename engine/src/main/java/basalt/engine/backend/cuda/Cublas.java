package basalt.engine.backend.cuda;

import basalt.engine.EngineException.DeviceFailure;
import basalt.engine.model.ElementType;
import jcuda.Pointer;
import jcuda.driver.CUstream;
import jcuda.jcublas.JCublas2;
import jcuda.jcublas.cublasComputeType;
import jcuda.jcublas.cublasGemmAlgo;
import jcuda.jcublas.cublasHandle;
import jcuda.jcublas.cublasOperation;
import jcuda.runtime.cudaStream_t;

/** Products of the vendor's library on a stream, with memory of their own. Confined to the device's thread. */
final class Cublas {
    /** That it may use beside a product's tensors. */
    static final long WORKSPACE_BYTES = 64L << 20;

    private static final int CUDA_R_32F = 0;
    private static final int CUDA_R_16BF = 14;

    private final String device;
    private final int elements;
    private final cublasHandle handle = new cublasHandle();
    private final Pointer one = Pointer.to(new float[] {1});
    private final Pointer zero = Pointer.to(new float[] {0});

    /**
     * For the device whose context is current.
     *
     * @param device its name
     * @param workspace WORKSPACE_BYTES of its memory
     */
    Cublas(String device, CUstream stream, long workspace, ElementType type) {
        this.device = device;
        elements = type == ElementType.BF16 ? CUDA_R_16BF : CUDA_R_32F;
        check("cublasCreate", JCublas2.cublasCreate(handle));
        check("cublasSetStream", JCublas2.cublasSetStream(handle, new cudaStream_t(stream)));
        check("cublasSetWorkspace", JCublas2.cublasSetWorkspace(handle, new Address(workspace), WORKSPACE_BYTES));
    }

    /** Starts a product. */
    void multiply(Device.Product p) {
        int status = JCublas2.cublasGemmEx_new(
                handle,
                cublasOperation.CUBLAS_OP_T,
                cublasOperation.CUBLAS_OP_N,
                p.n(),
                p.m(),
                p.k(),
                one,
                new Address(p.weight()),
                elements,
                p.k(),
                new Address(p.x()),
                elements,
                p.k(),
                p.isAdding() ? one : zero,
                new Address(p.y()),
                p.isF32Out() ? CUDA_R_32F : elements,
                p.n(),
                cublasComputeType.CUBLAS_COMPUTE_32F,
                cublasGemmAlgo.CUBLAS_GEMM_DEFAULT);
        if (status != 0) {
            check("cublasGemmEx " + p, status);
        }
    }

    private void check(String operation, int status) {
        if (status != 0) {
            throw new DeviceFailure(device + ": " + operation + ": cuBLAS status " + status);
        }
    }

    /** Gives it up, whatever state the device is in. */
    void close() {
        JCublas2.cublasDestroy(handle);
    }

    /** JCuda keeps addresses protected. */
    private static final class Address extends Pointer {
        Address(long address) {
            super(address);
        }
    }
}
