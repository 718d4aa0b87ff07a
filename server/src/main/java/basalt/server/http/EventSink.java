package basalt.server.http;

import basalt.server.api.JsonBuffer;

/** Takes the events of a stream. Safe for use by several threads, whose events do not mix. */
interface EventSink {
    /** Takes whole events; the buffer may be reused. */
    void write(JsonBuffer events);
}
