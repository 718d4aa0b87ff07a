package basalt.engine.backend.cpu;

/** Adds one layer's mixer to the residual of all tokens of the step and advances the rows' states. */
interface LayerMixer {
    void run();
}
