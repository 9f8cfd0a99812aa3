# SPDX-License-Identifier: Apache-2.0
"""Plots for the documentation: lines over a logarithmic scale, and groups of bars. Plain SVG text, no library."""
import math
from xml.sax.saxutils import escape

# Colours that people who do not tell red from green can tell apart (Okabe and Ito), dark enough for white.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#333333", "#8b5cf6"]
FONT = 'font-family="sans-serif"'


def _text(x, y, text, size=12, anchor="start", colour="#222", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {FONT} font-size="{size}" text-anchor="{anchor}" fill="{colour}"{more}>{escape(text)}</text>'


def _number(v):
    if v >= 1e6:
        return f"{v / 1e6:g} M"
    return f"{v:,.0f}" if v >= 10 else f"{v:.3g}"


def _document(width, height, parts):
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}">',
                      f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>', *parts, "</svg>", ""])


def _ticks(low, high):
    """1, 2 and 5 of each decade, or only 1 if there are many decades."""
    steps = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    return [m * 10 ** e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in steps
            if low * 0.999 <= m * 10 ** e <= high * 1.001]


def _spread(places, gap):
    """Moves labels apart, those below downwards."""
    moved = []
    for y in places:
        moved.append(y if not moved else max(y, moved[-1] + gap))
    return moved


def lines(title, x_label, y_label, series):
    """series: [(name, [(x, y), ...])]; both scales are logarithmic. Dashed: a name that ends with `unix`."""
    width, height, left, right, top, bottom = 760, 400, 70, 190, 44, 50
    series = [(name, [p for p in points if p[0] > 0 and p[1] > 0]) for name, points in series]
    xs = [x for _, points in series for x, _ in points]
    ys = [y for _, points in series for _, y in points]
    if not xs:
        return _document(width, height, [_text(left, top, title + ": nothing was measured")])
    x_low, x_high, y_low, y_high = min(xs), max(max(xs), min(xs) * 10), min(ys) / 1.3, max(ys) * 1.3

    def place(x, y):
        return (left + (width - left - right) * math.log(x / x_low) / math.log(x_high / x_low),
                height - bottom - (height - top - bottom) * math.log(y / y_low) / math.log(y_high / y_low))

    parts = [_text(left, 22, title, 15, more=' font-weight="bold"'),
             _text((left + width - right) / 2, height - 12, x_label, anchor="middle"),
             _text(16, (top + height - bottom) / 2, y_label, anchor="middle", more=f' transform="rotate(-90 16 {(top + height - bottom) / 2:.1f})"')]
    for v in _ticks(y_low, y_high):
        _, y = place(x_low, v)
        parts += [f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>', _text(left - 6, y + 4, _number(v), 11, "end")]
    for v in sorted(set(xs)):
        x, _ = place(v, y_low)
        parts += [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - bottom}" stroke="#eee"/>',
                  _text(x, height - bottom + 16, _number(v), 11, "middle")]
    labels = []
    for i, (name, points) in enumerate(series):
        if not points:
            continue
        colour, dash = COLOURS[i % len(COLOURS)], ' stroke-dasharray="6 4"' if name.endswith("unix") else ""
        placed = [place(x, y) for x, y in sorted(points)]
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2"{dash} points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in placed)}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        labels.append((placed[-1], name, colour))
    labels.sort(key=lambda label: label[0][1])
    for ((x, at), name, colour), y in zip(labels, _spread([at for (_, at), _, _ in labels], 15)):
        parts.append(f'<line x1="{x + 4:.1f}" y1="{at:.1f}" x2="{width - right + 10}" y2="{y:.1f}" stroke="{colour}" stroke-width="0.5"/>')
        parts.append(_text(width - right + 13, y + 4, name, 12, colour=colour))
    return _document(width, height, parts)


def bars(title, x_label, groups):
    """groups: [(name, [(label, value, is_ours), ...])], each on a linear scale of its own, since they are not to be compared."""
    width, left, right, bar, gap = 760, 250, 80, 16, 26
    parts, y = [_text(16, 22, title, 15, more=' font-weight="bold"'), _text(16, 40, x_label, 12, colour="#555")], 62
    for name, rows in groups:
        rows = [r for r in rows if r[1] is not None]
        if not rows:
            continue
        parts.append(_text(16, y, name, 12, more=' font-weight="bold"'))
        y += 8
        highest = max(v for _, v, _ in rows) or 1
        for label, value, is_ours in rows:
            length = (width - left - right) * value / highest
            parts += [_text(left - 8, y + bar - 4, label, 12, "end"),
                      f'<rect x="{left}" y="{y}" width="{max(length, 1):.1f}" height="{bar - 3}" fill="{COLOURS[0] if is_ours else "#b0b7bf"}"/>',
                      _text(left + length + 6, y + bar - 4, _number(value), 12)]
            y += bar
        y += gap
    return _document(width, y, parts)
