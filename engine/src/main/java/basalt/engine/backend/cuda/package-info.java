/**
 * The CUDA backend. {@link basalt.engine.backend.cuda.CudaBackend} keeps the states of all slots on the device and
 * advances them by the kernels of {@code native/kernels}; this package checks the arguments and launches them. Only
 * {@code JcudaDevice} and its neighbours see JCuda; what JCuda lacks goes through the foreign function interface.
 */
@NullMarked
package basalt.engine.backend.cuda;

import org.jspecify.annotations.NullMarked;
