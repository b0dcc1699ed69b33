"""What all figures share: the theme, colours, wordings of labels, and checks of their tables.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), some darkened to be read as
letters. Example: `metric_name("attack_success_rate")` is "attack success rate ↓".
"""

from __future__ import annotations

import textwrap
from functools import cache

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from srlib.errors import UserError

INK, PALE, GOOD, BAD = "#333333", "#666666", "#00785A", "#C04F00"
COLOURS = ["#0072B2", "#D55E00", "#00805F", "#B0508A", "#946C00", "#000000", "#3A9AD9"]
MARKERS = "osD^vPXp"  # one more than colours: 56 pairs before one comes back
BETTER = {"exact_match": "↑", "refusal_rate": "↑", "attack_success_rate": "↓"}
BETTER |= {"over_refusal_rate": "↓", "incoherent_rate": "↓", "off_topic_rate": "↓"}
BETTER |= {"truncated_rate": "↓", "unscored_rate": "↓"}
AXES = {"k": "reasoning demonstrations (k)", "m": "safety-aware demonstrations (m)"}
PERCENT = PercentFormatter(1, decimals=0)


@cache
def style() -> None:
    """Set the seaborn theme, once a process: what you change after the first call stays changed."""
    import seaborn as sns

    rc = {"font.sans-serif": ["DejaVu Sans"], "axes.titlesize": 14, "axes.labelsize": 12}
    for part in ("font.size", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"):
        rc[part] = 11
    rc |= {"text.color": INK, "axes.labelcolor": INK, "grid.color": "#e6e6e6"}
    sns.set_theme(style="whitegrid", palette=COLOURS, rc=rc)


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return `ax`, or else a new one of that size (inches), in the house style."""
    style()
    return ax or plt.subplots(figsize=(width, height), layout="constrained")[1]


def wrapped(words: object, width: int = 1000) -> str:
    """Return words wrapped, with no dollar sign read as a formula."""
    return textwrap.fill(str(words), width).replace("$", r"\$")


def metric_name(metric: str) -> str:
    """Return a metric in words, with the arrow of what is better: "exact match ↑"."""
    words = metric.replace("over_refusal", "over-refusal").replace("_", " ")
    return f"{words} {BETTER.get(metric, '')}".strip()


def points_text(share: float) -> str:
    """Return a difference of shares in percentage points: "−12", "+3", "0"."""
    return f"{100 * share:+.0f}".replace("-", "−").replace("+0", "0").replace("−0", "0")


def head(ax: Axes, title: str, note: str, pad: int = 26) -> None:
    """Write the title, and a pale note under it."""
    ax.set_title(wrapped(title), loc="left", fontweight="bold", pad=pad)
    place = {"xycoords": "axes fraction", "textcoords": "offset points"}
    ax.annotate(wrapped(note), (0, 1), (0, pad - 18), **place, color=PALE)


def count_text(n: pd.Series) -> str:
    """Return "n = 50", or "n = 48–64" where the counts differ."""
    low, high = int(n.min()), int(n.max())
    return f"n = {low}" if low == high else f"n = {low}–{high}"


def stack(ax: Axes, shares: pd.DataFrame, looks: dict, counts: pd.Series) -> None:
    """Draw a bar of 100 % a row of `shares`, shared out by its columns; `counts` stands at its end.

    `looks`: column -> (colour, ink on it, hatch or None), in the order in which they are stacked.
    """
    left = pd.Series(0.0, shares.index)
    for name, (colour, ink, hatch) in looks.items():
        look = {"color": colour, "hatch": hatch, "edgecolor": "white" if ink == "white" else PALE}
        ax.barh(range(len(shares)), shares[name], 0.74, left=left, lw=0.5, label=name, **look)
        pad = {"facecolor": colour, "edgecolor": "none", "pad": 1.5} if hatch else None
        for row, (start, share) in enumerate(zip(left, shares[name], strict=True)):
            if share >= 0.055:  # wide enough for the words
                look = {"color": ink, "ha": "center", "va": "center", "bbox": pad}
                ax.text(start + share / 2, row, f"{share:.0%}", **look)
        left += shares[name]
    for row, n in enumerate(counts):
        ax.text(1.012, row, f"n = {n:.0f}", va="center", transform=ax.get_yaxis_transform())
    ax.set_yticks(range(len(shares)), [wrapped(row, 34) for row in shares.index])
    ax.set(xlim=(0, 1), ylim=(len(shares) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(PERCENT)
    ax.grid(False)
    where = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.3}
    columns = 3 if len(looks) <= 6 else 4  # two lines of them: the title stands above
    ax.legend(**where, ncols=columns, frameon=False, columnspacing=1.4, labelspacing=0.3)


def require(table: pd.DataFrame, *columns: str) -> None:
    """Raise UserError if the table lacks one of the columns."""
    if lacking := [c for c in columns if c not in table.columns]:
        raise UserError(f"the table lacks {', '.join(lacking)}: see the columns of metrics.tidy")


def pick(metrics: pd.DataFrame, metric: str, data: str | None, argument: str) -> pd.DataFrame:
    """Return the rows of one metric on one data set, or say which choice is open."""
    require(metrics, "arm", "data", "metric", "value", "n", "low", "high")
    rows = metrics[metrics["metric"] == metric]
    rows = rows if data is None else rows[rows["data"] == data]
    if rows.empty:
        known = ", ".join(map(str, metrics["metric"].unique()))
        raise UserError(f"no {metric}{f' on {data}' if data else ''}: the table has {known}")
    if len(sets := rows["data"].unique()) > 1:
        raise UserError(f"{metric} is there for {', '.join(sets)}: name one with {argument}=")
    return rows


def unique(rows: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """Return the rows; raise UserError if two share the same keys."""
    require(rows, *keys)
    if rows.duplicated(list(keys)).any():
        raise UserError(f"several rows share one {' and '.join(keys)}: filter the table first")
    return rows
