"""Figures of differences: two arms before and after, and what became of the claims.

Use them as `plots.before_after` and `plots.forest`. The first takes the metrics table (see
`srlib.plots`), the second the table of `srlib.analysis.verdicts.answer`, a row of which is
    claim="C1", statement="…", measure="exact_match", effect=0.28, low=0.15, high=0.40, n=64,
    trainings=5, verdict="supported", why="", p_holm=0.0004, also=None, …
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..analysis.verdicts import claim, measures
from ..errors import UserError
from .looks import (
    BAD,
    COLOURS,
    GOOD,
    PALE,
    PERCENT,
    count_text,
    head,
    metric_name,
    new_axes,
    points_text,
    require,
    unique,
    wrapped,
)

VERDICTS = {"supported": (GOOD, "o"), "opposite": (BAD, "X"), "no such effect": (COLOURS[0], "D")}
VERDICTS |= {"open": (PALE, "s"), "not testable": (PALE, "x")}


def before_after(
    metrics: pd.DataFrame,
    before: str,
    after: str,
    show: list[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a dumbbell a metric and data set that both arms have, with intervals; `show`: which."""
    keys = ["metric", "data"]
    require(metrics, *keys, "arm", "value", "n", "low", "high")
    selected = metrics if show is None else metrics[metrics["metric"].isin(show)]
    sides = [unique(selected[selected["arm"] == arm], *keys) for arm in (before, after)]
    both = sides[0].merge(sides[1], on=keys, suffixes=("", "_after"))
    if both.empty:
        raise UserError(f"{before!r} and {after!r} share no metric: name two arms of the table")
    ax = new_axes(ax, 9.5, 2.0 + 0.7 * len(both))
    for row, r in enumerate(both.itertuples()):
        ax.plot([r.value, r.value_after], [row, row], color="#cccccc", lw=5, zorder=1)
        ax.hlines(row - 0.14, r.low, r.high, PALE, lw=1.5)
        ax.hlines(row + 0.14, r.low_after, r.high_after, COLOURS[0], lw=1.5)
        ax.plot(r.value, row, "o", color="white", mec=PALE, mew=2, ms=12, zorder=3)
        ax.plot(r.value_after, row, "o", color=COLOURS[0], ms=8, zorder=4)
        points = f"{points_text(r.value_after - r.value)} points"
        ax.text(1.02, row, points, va="center", transform=ax.get_yaxis_transform())
    counts = both[["n", "n_after"]].apply(count_text, axis=1)
    names = both["metric"].map(metric_name) + "\n" + (both["data"] + ", " + counts).map(wrapped)
    ax.set_yticks(range(len(both)), names)
    ax.set(xticks=np.linspace(0, 1, 6), xlim=(-0.03, 1.03), ylim=(len(both) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(PERCENT)
    ring = Line2D([], [], ls="", marker="o", color="white", mec=PALE, mew=2, ms=12)
    dot = Line2D([], [], ls="", marker="o", color=COLOURS[0], ms=8)
    where = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.3}
    ax.legend([ring, dot], [wrapped(before), wrapped(after)], ncols=2, frameon=False, **where)
    ax.set_title("Before and after", loc="left", fontweight="bold", pad=34)
    ax.set_xlabel("thin lines: 95 % intervals; ↑ more is better, ↓ less is better")
    return ax


ARROWS = {"up": "↑", "down": "↓"}


def _rule(c) -> tuple[str, float | None]:
    """Return a claim's measures with arrows (where it says they go), and its smallest effect."""
    try:
        ways, smallest = measures(c.claim), claim(c.claim)["smallest"]
    except UserError:  # a claim of the user's own
        return c.measure.replace("_", " "), None
    return ", ".join(f"{m.replace('_', ' ')} {ARROWS[way]}" for m, way in ways.items()), smallest


def _numbers(c, prefix: str = "") -> str:
    effect, low, high = (points_text(getattr(c, prefix + k)) for k in ("effect", "low", "high"))
    return f"{effect} [{low}, {high}]"


def _words(c) -> str:
    """Return what stands beside a claim: verdict, reason, numbers."""
    p = "" if np.isnan(c.p_holm) else f", p = {c.p_holm:.3f}"
    words = c.verdict + (", p < 0.001" if c.p_holm < 0.001 else p)
    for reason in (c.why, c.note):
        words += "\n" + wrapped(reason, 52) if isinstance(reason, str) and reason else ""
    if np.isnan(c.effect):
        return words
    also = "" if np.isnan(c.also_effect) else f", {_numbers(c, 'also_')}"
    many = f" × {c.trainings} trainings" if c.trainings > 1 else ""
    return f"{words}\n{_numbers(c)}{also}, n = {c.n}{many}"


def forest(claims_table: pd.DataFrame, smallest: float = 0.05, ax: Axes | None = None) -> Axes:
    """Draw effect and interval a claim (table of `verdicts.answer`), coloured by verdict.

    Inside the grey band an effect is smaller than the smallest that counts (the claim's own, or
    `smallest` for claims that are not the study's). ↑ or ↓: where the claim says that it goes. The
    thin line is the second measure of a claim that has two.
    """
    needed = ("claim", "statement", "measure", "effect", "low", "high", "n", "trainings", "verdict")
    require(
        claims_table,
        *needed,
        "why",
        "note",
        "p_holm",
        "also",
        "also_effect",
        "also_low",
        "also_high",
    )
    if claims_table.empty:
        raise UserError("no claims to draw: pass the table that verdicts.answer gives")
    beside = [_words(c) for c in claims_table.itertuples()]
    height = 0.45 + 0.2 * max(words.count("\n") + 1 for words in beside)
    ax = new_axes(ax, 14, 1.8 + max(0.85, height) * len(claims_table))
    names = []
    for row, (c, words) in enumerate(zip(claims_table.itertuples(), beside, strict=True)):
        measured, band = _rule(c)
        band = smallest if band is None else band
        ax.barh(row, 200 * band, 0.96, left=-100 * band, color="#e4e4e4", zorder=0)
        names.append(wrapped(f"{c.claim}  {c.statement}", 46) + f"\n({measured})")
        _draw(ax, row, c, words)
    ends = claims_table[["low", "high", "also_low", "also_high"]].astype(float)
    reach = 1.08 * np.nanmax([100 * ends.abs().max(axis=None, skipna=True), 10])
    ax.axvline(0, color=PALE, lw=1)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlim=(-reach, reach), ylim=(len(names) - 0.5, -0.5))
    ax.grid(False, axis="y")
    ax.set_xlabel("change in percentage points, interval at the level of the verdict, p after Holm")
    note = "grey: too small to count; ↑ ↓: what the claim says; thin: its second measure"
    head(ax, "What became of the claims", note)
    return ax


def _draw(ax: Axes, row: int, c, words: str) -> None:
    """Draw one claim's intervals, the second measure's thin, and its words at the right."""
    colour, shape = VERDICTS.get(c.verdict, (PALE, "s"))
    if not np.isnan(c.effect):
        ax.hlines(row, 100 * c.low, 100 * c.high, colour, lw=2.2)
        edge = {} if shape == "x" else {"mec": "white"}
        ax.plot(100 * c.effect, row, shape, color=colour, ms=10, zorder=3, **edge)
    if not np.isnan(c.also_effect):
        ax.hlines(row + 0.2, 100 * c.also_low, 100 * c.also_high, colour, lw=1)
        ax.plot(100 * c.also_effect, row + 0.2, "o", color="white", mec=colour, ms=5, zorder=3)
    right = {"transform": ax.get_yaxis_transform(), "va": "center", "color": colour}
    ax.text(1.02, row, words, **right, fontweight="bold")
