package basalt.server.hub;

import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Name of a model on a hub.
 *
 * @param repository {@code OWNER/NAME}, without {@code --}, which the cache has in place of the slash
 * @param revision branch, tag or commit; a branch may have slashes, such as {@code refs/pr/1}
 */
public record HubId(String repository, String revision) {
    private static final String WORD = "[A-Za-z0-9][A-Za-z0-9._-]{0,95}";
    private static final Pattern PATTERN =
            Pattern.compile("(" + WORD + "/" + WORD + ")(?:@(" + WORD + "(?:/" + WORD + "){0,7}))?");
    private static final Pattern COMMIT = Pattern.compile("[0-9a-f]{40}");
    private static final String MAIN = "main";

    /** {@code OWNER/NAME} or {@code OWNER/NAME@REVISION}; empty if a text is neither. */
    public static Optional<HubId> parse(String text) {
        Matcher matcher = PATTERN.matcher(text);
        if (!matcher.matches() || text.contains("..") || matcher.group(1).contains("--")) {
            return Optional.empty();
        }
        return Optional.of(new HubId(matcher.group(1), matcher.group(2) == null ? MAIN : matcher.group(2)));
    }

    static boolean isCommit(String text) {
        return COMMIT.matcher(text).matches();
    }

    /** The revision as one part of a URL's path. */
    String revisionInPath() {
        return revision.replace("/", "%2F");
    }

    /** The same model at another revision. */
    HubId at(String otherRevision) {
        return new HubId(repository, otherRevision);
    }

    /** As it was written. */
    @Override
    public String toString() {
        return revision.equals(MAIN) ? repository : repository + "@" + revision;
    }
}
