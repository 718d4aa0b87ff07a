package basalt.engine.state;

/**
 * How a request uses what is known of the beginnings of prompts.
 *
 * @param cache of the engine's model
 * @param scope whose prompts; it sees no other's
 * @param breakpoints token counts of beginnings that others will have too, ascending: the state is kept exactly there
 * @param isExplicit whether it is kept nowhere else
 */
@SuppressWarnings("ArrayRecordComponent") // never compared
public record PrefixUse(PrefixCache cache, PrefixCache.Scope scope, int[] breakpoints, boolean isExplicit) {
    /** Kept where the engine likes. */
    public static PrefixUse of(PrefixCache cache, PrefixCache.Scope scope) {
        return new PrefixUse(cache, scope, new int[0], false);
    }
}
