#!/usr/bin/env python3
"""Draws how many times faster Basalt decodes than attention, against the context, from measured figures.

usage: ratio_plot.py docs/attention-ratio.json docs/attention-ratio.svg; prints the table too.
"""
import json
import math
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 60, 190, 40, 50
CONTEXTS = (1024, 2048, 4096, 8192)
TICKS = (2, 4, 8, 16, 24, 32, 64, 128)
KERNELS = {"flash": "FlashAttention-2", "cudnn": "cuDNN"}
LINES = {  # name: color, dashes
    "each at its best batch": ("#1f5fa8", ""),
    "both at batch 128": ("#2e8b57", "6 3"),
    "both at batch 32": ("#b8860b", "2 3"),
}


def ratios(data, kernel):
    """{name: {context: ratio}}; the best batch of attention is that of the largest rate measured."""
    basalt = {int(batch): rate for batch, rate in data["basalt_tokens_per_second"].items()}
    result = {name: {} for name in LINES}
    for context in CONTEXTS:
        rows = [row for row in data["attention_milliseconds"] if row["context"] == context]
        rates = {row["batch"]: 1000 * row["batch"] / row[kernel] for row in rows}
        result["each at its best batch"][context] = max(basalt.values()) / max(rates.values())
        for batch in (128, 32):
            if batch in rates:
                result[f"both at batch {batch}"][context] = basalt[batch] / rates[batch]
    return result


def x_of(context):
    share = math.log2(context / CONTEXTS[0]) / math.log2(CONTEXTS[-1] / CONTEXTS[0])
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def y_of(ratio):
    share = math.log2(ratio / TICKS[0]) / math.log2(TICKS[-1] / TICKS[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def text(x, y, anchor, words, weight="normal", color="#222"):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}" fill="{color}">{words}</text>'


def draw(data):
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        text(LEFT, 22, "start", f"Decoding at 1.3B: Basalt by attention, tokens/s, {data['card']}, {data['date']}", "bold"),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "middle", "context, tokens"),
    ]
    for context in CONTEXTS:
        svg.append(text(x_of(context), HEIGHT - BOTTOM + 18, "middle", f"{context:,}"))
    for tick in TICKS:
        color, width = ("#c33", 1.5) if tick == 24 else ("#ddd", 1)
        svg.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(tick):.1f}" y2="{y_of(tick):.1f}" '
                   f'stroke="{color}" stroke-width="{width}"/>')
        svg.append(text(LEFT - 6, y_of(tick) + 4, "end", f"{tick}"))
    svg.append(text(WIDTH - RIGHT + 6, y_of(24) + 4, "start", "24, the paper", color="#c33"))
    legend = TOP + 165
    for kernel, kernel_name in KERNELS.items():
        for name, points in ratios(data, kernel).items():
            color, dashes = LINES[name]
            width = 2.5 if kernel == "flash" else 1.2
            path = " ".join(f"{x_of(c):.1f},{y_of(r):.1f}" for c, r in points.items())
            svg.append(f'<polyline fill="none" stroke="{color}" stroke-width="{width}" stroke-dasharray="{dashes}" '
                       f'points="{path}"/>')
            svg += [f'<circle cx="{x_of(c):.1f}" cy="{y_of(r):.1f}" r="3" fill="{color}"/>' for c, r in points.items()]
            svg.append(f'<line x1="{WIDTH - RIGHT + 8}" x2="{WIDTH - RIGHT + 30}" y1="{legend}" y2="{legend}" '
                       f'stroke="{color}" stroke-width="{width}" stroke-dasharray="{dashes}"/>')
            svg.append(text(WIDTH - RIGHT + 34, legend + 4, "start", f"{kernel_name},"))
            svg.append(text(WIDTH - RIGHT + 34, legend + 17, "start", name))
            legend += 34
    return "\n".join(svg + ["</svg>", ""])


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        data = json.load(file)
    for kernel, name in KERNELS.items():
        for line, points in ratios(data, kernel).items():
            print(f"{name:17} {line:23}", *(f"{context:,}: {ratio:.1f}" for context, ratio in points.items()), sep="  ")
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(draw(data))


main()
