package basalt.server;

import static com.microsoft.playwright.assertions.PlaywrightAssertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.deque.html.axecore.playwright.AxeBuilder;
import com.deque.html.axecore.results.Rule;
import com.microsoft.playwright.Locator;
import com.microsoft.playwright.Page;
import com.microsoft.playwright.Route;
import com.microsoft.playwright.options.ColorScheme;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The page at {@code /} in a real browser, with the default model behind it. */
class PlaygroundIT {
    private static final String PROMPT = "Once upon a time there was a little fox who lived under a hill. One day";
    private static Chromium chromium;
    private static Application application;

    @BeforeAll
    static void start() throws InterruptedException {
        chromium = Chromium.start();
        application = serve("--backend", "cpu", "--slots", "4");
    }

    private static Application serve(String... args) throws InterruptedException {
        return Servers.start(args);
    }

    @AfterAll
    static void stop() {
        if (application != null) {
            application.close();
            chromium.close();
        }
    }

    @AfterEach
    void pageHasNothingToComplainOf() {
        chromium.assertQuiet();
    }

    private static Page open(ColorScheme scheme, int width, int height) {
        Page page = chromium.open(application.url(), scheme, width, height);
        assertThat(page.locator("#model")).containsText("based-10m");
        return page;
    }

    /** With settings that give the same text each time. */
    private static void prepare(Page page, int maxTokens) {
        page.locator("summary").click();
        page.getByLabel("Tokens at most").fill(Integer.toString(maxTokens));
        page.getByLabel("Temperature").fill("0.6");
        page.getByLabel("Seed").fill("11");
        page.locator("summary").click();
        page.getByLabel("Prompt").fill(PROMPT);
    }

    private static void awaitEnd(Page page) {
        assertThat(page.locator("#status")).containsText(Pattern.compile("ended", Pattern.CASE_INSENSITIVE));
    }

    private static Locator tokens(Page page) {
        return page.locator("#answer span");
    }

    @Test
    void streamsAnAnswerAndDrawsWhatItCosts() {
        Page page = open(ColorScheme.LIGHT, 1_200, 780);
        prepare(page, 220);
        page.getByLabel("Shade what surprised the model").check();

        page.getByLabel("Prompt").press("Control+Enter");
        awaitEnd(page);

        int count = tokens(page).count();
        assertTrue(count > 50, "tokens: " + count);
        assertEquals(Integer.toString(count), page.locator("#count").textContent());
        assertThat(page.locator("#rate")).hasText(Pattern.compile("[0-9,.]+"));
        assertThat(page.locator("#first")).hasText(Pattern.compile("[0-9]+ ms"));
        String stateBytes =
                String.format("%,d bytes", application.model().served().stateBytes());
        assertThat(page.locator("#state-bytes")).hasText(stateBytes);
        assertThat(page.locator("#chart")).hasAttribute("aria-label", Pattern.compile("in Basalt, .* Transformer"));
        assertThat(page.locator("#lengths tr.now td").first()).not().hasText(Integer.toString(count));
        tokens(page).nth(9).hover();
        chromium.screenshot(page, "playground-light");
    }

    @Test
    void hoverAndArrowKeysTellWhatATokenMightHaveBeen() {
        Page page = open(ColorScheme.DARK, 1_200, 780);
        prepare(page, 200);
        page.getByText("Write").first().click();
        awaitEnd(page);
        Locator card = page.locator("#token");
        assertThat(card).isHidden();

        tokens(page).nth(5).hover();

        assertThat(card).containsText("log-probability -");
        assertTrue(card.locator("li").count() >= 5);
        assertThat(card.locator("li.is")).hasCount(1);
        chromium.screenshot(page, "playground-dark");
        page.mouse().move(1, 1);
        assertThat(card).isHidden();
        page.locator("#answer").focus();
        page.keyboard().press("ArrowRight");
        page.keyboard().press("ArrowRight");
        assertThat(page.locator("#answer .chosen")).hasAttribute("data-index", "1");
        assertThat(card).isVisible();
        page.keyboard().press("Escape");
        assertThat(card).isHidden();
    }

    @Test
    void fitsAPhone() {
        Page page = open(ColorScheme.LIGHT, 390, 844);
        prepare(page, 60);

        page.getByText("Write").first().click();
        awaitEnd(page);

        Object width = page.evaluate("document.documentElement.scrollWidth");
        assertEquals(390, width);
        chromium.fullScreenshot(page, "playground-phone");
    }

    @Test
    void stopFreesTheSlotAndRetryWritesAgain() throws InterruptedException {
        // So slow that the answer cannot end before it is stopped.
        try (Application slow = serve("--backend", "fake", "--fake-step-time", "20ms")) {
            Page page = chromium.open(slow.url(), ColorScheme.LIGHT, 1_000, 800);
            assertThat(page.locator("#model")).containsText("based-10m");
            prepare(page, 8_192);
            page.getByText("Write").first().click();
            assertThat(tokens(page).nth(20)).isAttached();

            page.keyboard().press("Escape");

            assertThat(page.locator("#status")).hasText("Stopped.");
            page.waitForCondition(() -> slow.model().engine().stats().busySlotCount() == 0);
            String first = tokens(page).first().textContent();
            page.getByText("Retry").click();
            assertThat(tokens(page).nth(20)).isAttached();
            page.getByText("Stop").click();
            assertThat(page.locator("#status")).hasText("Stopped.");
            assertEquals(first, tokens(page).first().textContent(), "the same seed");
        }
    }

    @Test
    void breaksNoRuleOfAccessibility() {
        for (ColorScheme scheme : new ColorScheme[] {ColorScheme.LIGHT, ColorScheme.DARK}) {
            Page page = open(scheme, 1_000, 800);
            prepare(page, 20);
            page.locator("summary").click();
            page.getByLabel("Prompt").press("Control+Enter");
            awaitEnd(page);
            tokens(page).nth(5).hover();

            var broken = new AxeBuilder(page).analyze().getViolations();

            assertEquals(List.of(), broken.stream().map(PlaygroundIT::text).toList(), scheme.toString());
        }
    }

    private static String text(Rule rule) {
        return rule.getId() + ": " + rule.getNodes().getFirst().getHtml();
    }

    @Test
    void keyIsAskedForAndUsed() throws InterruptedException {
        try (Application guarded = serve("--backend", "fake", "--fake-step-time", "0s", "--api-keys", "secret")) {
            Page page = chromium.open(guarded.url(), ColorScheme.LIGHT, 1_000, 800);
            assertThat(page.locator("#status")).containsText("API key");

            page.getByLabel("API key").fill("secret");

            assertThat(page.locator("#model")).containsText("based-10m");
            chromium.expect("401");
        }
    }

    @Test
    void refusalIsTold() {
        Page page = open(ColorScheme.LIGHT, 1_000, 800);
        page.route(
                "**/v1/completions",
                route -> route.fulfill(new Route.FulfillOptions()
                        .setStatus(429)
                        .setHeaders(Map.of("Retry-After", "7"))
                        .setBody("{\"error\":{\"message\":\"The queue is full.\"}}")));

        page.getByText("Write").first().click();

        assertThat(page.locator("#status")).hasText("The queue is full. Try again in 7 s.");
        chromium.expect("429");
    }
}
