package basalt.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashSet;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** Directories and the questions about them. */
class RecallQuestionTest {
    private static final Pattern NUMBER = Pattern.compile("\\b\\d{4}\\b");

    @Test
    void sameSeedGivesTheSameQuestion() {
        assertEquals(RecallQuestion.of(7, 3, 20, 2), RecallQuestion.of(7, 3, 20, 2));
        assertNotEquals(RecallQuestion.of(7, 3, 20, 2), RecallQuestion.of(8, 3, 20, 2));
    }

    @Test
    void answerStandsBesideTheNameThatIsAsked() {
        for (int i = 0; i < 30; i++) {
            var question = RecallQuestion.of(1, i, RecallQuestion.PAIRS_MAX, 0);
            var lines = question.prompt().split("\n", -1);
            var ask = lines[lines.length - 1];
            var name = ask.replace("?", "").replace(" in", "").replaceAll(".* ", "");

            var pairs = question.prompt().lines().filter(line -> line.contains(question.answer()));

            assertTrue(pairs.anyMatch(line -> line.matches(".*\\b" + name + "\\b.*")), ask);
        }
    }

    @Test
    void everyPairIsThere() {
        var question = RecallQuestion.of(1, 0, 64, 3);

        assertEquals(64, NUMBER.matcher(question.prompt()).results().count());
        assertEquals(64, question.pairCount());
    }

    @Test
    void questionsAboutOneDirectoryAreOfOtherNames() {
        var asks = new HashSet<String>();
        for (int next = 0; next < 8; next++) {
            var question = RecallQuestion.of(1, 5, 8, 1, next);
            asks.add(question.ask());

            assertEquals(RecallQuestion.of(1, 5, 8, 1).directory(), question.directory());
            assertTrue(question.directory().contains(question.answer()), question.ask());
            assertTrue(question.ask().startsWith("\nWhat") || question.ask().startsWith("\nWhich"), question.ask());
        }
        assertEquals(8, asks.size());
    }

    @Test
    void shareAfterIsThatOfTheLinesThatFollow() {
        var shares = new HashSet<Boolean>();
        for (int i = 0; i < 50; i++) {
            var question = RecallQuestion.of(1, i, 32, 0);
            int end = question.prompt().indexOf(question.answer())
                    + question.answer().length();
            double after = 1 - (double) end / question.prompt().length();

            assertEquals(after, question.shareAfter(), 0.01);
            shares.add(after > 0.5);
        }
        assertEquals(2, shares.size(), "both near and far pairs are asked for");
    }
}
