package basalt.bench;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;

/**
 * A directory of random names and numbers, and a question about one of them: the answer stands nowhere but in the
 * directory. The forms are those of {@code training/directories.py}.
 *
 * @param directory what stands before the question: the directory, text after it if any
 * @param ask the question. It begins with a line end, so that its tokens are the same alone and after the directory
 * @param answer the number that belongs to the name
 * @param pairCount names in the directory
 * @param shareAfter share of the prompt that follows the pair, in characters
 */
record RecallQuestion(String directory, String ask, String answer, int pairCount, double shareAfter) {
    /** Pairs that {@link #NAMES} suffice for. */
    static final int PAIRS_MAX = 128;

    private static final int NUMBERS = 10_000;

    private static final List<String> NAMES = List.of("""
            James John Robert Michael William David Richard Joseph Thomas Charles Christopher Daniel Matthew Anthony
            Mark Donald Steven Paul Andrew Joshua Kenneth Kevin Brian George Timothy Ronald Edward Jason Jeffrey Ryan
            Jacob Gary Nicholas Eric Jonathan Stephen Larry Justin Scott Brandon Benjamin Samuel Gregory Alexander
            Patrick Frank Raymond Jack Dennis Jerry Tyler Aaron Jose Adam Nathan Henry Peter Douglas Zachary Kyle Noah
            Ethan Jeremy Walter Mary Patricia Jennifer Linda Elizabeth Barbara Susan Jessica Karen Sarah Lisa Nancy
            Sandra Betty Ashley Emily Kimberly Margaret Donna Michelle Carol Amanda Melissa Deborah Stephanie Rebecca
            Sharon Laura Cynthia Dorothy Amy Kathleen Angela Shirley Emma Brenda Pamela Nicole Anna Samantha Katherine
            Christine Debra Rachel Carolyn Janet Maria Olivia Heather Helen Catherine Diane Julie Victoria Joyce Lauren
            Kelly Christina Ruth Joan Virginia Judith Evelyn Hannah Andrea Megan Cheryl Alice Bob""".split("\\s+"));

    private static final List<Form> FORMS = List.of(
            new Form("Directory\n", "- %s: %s\n", "What is the number of %s?"),
            new Form("Room list\n", "- %s is in room %s.\n", "Which room is %s in?"),
            new Form("Codes\n", "The code of %s is %s.\n", "What is the code of %s?"));

    /** Sentences that stand between a directory and its question. */
    private static final List<String> SENTENCES = List.of(
            "It was a quiet morning, and the street lay empty.",
            "The old house stood at the end of the road.",
            "Rain fell on the roofs for most of the day.",
            "He read the letter twice before he put it away.",
            "They walked down to the river without a word.",
            "The baker had opened his shop before dawn.",
            "Nobody knew when the train would come.",
            "She looked out of the window and waited.");

    /** Words around names and numbers. */
    private record Form(String head, String line, String ask) {}

    /** Directory and question in one. */
    String prompt() {
        return directory + ask;
    }

    /**
     * The question of a number: the same arguments give the same question.
     *
     * @param pairCount names in the directory
     * @param sentenceCount sentences between the directory and the question
     */
    static RecallQuestion of(long seed, int index, int pairCount, int sentenceCount) {
        return of(seed, index, pairCount, sentenceCount, 0);
    }

    /**
     * One of the questions about a directory.
     *
     * @param next names after the one that is asked first, in the order of the directory and then from its start
     */
    static RecallQuestion of(long seed, int index, int pairCount, int sentenceCount, int next) {
        var random = new Random(31 * (31 * seed + index) + pairCount);
        var form = FORMS.get(index % FORMS.size());
        var names = new ArrayList<>(NAMES);
        Collections.shuffle(names, random);
        var text = new StringBuilder(form.head);
        int asked = (random.nextInt(pairCount) + next) % pairCount;
        int askedEnd = 0;
        var answer = "";
        for (int i = 0; i < pairCount; i++) {
            var number = "%04d".formatted(random.nextInt(NUMBERS));
            text.append(form.line.formatted(names.get(i), number));
            if (i == asked) {
                answer = number;
                askedEnd = text.length();
            }
        }
        for (int i = 0; i < sentenceCount; i++) {
            text.append(i == 0 ? '\n' : ' ').append(SENTENCES.get(random.nextInt(SENTENCES.size())));
        }
        text.append(sentenceCount == 0 ? "" : "\n");
        var ask = "\n" + form.ask.formatted(names.get(asked));
        double shareAfter = 1 - (double) askedEnd / (text.length() + ask.length());
        return new RecallQuestion(text.toString(), ask, answer, pairCount, shareAfter);
    }
}
