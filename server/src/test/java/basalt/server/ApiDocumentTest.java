package basalt.server;

import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.api.ProblemCode;
import basalt.server.fixture.Contract;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Each request of docs/API.md, and the answer below it, is one that the contract allows. */
class ApiDocumentTest {
    private static final Path DOCUMENT = Path.of("..", "docs", "API.md");
    private static final Pattern EXAMPLE = Pattern.compile(
            "```sh\ncurl '?http://127\\.0\\.0\\.1:8080([^\\s']+)'?(?: -H \\S+ \\S+ \\\\\n  -d '([^']*)')?\n```\n\n"
                    + "```(json|text)\n(.*?)\n```",
            Pattern.DOTALL);
    private static final int EXAMPLES_MIN = 10;
    private static final Contract CONTRACT = new Contract();

    static Stream<Arguments> examples() throws IOException {
        List<Arguments> examples = new ArrayList<>();
        Matcher matcher = EXAMPLE.matcher(Files.readString(DOCUMENT));
        while (matcher.find()) {
            String body = matcher.group(2) == null ? "" : matcher.group(2);
            boolean isStream = matcher.group(3).equals("text");
            examples.add(Arguments.of(matcher.group(1), body, isStream, matcher.group(4)));
        }
        assertTrue(examples.size() >= EXAMPLES_MIN, "found " + examples.size());
        return examples.stream();
    }

    @ParameterizedTest
    @EnumSource
    void everyCodeIsInTheTable(ProblemCode code) throws IOException {
        Pattern row = Pattern.compile("(?m)^\\| [0-9, ]*" + code.status() + "[0-9, ]* \\| [^|]*`" + code.code() + "`");

        boolean isThere = row.matcher(Files.readString(DOCUMENT)).find();

        assertTrue(isThere, () -> "docs/API.md has no line of " + code.status() + " " + code.code());
    }

    /** curl says that a body is a form unless told otherwise, and a form is refused. */
    @ParameterizedTest
    @ValueSource(strings = {"openapi.yaml", "README.md", "docs/API.md"})
    void everyBodyIsSentAsJson(String document) throws IOException {
        String text = Files.readString(Path.of("..").resolve(document)).replaceAll("\\\\\n\\s*", "");

        var bodies = text.lines()
                .filter(line -> line.contains("curl ") && line.contains(" -d '"))
                .toList();

        assertTrue(bodies.size() > 1, document);
        bodies.forEach(line -> assertTrue(line.contains("-H 'Content-Type: application/json'"), line));
    }

    @ParameterizedTest(name = "{0} {1}")
    @MethodSource("examples")
    void exampleIsInTheContract(String path, String body, boolean isStream, String answer) {
        String method = body.isEmpty() ? "GET" : "POST";
        int status = answer.startsWith("{\"error\"") ? 400 : 200;
        var headers = Map.of(
                "content-type",
                isStream ? "text/event-stream" : "application/json",
                "x-request-id",
                "x",
                "x-stream-id",
                "x");

        if (status == 200 && !body.isEmpty()) {
            CONTRACT.checkRequest(method, path, body);
        }
        CONTRACT.check(method, path, status, headers, isStream ? answer + "\n\n" : answer);
    }
}
