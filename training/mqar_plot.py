"""Draws accuracy against state bytes, and against tokens/s at a fixed memory for states; prints both as a table.

    mqar_plot.py FIGURES.json OUT.svg [--speed FOLDER..]

FIGURES.json is what mqar.py wrote. A FOLDER holds what `basalt bench engine --json` wrote, NAME.json for each folder
NAME of `mqar.py --configs`; several are rounds of the same measurement. Their figures go into FIGURES.json.
"""

import argparse
import json
import math
import os
import statistics

WIDTH, HEIGHT, TOP, BOTTOM = 1040, 440, 60, 50
LEFT, MIDDLE = (60, 500), (570, 890)  # the x of each panel's ends
MARGIN = 0.06  # of a panel, left and right of its points
COLORS = {16: "#1f5fa8", 64: "#2e8b57", 128: "#b8860b", "attention": "#222", "mamba-2": "#a33"}


def text(x, y, words, anchor="middle", color="#222", weight="normal"):
    halo = 'paint-order="stroke" stroke="white" stroke-width="3"'
    attributes = f'text-anchor="{anchor}" fill="{color}" font-weight="{weight}" {halo}'
    return f'<text x="{x:.0f}" y="{y:.0f}" {attributes}>{words}</text>'


def name_of(point) -> tuple[int | str, str]:
    """The line that a point belongs to, a window of BASED or a kind of model, and the point's label."""
    kind, *dials = point["name"].split()
    dials = dict(d.split("=") for d in dials)
    if kind == "based":
        return int(dials["w"]), f"f={dials['f']}"
    return kind, f"n={dials['n']}" if dials else ""


class Labels:
    """Places names beside dots, none over another name or dot."""

    def __init__(self, dots: list[tuple[float, float]]):
        self.taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in dots]

    def place(self, x, y, words, color) -> str:
        width = 6.6 * len(words)
        sides = [(0, -8), (0, 19), (width / 2 + 8, 4), (-width / 2 - 8, 4)]
        sides += [(dx, dy) for dy in (-8, 19, -22, 33) for dx in (-20, 20)]
        boxes = [(x + dx - width / 2, y + dy - 10, x + dx + width / 2, y + dy + 2) for dx, dy in sides]
        at = min(range(len(sides)), key=lambda i: (sum(self.overlap(boxes[i], t) for t in self.taken), i))
        self.taken.append(boxes[at])
        return text(x + sides[at][0], y + sides[at][1], words, color=color)

    @staticmethod
    def overlap(a, b) -> float:
        return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


class Panel:
    """Accuracy over an axis of another figure."""

    def __init__(self, ends, title: str, caption: str, points: list[tuple[float, dict]], scale=lambda x: x):
        self.ends, self.points, self.scale = ends, points, scale
        values = [scale(x) for x, _ in points]
        margin = MARGIN * (max(values) - min(values))
        self.low, self.high = min(values) - margin, max(values) + margin
        self.lowest = math.floor(10 * min(p["mean"] for _, p in points)) / 10
        self.svg = [
            text(ends[0], 22, title, "start", weight="bold"),
            text(sum(ends) / 2, HEIGHT - 10, caption),
        ]
        for i in range(round(10 * self.lowest), 11):
            y = self.at(points[0][0], i / 10)[1]
            self.svg.append(f'<line x1="{ends[0]}" x2="{ends[1]}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            self.svg.append(text(ends[0] - 6, y + 4, f"{i / 10:.0%}", "end"))

    def ticks(self, values, unit):
        for x in values:
            if self.low <= self.scale(x) <= self.high:
                at = self.at(x, 1)[0]
                bottom = HEIGHT - BOTTOM
                self.svg.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 5}" stroke="#888"/>')
                self.svg.append(text(at, bottom + 18, unit(x)))

    def at(self, x, share):
        left, right = self.ends
        bottom = HEIGHT - BOTTOM
        return (
            left + (self.scale(x) - self.low) / (self.high - self.low) * (right - left),
            bottom - (share - self.lowest) / (1 - self.lowest) * (bottom - TOP),
        )

    def draw(self) -> list[str]:
        lines = {}
        for x, point in self.points:
            line, label = name_of(point)
            lines.setdefault(line, []).append((*self.at(x, point["mean"]), label))
        for line, dots in lines.items():
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in dots)
            self.svg.append(f'<polyline fill="none" stroke="{COLORS[line]}" stroke-width="2" points="{path}"/>')
            self.svg += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLORS[line]}"/>' for x, y, _ in dots]
        labels = Labels([dot[:2] for dots in lines.values() for dot in dots])
        for line, dots in lines.items():
            self.svg += [labels.place(*dot, COLORS[line]) for dot in dots]
        return self.svg


def draw(data) -> str:
    points = data["points"]
    caption = f"state of one sequence of {data['length']} tokens, fp32"
    title = "Recall against state: MQAR, mean of 8 to 96 pairs"
    panel = Panel(LEFT, title, caption, [(p["state_bytes"], p) for p in points], math.log2)
    panel.ticks([2**i for i in range(10, 21)], lambda n: f"{n // 1024} KiB")
    svg = panel.draw()
    fast = [(p["speed"]["tokens_per_second"], p) for p in points if "speed" in p]
    if fast:
        caption = f"thousand tokens/s, {data['speed_of']}"
        panel = Panel(MIDDLE, "Recall against speed at a fixed memory", caption, fast)
        panel.ticks(range(0, 2_000_000, 20_000), lambda n: f"{n // 1000}")
        svg += panel.draw()
    legend = [(f"BASED, window {k}" if isinstance(k, int) else k, COLORS[k]) for k, _ in map(name_of, points)]
    for i, (name, color) in enumerate(dict.fromkeys(legend)):
        svg.append(text(MIDDLE[1] + 20, TOP + 20 + 20 * i, name, "start", color, "bold"))
    for i, line in enumerate(("f: feature dimension", "n: Mamba-2's state")):
        svg.append(text(MIDDLE[1] + 20, TOP + 140 + 20 * i, line, "start"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
    head += 'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, *svg, "</svg>"]) + "\n"


def add_speed(data, folders: list[str]):
    """The engine's own bytes of a slot, the slots of a memory, and tokens/s with all of them: each reading but a run's
    first one, which is still being compiled."""
    for p in data["points"]:
        name = p["name"].replace(" ", "-").replace("=", "") + ".json"
        readings = []
        for file in (os.path.join(folder, name) for folder in folders):
            if os.path.exists(file):
                with open(file, encoding="utf-8") as f:
                    report = json.load(f)
                rows = [r for r in report["rows"] if r["kind"] == "decode"]
                readings += [round(r["tokensPerSecond"]["median"]) for r in rows[1:]]
        if readings:
            slots = rows[-1]["stepRows"]
            p["speed"] = dict(
                slot_bytes=report["stateBytes"],
                slots=slots,
                tokens_per_second=round(statistics.median(readings)),
                readings=readings,
            )
            mebibytes = slots * report["stateBytes"] / 2**20
            data["speed_of"] = f"{report['backend']} backend, {math.ceil(mebibytes)} MiB of states"


def speed_cells(point) -> list[str]:
    speed = point.get("speed")
    if not speed:
        return [""] * 3
    readings = speed["readings"]
    spread = f" ({min(readings):,} to {max(readings):,})" if len(readings) > 1 else ""
    return [f"{speed['slot_bytes']:,}", f"{speed['slots']:,}", f"{speed['tokens_per_second']:,}{spread}"]


def table(data) -> str:
    pairs = list(data["points"][0]["accuracy"])
    speed = ["bytes of a slot", "slots", "tokens/s"]
    head = ["model", "state bytes", "parameters", *pairs[:-1], pairs[-1] + " pairs", "mean", "rate", *speed]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for p in data["points"]:
        cells = [p["name"], f"{p['state_bytes']:,}", f"{p['parameters']:,}"]
        cells += [f"{100 * share:.0f} %" for share in p["accuracy"].values()] + [f"{100 * p['mean']:.1f} %"]
        cells += [f"{p['rate']:g}", *speed_cells(p)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures")
    parser.add_argument("out")
    parser.add_argument("--speed", nargs="+", metavar="FOLDER")
    args = parser.parse_args()
    with open(args.figures, encoding="utf-8") as f:
        data = json.load(f)
    if args.speed:
        add_speed(data, args.speed)
        with open(args.figures, "w", encoding="utf-8") as f:
            json.dump(data, f, indent=1)
    with open(args.out, "w", encoding="utf-8") as f:
        f.write(draw(data))
    print(table(data))


if __name__ == "__main__":
    main()
