"""What all figures share: the theme, colours, wordings of labels, and checks of their tables.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), some darkened to be read as
letters. Example: `metric_name("attack_success_rate")` is "attack success rate ↓".
"""

from __future__ import annotations

import re
import textwrap
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import ScaledTranslation

from ..errors import UserError

INK, PALE, GOOD, BAD = "#333333", "#666666", "#00785A", "#C04F00"
COLOURS = ["#0072B2", "#D55E00", "#00805F", "#B0508A", "#946C00", "#000000", "#3A9AD9"]
MARKERS = "osD^vPXp"  # one more than colours: 56 pairs before one comes back
BETTER = {"exact_match": "↑", "refusal_rate": "↑", "attack_success_rate": "↓"}
BETTER |= {"over_refusal_rate": "↓", "incoherent_rate": "↓", "off_topic_rate": "↓"}
BETTER |= {"truncated_rate": "↓", "unscored_rate": "↓"}
AXES = {"k": "reasoning demonstrations (k)", "m": "safety-aware demonstrations (m)"}
PERCENT = PercentFormatter(1, decimals=0)
NARROW = 6.0  # inches: below, a key stands under the axes instead of beside them


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


def is_narrow(ax: Axes) -> bool:
    """Return whether the figure has no room for anything beside its axes (a phone's width)."""
    return ax.figure.get_size_inches()[0] < NARROW


def x_label(ax: Axes, words: str) -> None:
    """Write the words under the x axis, wrapped where the figure is narrow."""
    ax.set_xlabel(wrapped(words, 30 if is_narrow(ax) else 1000))


def key_place(ax: Axes) -> dict:
    """Return where `ax.legend` puts a key: right of the axes, in a narrow figure below them and
    the label of x, which must be there."""
    look = {"loc": "upper left", "borderaxespad": 0, "frameon": False, "alignment": "left"}
    if not is_narrow(ax):
        return look | {"bbox_to_anchor": (1.01, 1)}
    points = 46 + 15 * ax.get_xlabel().count("\n")
    below = ax.transAxes + ScaledTranslation(0, -points / 72, ax.figure.dpi_scale_trans)
    return look | {"bbox_to_anchor": (0, 0), "bbox_transform": below}


def _letters(ax: Axes, inches_a_letter: float) -> int:
    """Return how many letters find room in a line above the axes."""
    place = ax.get_subplotspec()
    columns = place.get_gridspec().ncols if place else 1
    inches = ax.figure.get_size_inches()[0] / columns - 0.9  # left of the axes stand its labels
    return max(12, int(inches / inches_a_letter))


def head(ax: Axes, title: str, note: str, pad: int = 26) -> None:
    """Write the title, and a pale note under it, both wrapped to the figure's width."""
    note = wrapped(note, _letters(ax, 0.085))
    pad += 15 * note.count("\n")
    ax.set_title(wrapped(title, _letters(ax, 0.12)), loc="left", fontweight="bold", pad=pad)
    place = {"xycoords": "axes fraction", "textcoords": "offset points"}
    ax.annotate(note, (0, 1), (0, 5), **place, color=PALE, va="bottom")


def count_text(n: pd.Series) -> str:
    """Return "n = 50", or "n = 48–64" where the counts differ."""
    low, high = int(n.min()), int(n.max())
    return f"n = {low}" if low == high else f"n = {low}–{high}"


def stack(
    ax: Axes, shares: pd.DataFrame, looks: dict, counts: pd.Series, title: str, note: str
) -> None:
    """Draw a bar of 100 % a row of `shares`, shared out by its columns; `counts` stands at its end,
    the note under the x axis.

    `looks`: column -> (colour, ink on it, hatch or None), in the order in which they are stacked.
    """
    narrow, left = is_narrow(ax), pd.Series(0.0, shares.index)
    for name, (colour, ink, hatch) in looks.items():
        look = {"color": colour, "hatch": hatch, "edgecolor": "white" if ink == "white" else PALE}
        ax.barh(range(len(shares)), shares[name], 0.74, left=left, lw=0.5, label=name, **look)
        pad = {"facecolor": colour, "edgecolor": "none", "pad": 1.5} if hatch else None
        for row, (start, share) in enumerate(zip(left, shares[name], strict=True)):
            if share >= (0.22 if narrow else 0.055):  # wide enough for the words
                look = {"color": ink, "ha": "center", "va": "center", "bbox": pad}
                ax.text(start + share / 2, row, f"{share:.0%}", **look)
        left += shares[name]
    for row, n in enumerate(counts):
        ax.text(1.012, row, f"n = {n:.0f}", va="center", transform=ax.get_yaxis_transform())
    ax.set_yticks(range(len(shares)), [wrapped(row, 14 if narrow else 34) for row in shares.index])
    ax.set(xlim=(0, 1), ylim=(len(shares) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(PERCENT)
    ax.grid(False)
    x_label(ax, note)
    if narrow:
        ax.set_xticks([0, 0.5, 1])
        ax.legend(**key_place(ax), labelspacing=0.3)
        ax.set_title(wrapped(title, 20), loc="left", fontweight="bold")
        return
    where = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.3}
    columns = 3 if len(looks) <= 6 else 4  # two or three lines of them: the title stands above
    ax.legend(**where, ncols=columns, frameon=False, columnspacing=1.4, labelspacing=0.3)
    lines = -(-len(looks) // columns)
    ax.set_title(wrapped(title), loc="left", fontweight="bold", pad=14 + 18 * lines)


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


def save(figure: Axes | Figure, folder: str | Path, name: str) -> tuple[Path, Path]:
    """Write folder/figures/name.png (200 dpi) and .svg; return both paths.

    The same figure gives the same bytes: no dates, and ids in the SVG drawn from a fixed salt.
    """
    if not re.fullmatch(r"\w[\w. =+-]*", name):
        raise UserError(f"figure name {name!r}: give a plain file name, no folder")
    figure = figure if isinstance(figure, Figure) else figure.figure
    target = Path(folder) / "figures"
    target.mkdir(parents=True, exist_ok=True)
    png, svg = target / f"{name}.png", target / f"{name}.svg"
    tight = {"bbox_inches": "tight", "pad_inches": 0.15}
    with plt.rc_context({"svg.hashsalt": "srlib"}):
        figure.savefig(png, dpi=200, metadata={"Software": None}, **tight)
        figure.savefig(svg, metadata={"Date": None}, **tight)
    return png, svg
