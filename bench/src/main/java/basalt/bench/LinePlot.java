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
    private static final int RIGHT = 20;
    private static final int TICKS = 5;
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
        double yMax = 1.1 * max(1);
        int bottom = top + HEIGHT - BOTTOM;
        int plotWidth = WIDTH - LEFT - RIGHT;
        int plotHeight = HEIGHT - TOP - BOTTOM;
        text(svg, LEFT, top + TOP - 12, "start", "bold", title);
        text(svg, LEFT + plotWidth / 2, bottom + 34, "middle", "normal", xTitle);
        for (int tick = 0; tick <= TICKS; tick++) {
            double y = bottom - (double) plotHeight * tick / TICKS;
            double x = LEFT + (double) plotWidth * tick / TICKS;
            svg.append(String.format(
                    Locale.ROOT,
                    "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>%n",
                    LEFT,
                    y,
                    LEFT + plotWidth,
                    y));
            text(svg, LEFT - 6, (int) y + 4, "end", "normal", number(yMax * tick / TICKS));
            text(svg, (int) x, bottom + 17, "middle", "normal", number(xMax * tick / TICKS));
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

    private static String number(double value) {
        return value < 20 ? String.format(Locale.ROOT, "%.1f", value) : String.format(Locale.ROOT, "%,.0f", value);
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
