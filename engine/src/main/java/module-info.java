/** The engine as a plain Java library; start at {@code basalt.engine.Engine}. */
module basalt.engine {
    requires static org.jspecify;
    requires jdk.incubator.vector;
    requires com.fasterxml.jackson.core;
    requires jtokkit;
    requires jcuda;
    requires jcublas;

    exports basalt.engine;
    exports basalt.engine.backend;
    exports basalt.engine.backend.cpu;
    exports basalt.engine.backend.cuda;
    exports basalt.engine.backend.fake;
    exports basalt.engine.json;
    exports basalt.engine.model;
    exports basalt.engine.session;
    exports basalt.engine.state;
    exports basalt.engine.text;
}
