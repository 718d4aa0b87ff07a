package basalt.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

/** Counting of right answers. */
class RecallBenchTest {
    private static final String RIGHT = RecallQuestion.of(1, 0, 8, 0).answer();

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    @Test
    void numberAloneIsRight() throws IOException {
        assertTrue(run(" " + RIGHT, "--at-least", "1"), out::toString);
        assertTrue(out.toString(StandardCharsets.UTF_8).contains("100.0 %"), out::toString);
    }

    @Test
    void numberThatGoesOnIsWrong() throws IOException {
        assertFalse(run(" " + RIGHT + "7", "--at-least", "1"));
        assertTrue(run(" " + RIGHT + "7"), "without a floor the measurement itself did not fail");
    }

    @Test
    void distanceIsCountedInTokensFromThePair() throws IOException {
        run(" " + RIGHT);

        double tokens = 1_000 * RecallQuestion.of(1, 0, 8, 0).shareAfter();
        var bucket = Integer.highestOneBit((int) tokens) + "+";
        assertTrue(out.toString(StandardCharsets.UTF_8).contains(bucket), out::toString);
    }

    @Test
    void movedAndForkedQuestionsCountTheTokensOfTheirSessionOnce() throws IOException {
        double tokens = 1_000 * RecallQuestion.of(1, 0, 8, 0).shareAfter();
        var bucket = Integer.highestOneBit((int) tokens) + "+";
        try (var other = server(" " + RIGHT)) {
            assertTrue(run(" " + RIGHT, "--way", "move", "--to", other.uri().toString(), "--at-least", "1"));
        }
        assertTrue(out.toString(StandardCharsets.UTF_8).contains(bucket), out::toString);
        assertTrue(out.toString(StandardCharsets.UTF_8).contains("1 of 1 questions went on"), out::toString);
        out.reset();
        assertTrue(run(" " + RIGHT, "--way", "fork", "--at-least", "1"));
        assertTrue(out.toString(StandardCharsets.UTF_8).contains(bucket), out::toString);
    }

    @Test
    void movedQuestionIsAnsweredByTheOtherServer() throws IOException {
        try (var other = server(" wrong")) {
            assertFalse(run(" " + RIGHT, "--way", "move", "--to", other.uri().toString(), "--at-least", "1"));
        }
    }

    @Test
    void eachForkIsAskedForAnotherNumber() throws IOException {
        assertFalse(run(" " + RIGHT, "--way", "fork", "--questions", "16", "--at-least", "0.2"));
        assertTrue(run(" " + RIGHT, "--way", "fork", "--questions", "16", "--at-least", "0.12"), out::toString);
    }

    @Test
    void refusedQuestionFailsTheMeasurement() throws IOException {
        try (var server = new CannedServer("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")) {
            var bench = new RecallBench(new String[] {server.uri().toString()}, new PrintStream(out));

            assertThrows(BenchException.class, bench::run);
        }
    }

    @Test
    void flagsThatCannotBeMetAreRefused() {
        var url = "http://127.0.0.1:1";
        var outs = new PrintStream(out);

        var tooMany = new String[] {url, "--pairs", "129"};
        assertThrows(BenchException.class, () -> new RecallBench(tooMany, outs));
        var tooFew = new String[] {url, "--pairs", "8,16", "--at-least", "0.5"};
        var unknownWay = new String[] {url, "--way", "teleport"};
        assertThrows(BenchException.class, () -> new RecallBench(unknownWay, outs));
        var moveToNowhere = new String[] {url, "--way", "move"};
        assertThrows(BenchException.class, () -> new RecallBench(moveToNowhere, outs));
        assertEquals(
                "--at-least needs one share for each of --pairs",
                assertThrows(BenchException.class, () -> new RecallBench(tooFew, outs))
                        .getMessage());
    }

    private static CannedServer server(String text) throws IOException {
        var body = "{\"data\":[{\"id\":\"m\"}],\"id\":\"s\",\"tokens\":1000,\"choices\":[{\"text\":\"" + text
                + "\"}],\"usage\":{\"prompt_tokens\":1000,\"prompt_tokens_details\":{\"cached_tokens\":900}}}";
        return new CannedServer("HTTP/1.1 200 OK\r\nContent-Length: " + body.length() + "\r\n\r\n" + body);
    }

    private boolean run(String text, String... more) throws IOException {
        try (var server = server(text)) {
            var arguments = new String[5 + more.length];
            System.arraycopy(
                    new String[] {server.uri().toString(), "--pairs", "8", "--questions", "1"}, 0, arguments, 0, 5);
            System.arraycopy(more, 0, arguments, 5, more.length);
            return new RecallBench(arguments, new PrintStream(out, true, StandardCharsets.UTF_8)).run();
        }
    }
}
