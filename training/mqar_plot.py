"""Draws accuracy against state bytes, and against tokens/s at a fixed memory for states; prints both as a table.

    mqar_plot.py FIGURES.json OUT.svg [--speed FOLDER]

FIGURES.json is what mqar.py wrote. FOLDER holds what `basalt bench engine --json` wrote, NAME.json for each folder NAME
of `mqar.py --configs`; its figures go into FIGURES.json.
"""

import argparse
import json
import math
import os

WIDTH, HEIGHT, TOP, BOTTOM = 1040, 440, 60, 50
LOWEST = 0.5  # share at the lower end of the axis
LEFT, MIDDLE = (60, 510), (580, 880)  # the x of each panel's ends
COLORS = {16: "#1f5fa8", 64: "#2e8b57", 128: "#b8860b", "attention": "#222", "mamba-2": "#a33"}


def text(x, y, words, anchor="middle", color="#222", weight="normal"):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{color}" font-weight="{weight}">{words}</text>'


def name_of(point) -> tuple[int | str, str]:
    """The line that a point belongs to, a window of BASED or a kind of model, and the point's label."""
    kind, *dials = point["name"].split()
    dials = dict(d.split("=") for d in dials)
    if kind == "based":
        return int(dials["w"]), f"f={dials['f']}"
    return kind, f"n={dials['n']}" if dials else ""


class Panel:
    """Accuracy over a logarithmic axis."""

    def __init__(self, ends, title: str, caption: str, points: list[tuple[float, dict]], unit):
        """`unit` writes a power of two."""
        self.ends, self.points = ends, points
        sizes = [math.log2(x) for x, _ in points]
        self.low, self.high = math.floor(min(sizes)), math.ceil(max(sizes))
        self.svg = [
            text(ends[0], 22, title, "start", weight="bold"),
            text(sum(ends) / 2, HEIGHT - 10, caption),
        ]
        for power in range(self.low, self.high + 1):
            self.svg.append(text(self.at(2**power, 1)[0], HEIGHT - BOTTOM + 18, unit(2**power)))
        for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1):
            y = self.at(2**self.low, share)[1]
            self.svg.append(f'<line x1="{ends[0]}" x2="{ends[1]}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            self.svg.append(text(ends[0] - 6, y + 4, f"{share:.0%}", "end"))

    def at(self, x, share):
        left, right = self.ends
        bottom = HEIGHT - BOTTOM
        return (
            left + (math.log2(x) - self.low) / (self.high - self.low) * (right - left),
            bottom - (share - LOWEST) / (1 - LOWEST) * (bottom - TOP),
        )

    def draw(self) -> list[str]:
        lines = {}
        for x, point in self.points:
            line, label = name_of(point)
            lines.setdefault(line, []).append((*self.at(x, point["mean"]), label))
        for line, dots in lines.items():
            color = COLORS[line]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in dots)
            self.svg.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{path}"/>')
            for x, y, label in dots:
                self.svg.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>')
                self.svg.append(text(x, y - 8, label, color=color))
        return self.svg


def draw(data) -> str:
    points = data["points"]
    caption = f"state of one sequence of {data['length']} tokens, fp32"
    title = "Recall against state: MQAR, mean of 8 to 96 pairs"
    svg = Panel(LEFT, title, caption, [(p["state_bytes"], p) for p in points], lambda n: f"{n // 1024} KiB").draw()
    fast = [(p["speed"]["tokens_per_second"], p) for p in points if "speed" in p]
    if fast:
        title, caption = "Recall against speed at a fixed memory", f"tokens/s, {data['speed_of']}"
        svg += Panel(MIDDLE, title, caption, fast, lambda n: f"{n / 1000:,.0f} k").draw()
    for i, line in enumerate(dict.fromkeys(name_of(p)[0] for p in points)):
        name = f"BASED, window {line}" if isinstance(line, int) else line
        svg.append(text(MIDDLE[1] + 30, TOP + 20 + 20 * i, name, "start", COLORS[line], "bold"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
    head += 'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, *svg, "</svg>"]) + "\n"


def add_speed(data, folder: str):
    """The engine's own bytes of a slot, the slots of a memory, and tokens/s with all of them."""
    for p in data["points"]:
        file = os.path.join(folder, p["name"].replace(" ", "-").replace("=", "") + ".json")
        if os.path.exists(file):
            with open(file, encoding="utf-8") as f:
                report = json.load(f)
            row = [r for r in report["rows"] if r["kind"] == "decode"][-1]  # the first ones are still being compiled
            p["speed"] = dict(
                slot_bytes=report["stateBytes"],
                slots=row["stepRows"],
                tokens_per_second=round(row["tokensPerSecond"]["median"]),
            )
            mebibytes = row["stepRows"] * report["stateBytes"] / 2**20
            data["speed_of"] = f"{report['backend']} backend, {math.ceil(mebibytes)} MiB of states"


def table(data) -> str:
    pairs = list(data["points"][0]["accuracy"])
    speed = ["bytes of a slot", "slots", "tokens/s"]
    head = ["model", "state bytes", "parameters", *pairs[:-1], pairs[-1] + " pairs", "mean", "rate", *speed]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for p in data["points"]:
        cells = [p["name"], f"{p['state_bytes']:,}", f"{p['parameters']:,}"]
        cells += [f"{100 * share:.0f} %" for share in p["accuracy"].values()] + [f"{100 * p['mean']:.1f} %"]
        cells += [f"{p['rate']:g}", *(f"{v:,}" for v in p.get("speed", {}).values())]
        cells += [""] * (len(head) - len(cells))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures")
    parser.add_argument("out")
    parser.add_argument("--speed")
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
