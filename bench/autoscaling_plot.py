"""An SVG of a simulated day: arrivals, and for each policy its replicas and its longest queue.
Nothing but text.
"""

WIDTH, LEFT, PANEL, GAP = 960, 60, 120, 34
COLORS = ["#1f77b4", "#d62728", "#ff7f0e", "#2ca02c", "#9467bd"]


def line(values, x, y, color):
    """Polyline over the maxima of as many groups as there are pixels."""
    step = max(1, len(values) // (WIDTH - LEFT - 20))
    points = [(i, max(values[i : i + step])) for i in range(0, len(values), step)]
    text = " ".join(f"{x(i):.0f},{y(value):.0f}" for i, value in points)
    return f'<polyline points="{text}" fill="none" stroke="{color}" stroke-width="1.2"/>'


def panel(title, top, series, seconds):
    most = max(max(values) for values, _ in series) or 1
    x = lambda t: LEFT + (WIDTH - LEFT - 20) * t / seconds
    y = lambda value: top + PANEL - PANEL * value / most
    out = [
        f'<text x="{LEFT}" y="{top - 6}" font-weight="bold">{title}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - 20}" height="{PANEL}" fill="none" stroke="#999"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{most:,.0f}</text>',
        f'<text x="{LEFT - 6}" y="{top + PANEL}" text-anchor="end">0</text>',
    ]
    return out + [line(values, x, y, color) for values, color in series]


def draw(rate, results, jobs_per_second):
    seconds = len(rate)
    panels = [
        (
            "Load: jobs a second, in replicas that it keeps busy",
            [([one / jobs_per_second for one in rate], "#444")],
        ),
        (
            "Replicas",
            [
                ([count for count, _ in one["history"][:seconds]], color)
                for one, color in zip(results, COLORS)
            ],
        ),
        (
            "Longest queue of a replica, seconds",
            [
                ([wait for _, wait in one["history"][:seconds]], color)
                for one, color in zip(results, COLORS)
            ],
        ),
    ]
    body, top = [], 30
    for title, series in panels:
        body += panel(title, top, series, seconds)
        top += PANEL + GAP
    for one, color in zip(results, COLORS):
        body.append(
            f'<text x="{LEFT}" y="{top}" fill="{color}">{one["policy"]}: p99 {one["p99_s"]} s, '
            f'{one["replica_hours"]} replica-hours</text>'
        )
        top += 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="#fff"/>' + "\n".join(body) + "</svg>\n"
    )
