/**
 * Continuous batching. {@link basalt.engine.schedule.Front} takes requests on their own threads and gives each to the
 * {@link basalt.engine.schedule.EngineLoop} of a device; on the loop's thread a {@link
 * basalt.engine.schedule.Scheduler} decides what each step computes and hands the tokens back through one {@link
 * basalt.engine.schedule.TokenChannel} per choice. Knows backends by their interface only. Start reading at {@link
 * basalt.engine.schedule.Scheduler}.
 */
@NullMarked
package basalt.engine.schedule;

import org.jspecify.annotations.NullMarked;
