package basalt.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Lines over two axes that start at zero, drawn as SVG. */
final class LinePlot {
    private static final int WIDTH = 760;
    private static final int HEIGHT = 240;
    private static final int LEFT = 70;
    private static final int TOP = 34;
    private static final int BOTTOM = 44;
    private static final int RIGHT = 30;
    private static final int TICKS_MAX = 5;
    private static final List<String> COLORS = List.of("#1f5fa8", "#b8860b");

    private final String title;
    private final String xTitle;
    private final List<List<double[]>> lines = List.of(new ArrayList<>(), new ArrayList<>()); // points of x, y

    LinePlot(String title, String xTitle) {
        this.title = title;
        this.xTitle = xTitle;
    }

    /**
     * Adds a point.
     *
     * @param line 0 is blue, 1 ochre
     */
    void add(int line, double x, double y) {
        lines.get(line).add(new double[] {x, y});
    }

    private double max(int axis) {
        return lines.stream()
                .flatMap(List::stream)
                .mapToDouble(p -> p[axis])
                .max()
                .orElse(1);
    }

    /** Distance of an axis's ticks: 1, 2 or 5 times a power of ten, and at most {@link #TICKS_MAX} of it reach max. */
    static double step(double max) {
        double power = Math.pow(10, Math.floor(Math.log10(max / TICKS_MAX)));
        for (double step : new double[] {power, 2 * power, 5 * power}) {
            if (step * TICKS_MAX >= max) {
                return step;
            }
        }
        return 10 * power;
    }

    /** A drawing of plots one below the other. */
    static String svg(List<LinePlot> plots) {
        var svg = new StringBuilder();
        svg.append(String.format(
                Locale.ROOT,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
                        + "font-size=\"12\">%n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>%n",
                WIDTH,
                HEIGHT * plots.size()));
        for (int i = 0; i < plots.size(); i++) {
            plots.get(i).draw(svg, i * HEIGHT);
        }
        return svg.append("</svg>\n").toString();
    }

    private void draw(StringBuilder svg, int top) {
        double xMax = Math.max(1, max(0));
        double yMax = Math.max(1, max(1));
        double xStep = step(xMax);
        double yStep = step(yMax);
        yMax = yStep * Math.ceil(yMax / yStep);
        int bottom = top + HEIGHT - BOTTOM;
        int plotWidth = WIDTH - LEFT - RIGHT;
        int plotHeight = HEIGHT - TOP - BOTTOM;
        text(svg, LEFT, top + TOP - 12, "start", "bold", title);
        text(svg, LEFT + plotWidth / 2, bottom + 34, "middle", "normal", xTitle);
        for (int tick = 0; tick <= Math.round(yMax / yStep); tick++) {
            double y = bottom - plotHeight * tick * yStep / yMax;
            svg.append(String.format(
                    Locale.ROOT,
                    "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>%n",
                    LEFT,
                    y,
                    LEFT + plotWidth,
                    y));
            text(svg, LEFT - 6, (int) y + 4, "end", "normal", number(tick * yStep, yStep));
        }
        for (int tick = 0; tick <= (int) (xMax / xStep); tick++) {
            int x = (int) (LEFT + plotWidth * tick * xStep / xMax);
            text(svg, x, bottom + 17, "middle", "normal", number(tick * xStep, xStep));
        }
        for (int line = 0; line < lines.size(); line++) {
            svg.append("<polyline fill=\"none\" stroke=\"")
                    .append(COLORS.get(line))
                    .append("\" stroke-width=\"1.5\" points=\"");
            for (double[] p : lines.get(line)) {
                svg.append(String.format(
                        Locale.ROOT, "%.1f,%.1f ", LEFT + plotWidth * p[0] / xMax, bottom - plotHeight * p[1] / yMax));
            }
            svg.append("\"/>\n");
        }
    }

    private static String number(double value, double step) {
        return String.format(Locale.ROOT, step < 1 ? "%.1f" : "%,.0f", value);
    }

    private static void text(StringBuilder svg, int x, int y, String anchor, String weight, String text) {
        svg.append(String.format(
                Locale.ROOT,
                "<text x=\"%d\" y=\"%d\" text-anchor=\"%s\" font-weight=\"%s\">%s</text>%n",
                x,
                y,
                anchor,
                weight,
                text));
    }
}
