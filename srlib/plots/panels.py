"""What grows with training rows (`plots.growth`), and what figures of several panels share.

It takes the metrics table of `srlib.metrics.tidy`, grouped by the columns that it names:
by=("arm", "data", "set", "rows", "share"), say:
    arm="long-openo1 ×536 at 0.5", data="harmful", set="long-openo1", rows=268, share=0.5,
    metric="refusal_rate", value=0.12, n=48, low=0.058, high=0.242
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..errors import UserError
from .frontier_lines import WORDS, looks_of, numbers
from .looks import (
    INK,
    PALE,
    PERCENT,
    count_text,
    head,
    is_narrow,
    metric_name,
    pick,
    require,
    style,
    unique,
    wrapped,
    x_label,
)

DASHED = (0, (6, 3))
NOTE = "thin lines: 95 % intervals"
GROWING = ("exact_match", ("refusal_rate", "attack_success_rate"))
STROKES = ["-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5))]  # a measure of a panel each
START = {"color": INK, "marker": "*", "ls": "", "ms": 14}  # the base, where lines begin
ALONE = {
    "ls": "",
    "ms": 9,
    "mec": INK,
    "mew": 1.3,
}  # a training beside the one whose parts are joined


def measured(
    metrics: pd.DataFrame, measures: Sequence[str], x: str, hue: str, base, data: Collection[str]
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Return for each measure the rows that have x, hue and a value, and the base's row if any."""
    require(metrics, x, hue, "arm", "data")
    if base is not None and base not in set(metrics["arm"]):
        raise UserError(f"base={base!r} is not in the table: name an arm that is")
    selected = metrics[metrics["data"].isin(data)] if data else metrics
    tables = []
    for measure in measures:
        rows = pick(selected, measure, None, "data")
        rows = rows.assign(**{x: numbers(rows, x)}).dropna(subset="value")
        arms = rows[rows["arm"] != base].dropna(subset=[x, hue])
        if arms.empty:
            raise UserError(f"no arm with {measure} has both {x} and {hue}: fill these columns")
        keys = [hue, x, *(["share"] if "share" in arms else [])]
        tables.append((unique(arms, *keys), unique(rows[rows["arm"] == base], "arm")))
    return tables


def panels(count: int, width: float, height: float, stacked: bool = False) -> list[Axes]:
    """Return axes in one new figure (inches), all from 0 to 100 %; `stacked`: over one x axis."""
    style()
    size = {"figsize": (width, height), "layout": "constrained"}
    shape = (count, 1) if stacked else (1, count)
    figure, axes = plt.subplots(*shape, sharey=True, sharex=stacked, squeeze=False, **size)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    axes[0, 0].set(ylim=(-0.04, 1.04), yticks=np.linspace(0, 1, 6))
    axes[0, 0].yaxis.set_major_formatter(PERCENT)
    return list(axes.flat)


def level(ax: Axes, base: pd.DataFrame, colour: str = PALE) -> None:
    """Draw the base's value as a dashed line, its interval as a band."""
    for r in base.itertuples():
        ax.axhspan(r.low, r.high, color=colour, alpha=0.1, lw=0, zorder=0)
        ax.axhline(r.value, color=colour, ls=DASHED, lw=1.4, zorder=2.5)


def _places(sizes: np.ndarray) -> tuple[np.ndarray, str]:
    """Return where sizes (sorted) stand, and a word on that: log2 where they span 4 times or more.

    0 has no logarithm: it stands one doubling left of the smallest size. Sizes too close to be
    written below the axis stand evenly spaced instead.
    """
    positive, at, scale = sizes[sizes > 0], sizes, ""
    if sizes[0] >= 0 and len(positive) > 1 and positive[-1] >= 4 * positive[0]:
        at, scale = np.log2(np.where(sizes > 0, sizes, positive[0] / 2)), ", log scale"
    if len(at) > 1 and np.diff(at).min() < 0.08 * np.ptp(at):
        return np.arange(len(at), dtype=float), ", evenly spaced"
    return at, scale


def key(axes: list[Axes], entries: dict[str, Line2D], title: str, note: str) -> None:
    """Put the key right of all panels, and a note on x below them; in a narrow figure, which grows
    by its height, the key stands below, too."""
    figure, narrow = axes[0].figure, is_narrow(axes[0])
    place = "outside lower left" if narrow else "outside right upper"
    names = [wrapped(name, 36 if narrow else 24) for name in entries]
    if narrow:
        lines = sum(name.count("\n") + 1 for name in (*names, title))
        figure.set_figheight(figure.get_figheight() + 0.24 * lines + 0.2)
    look = {"frameon": False, "title": title, "alignment": "left"}
    figure.legend(list(entries.values()), names, loc=place, **look)
    if len({ax.get_subplotspec().rowspan.start for ax in axes}) > 1 or len(axes) == 1:
        x_label(axes[-1], note)
    else:
        figure.supxlabel(wrapped(note), fontsize=12)


def _joined(line: pd.DataFrame, x: str) -> np.ndarray:
    """Return which rows are parts of one training, or its whole, as bools: all, without parts."""
    if "share" not in line or not (line["share"] < 1).any():
        return np.ones(len(line), dtype=bool)
    parts = line[line["share"] < 1]
    # The rows of a part are its share of the whole's, rounded.
    whole = line[x].map(lambda size: ((parts["share"] * size - parts[x]).abs() < 0.51).any())
    return (whole | (line["share"] < 1)).to_numpy()


def _stroke(look: dict, turn: int) -> dict:
    """Return the look of a panel's measure number `turn`: the first filled, others dashed, open."""
    if not turn:
        return {"mec": "white", "mew": 0.8} | look
    stroke = {"ls": STROKES[turn % len(STROKES)]} if look["ls"] else {}
    return look | stroke | {"mfc": "white", "mec": look["color"]}


def _grow(ax: Axes, line: pd.DataFrame, at: np.ndarray, start: tuple, x: str, look: dict) -> None:
    """Draw one line at places `at`, from the base's point `start` (places, values) on; trainings
    other than the joined one stand alone, larger."""
    joined = _joined(line, x)
    ax.vlines(at, line["low"], line["high"], look["color"], lw=1, alpha=0.6, zorder=2)
    marks = {"ms": 7, "lw": 1.6, "zorder": 3} | look
    ends = zip(start, (at[joined], line["value"][joined]), strict=True)
    ax.plot(*map(np.concatenate, ends), **marks, markevery=slice(len(start[0]), None))
    if not joined.all():
        edge = {"mec": look["color"], "mew": 2.2} if "mfc" in look else {}  # open marks keep colour
        ax.plot(at[~joined], line["value"][~joined], **marks | ALONE | edge)


def _growing(
    ax: Axes, tables: list[tuple], looks: dict, place: pd.Series, step: float, x: str, hue: str
) -> None:
    """Draw one panel of `growth`: the (arms, base) of each of its measures. `place` holds where
    each x stands, `step` how far lines stand apart."""
    lines = list(itertools.product(range(len(tables)), looks))
    for turn, (number, name) in enumerate(lines):
        rows, base = tables[number]
        line, base = rows[rows[hue] == name].sort_values(x), base.dropna(subset=x)
        beside = place[line[x]].to_numpy() + (turn - (len(lines) - 1) / 2) * step
        start = place[base[x]].to_numpy(), base["value"].to_numpy()
        _grow(ax, line, beside, start, x, _stroke(looks[name], number))
    for number, (_, base) in enumerate(tables):
        level(ax, base[base[x].isna()])
        known = base.dropna(subset=x)
        ax.vlines(place[known[x]], known["low"], known["high"], INK, lw=1.4, zorder=4)
        if len(known):
            ax.plot(place[known[x]], known["value"], **_stroke(START, number), zorder=5)


def _entries(
    groups: list[list[str]],
    tables: dict[str, tuple],
    looks: dict,
    base: str | None,
    x: str,
    hue: str,
) -> dict[str, Line2D]:
    """Return the key of `growth`: values of hue, the base, strokes of measures that share a panel,
    and what stands alone."""
    entries = {str(name): Line2D([], [], **_stroke(look, 0), ms=8) for name, look in looks.items()}
    if base is not None:
        began = any(alone[x].notna().any() for _, alone in tables.values())
        look = _stroke(START, 0) if began else {"color": PALE, "ls": DASHED}
        entries[base] = Line2D([], [], **look)
    plain = {"color": PALE, "marker": "o", "ls": "-", "ms": 8}
    for group in groups:
        strokes = {metric_name(m): _stroke(plain, i) for i, m in enumerate(group)}
        entries |= {n: Line2D([], [], **s) for n, s in strokes.items() if len(group) > 1}
    lines = [line for rows, _ in tables.values() for _, line in rows.groupby(hue, sort=False)]
    if not all(_joined(line, x).all() for line in lines):
        entries["another training"] = Line2D([], [], **plain | ALONE)
    return entries


def growth(
    metrics: pd.DataFrame,
    x: str = "rows",
    hue: str = "set",
    measures: Sequence[str | Sequence[str]] = GROWING,
    base: str | None = None,
    data: Collection[str] = (),
    width: float = 9.0,
) -> Axes:
    """Draw what grows with `x`: panels over one x axis, a line a value of `hue`, intervals as bars.

    `measures`: one a panel, or several, told apart by stroke and filled or open marks. `base` names
    the arm that all lines begin at, where it has an `x` (0 rows); else it is a dashed level, its
    interval a band. `data` names the data sets to keep where a measure has several; `width` is the
    figure's (inches). Where the table has the column `share`, the parts of one training are joined,
    and trainings of other sizes stand alone. Arms without `x` or `hue` are left out.
    """
    groups = [[m] if isinstance(m, str) else list(m) for m in measures]
    names = list(itertools.chain(*groups))
    tables = dict(zip(names, measured(metrics, names, x, hue, base, data), strict=True))
    looks = looks_of(pd.concat([rows for rows, _ in tables.values()])[hue].unique())
    sizes = np.unique(pd.concat([part[x].dropna() for both in tables.values() for part in both]))
    at, scale = _places(sizes)
    gap = np.diff(at).min() if len(at) > 1 else 1.0
    span = max(np.ptp(at), gap)
    step = min(0.03 * span, 0.6 * gap / (len(looks) * max(map(len, groups))))
    axes = panels(len(groups), width, 1.2 + 3 * len(groups), stacked=True)
    for ax, group in zip(axes, groups, strict=True):
        mine = [tables[measure] for measure in group]
        _growing(ax, mine, looks, pd.Series(at, sizes), step, x, hue)
        rows = pd.concat([rows for rows, _ in mine])
        counts = f"{', '.join(rows['data'].unique())}, {count_text(rows['n'])}"
        head(ax, ", ".join(map(metric_name, group)), counts)
    rotation = 90 if gap < 0.14 * span else 0
    axes[-1].set_xticks(at, [f"{size:,.10g}" for size in sizes], rotation=rotation)
    axes[-1].set_xlim(at[0] - 0.12 * span, at[-1] + 0.12 * span)
    entries = _entries(groups, tables, looks, base, x, hue)
    key(axes, entries, WORDS.get(hue, hue), f"{WORDS.get(x, x)}{scale}; {NOTE}")
    return axes[0]
