"""Families of arms in the trade-off plane: points joined in order, and the area each covers.

Use it as `plots.frontiers`. It takes the metrics table of `srlib.metrics.tidy`, with
by=("arm", "data", "family", "amount"), a row of which is
    arm="reflective 16", data="advbench", family="reflective", amount=16, metric="refusal_rate",
    value=0.92, n=100, low=0.850, high=0.959
Arms without a family (the base) are drawn where `base` names them. See `srlib.analysis.frontier`
for areas.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..analysis import frontier
from ..errors import UserError
from .cloud import draw_faint, entry, matched, reach
from .labels import FAR, draw_plane, draw_points, label_points
from .looks import (
    AXES,
    COLOURS,
    INK,
    MARKERS,
    count_text,
    head,
    key_place,
    metric_name,
    new_axes,
    pick,
    require,
    unique,
    wrapped,
    x_label,
)

BASES = "*hd<>"  # the marks of base arms: none of the above
WORDS = AXES | {"rows": "training rows", "amount": "safety rows mixed in", "set": "data set"}
WORDS |= {"tokens": "tokens trained on", "step": "training step"}


def looks_of(names: Collection) -> dict:
    """Return a colour, a mark and a kind of line for each name, in the order given."""
    lines = ["-" if turn < len(COLOURS) else "--" for turn in range(len(names))]
    return {
        name: dict(color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], ls=lines[i])
        for i, name in enumerate(names)
    }


def numbers(rows: pd.DataFrame, column: str) -> pd.Series:
    """Return a column as floats, NaN where it is empty; UserError where it holds words."""
    values = pd.to_numeric(rows[column], errors="coerce").astype(float)
    if (odd := rows[column][values.isna() & rows[column].notna()]).size:
        raise UserError(f"{column} holds {odd.iloc[0]!r}: give numbers")
    return values


def _plane(across: pd.DataFrame, up: pd.DataFrame, family: str, order: str, bases: list[str]):
    """Return a row a point (family, order, arm, x, y, intervals, text), the bases' last."""
    keys = [family, order, "arm"]
    points = unique(across, *keys).merge(unique(up, *keys), on=keys, suffixes=("", "_y"))
    points = points.rename(columns={"value": "x", "value_y": "y"}).dropna(subset=["x", "y"])
    if missing := [arm for arm in bases if arm not in set(points["arm"])]:
        raise UserError(f"base {missing[0]!r} is not in the table: name an arm with both measures")
    alone = points["arm"].isin(bases)
    arms = points[~alone].dropna(subset=[family, order])
    if arms.empty:
        raise UserError(f"no arm has both measures, {family} and {order}: fill these columns")
    arms = arms.assign(text=[f"{amount:g}" for amount in arms[order]])
    arms = arms.sort_values(
        [family, order], key=lambda c: c if c.name == order else c.factorize()[0]
    )
    looks = looks_of(arms[family].unique())
    arms["colour"], arms["marker"] = (
        [looks[name][part] for name in arms[family]] for part in ("color", "marker")
    )
    marks = dict(zip(bases, BASES, strict=False))
    base = points[alone].drop_duplicates("arm")
    base = base.assign(text=base["arm"].map(lambda a: wrapped(a, 18)), colour=INK)
    return arms, base.assign(marker=[marks.get(arm, BASES[-1]) for arm in base["arm"]])


def _shade(ax: Axes, points: pd.DataFrame, colour: str) -> None:
    """Shade what the points dominate: all that is less accurate and less safe than one of them."""
    steps = points.sort_values("x", ascending=False)
    heights = steps["y"].cummax()[::-1]
    x, y = [0, *steps["x"][::-1]], [heights.iloc[0], *heights]
    ax.fill_between(x, 0, y, step="pre", color=colour, alpha=0.09, lw=0, zorder=0)
    ax.step([*x, x[-1]], [*y, 0], where="pre", color=colour, lw=0.8, ls=":", alpha=0.8, zorder=1)


def _rings(ax: Axes, points: pd.DataFrame, family: str) -> None:
    """Draw points that coincide with one of another family as rings around it."""
    marks = points.drop_duplicates(["x", "y", family])
    depths = marks.groupby(["x", "y"]).cumcount(ascending=False)
    for p, depth in zip(marks.itertuples(), depths, strict=True):
        if depth:
            ax.plot(p.x, p.y, p.marker, color=p.colour, ms=8 + 7 * depth, mec="white", zorder=3.9)


def _write(ax: Axes, points: pd.DataFrame, family: str, behind: pd.DataFrame) -> None:
    """Write the texts beside the points, one for those that coincide."""
    places = points.groupby(["x", "y"], sort=False)
    firsts = points.drop_duplicates(["x", "y"])
    shared = places[family].nunique(dropna=False).to_numpy() > 1
    firsts = firsts.assign(colour=firsts["colour"].where(~shared, INK))
    texts = places["text"].agg(lambda said: ", ".join(dict.fromkeys(said)))
    label_points(ax, firsts, list(texts), FAR, behind=behind[["x", "y"]].to_numpy(float))
    for text in ax.texts:
        text.set_zorder(6)


def _draw_families(ax: Axes, arms: pd.DataFrame, family: str, area: bool) -> list[Line2D]:
    """Join and shade each family's points; return the entries of the key."""
    handles = []
    for name, line in arms.groupby(family, sort=False):
        look = {"color": line["colour"].iloc[0], "marker": line["marker"].iloc[0]}
        ax.plot(line["x"], line["y"], color=look["color"], lw=1.6, alpha=0.75, zorder=3)
        if area:
            _shade(ax, line, look["color"])
        covers = frontier.area(line.rename(columns={"x": "accuracy", "y": "safety"}))
        said = wrapped(f"{name}, covers {covers:.0%}" if area else name, 30)
        handles.append(Line2D([], [], **look, lw=1.6, ms=9, mec="white", label=said))
    return handles


def frontiers(
    table: pd.DataFrame,
    family: str = "family",
    order: str = "amount",
    base: str | Sequence[str] | None = None,
    area: bool = True,
    reasoning: str | None = None,
    harmful: str | None = None,
    xmax: float = 1.0,
    ax: Axes | None = None,
    cloud: pd.DataFrame | None = None,
) -> Axes:
    """Draw the trade-off plane of families: x exact match, y refusal rate, intervals as thin lines.

    The points of a family are joined in order of `order`, which stands beside each. `area` shades
    what a family dominates and writes its share (`frontier.area`) in the key. `base` names arms to
    mark apart; `reasoning` and `harmful` data sets, where there are several; `xmax` ends x early.
    `cloud` is a table with a row a training (family or arm, exact_match, refusal_rate; see
    `srlib.analysis.reference`): faint points in the colour of their family.
    """
    require(table, family, order, "arm", "metric")
    table = table.assign(**{order: numbers(table, order)})
    across = pick(table, "exact_match", reasoning, "reasoning")
    up = pick(table, "refusal_rate", harmful, "harmful")
    bases = [base] if isinstance(base, str) else list(base or ())
    arms, alone = _plane(across, up, family, order, bases)
    both = pd.concat([alone, arms])  # names find room first
    if both["high"].max() > 1.06 * xmax:
        raise UserError(
            f"xmax={xmax} cuts off an interval up to {both['high'].max():.2f}: raise it"
        )
    ax = new_axes(ax, 10, 6.5)
    looks = {p.arm: (p.colour, p.marker) for p in alone.itertuples()}
    looks |= dict(zip(arms[family], zip(arms["colour"], arms["marker"], strict=True), strict=True))
    behind = matched(cloud, looks, (family, "arm"), "exact_match", "refusal_rate")
    draw_plane(ax, reach((0, xmax), behind["x"]), (0, 1))
    draw_faint(ax, behind)
    handles = _draw_families(ax, arms, family, area)
    draw_points(ax, alone, None)
    for p in alone.itertuples():
        look = {"color": p.colour, "marker": p.marker, "ls": "", "ms": 13, "mec": "white"}
        ax.plot(p.x, p.y, **look, zorder=4)
        handles.append(Line2D([], [], **look, label=wrapped(p.arm, 30)))
    draw_points(ax, arms, None)  # last: an arm in the base's place lies on top
    handles += [entry("reference trainings")] if len(behind) else []
    names = [across["data"].iloc[0], up["data"].iloc[0]]
    x_label(ax, f"{metric_name('exact_match')}  ({names[0]})")
    ax.set_ylabel(wrapped(f"{metric_name('refusal_rate')}  ({names[1]})"))
    title = f"{WORDS.get(family, family)}; beside the points: {WORDS.get(order, order)}"
    ax.legend(handles=handles, **key_place(ax), title=wrapped(title, 30))
    counts = f"{names[0]} {count_text(both['n'])}, {names[1]} {count_text(both['n_y'])}"
    lost = len({*across["arm"], *up["arm"]} - {*both["arm"]})
    left_out = f"; {lost} other arms left out" if lost else ""
    head(ax, "What each family offers", f"{counts}; thin lines: 95 % intervals{left_out}")
    _rings(ax, both, family)
    _write(ax, both, family, behind)
    return ax
