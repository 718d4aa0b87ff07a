"""Draws accuracy against state bytes from the figures of mqar.py, and prints them as a table.

    mqar_plot.py FIGURES.json OUT.svg
"""

import json
import math
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 440, 60, 170, 40, 50
COLORS = {16: "#1f5fa8", 64: "#2e8b57", 128: "#b8860b", "attention": "#222", "mamba-2": "#a33"}


def text(x, y, words, anchor="middle", color="#222", weight="normal"):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{color}" font-weight="{weight}">{words}</text>'


def groups(points) -> dict:
    """Points of a line by its name: BASED of a window, attention, Mamba-2."""
    result = {}
    for p in points:
        kind, *dials = p["name"].split()
        dials = dict(d.split("=") for d in dials)
        group = int(dials["w"]) if kind == "based" else kind
        label = f"f={dials['f']}" if kind == "based" else f"n={dials['n']}" if dials else ""
        result.setdefault(group, []).append((p["state_bytes"], p["mean"], label))
    return {group: sorted(line) for group, line in result.items()}


def draw(data) -> str:
    sizes = [math.log2(p["state_bytes"]) for p in data["points"]]
    low, high = math.floor(min(sizes)), math.ceil(max(sizes))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(size, share):
        x = LEFT + (math.log2(size) - low) / (high - low) * (right - LEFT)
        return x, bottom - share * (bottom - TOP)

    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        text(LEFT, 22, "Recall against state: MQAR, mean of 8 to 96 pairs", "start", weight="bold"),
        text((LEFT + right) / 2, HEIGHT - 10, f"state of one sequence of {data['length']} tokens, fp32"),
    ]
    for power in range(low, high + 1):
        svg.append(text(at(2**power, 0)[0], bottom + 18, f"{2**power // 1024} KiB"))
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = at(2**low, share)[1]
        svg.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        svg.append(text(LEFT - 6, y + 4, f"{share:.0%}", "end"))
    for i, (group, line) in enumerate(groups(data["points"]).items()):
        color = COLORS[group]
        path = " ".join("{:.1f},{:.1f}".format(*at(size, share)) for size, share, _ in line)
        svg.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{path}"/>')
        for size, share, label in line:
            x, y = at(size, share)
            svg.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>')
            svg.append(text(x, y - 8, label, color=color))
        name = f"BASED, window {group}" if isinstance(group, int) else group
        svg.append(text(right + 20, TOP + 20 + 20 * i, name, "start", color, "bold"))
    return "\n".join([*svg, "</svg>"]) + "\n"


def table(data) -> str:
    pairs = list(data["points"][0]["accuracy"])
    lines = [
        f"| model | state bytes | parameters | {' | '.join(pairs)} pairs | mean |",
        "| --- | --- | --- |" + " --- |" * (len(pairs) + 1),
    ]
    for p in data["points"]:
        shares = " | ".join(f"{100 * share:.0f} %" for share in (*p["accuracy"].values(), p["mean"]))
        lines.append(f"| {p['name']} | {p['state_bytes']:,} | {p['parameters']:,} | {shares} |")
    return "\n".join(lines)


def main():
    figures, out = sys.argv[1:]
    with open(figures, encoding="utf-8") as f:
        data = json.load(f)
    with open(out, "w", encoding="utf-8") as f:
        f.write(draw(data))
    print(table(data))


if __name__ == "__main__":
    main()
