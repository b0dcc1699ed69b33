"""All arms in one plane: reasoning across, safety up."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd
from matplotlib.axes import Axes

from ..errors import UserError
from .cloud import GREY, draw_faint, entry, matched, reach
from .frontier_lines import looks_of
from .labels import FAR, draw_plane, draw_points, name_points
from .looks import count_text, head, metric_name, new_axes, pick, require, unique, wrapped, x_label


def _both(across: pd.DataFrame, up: pd.DataFrame, label: str, hue: str | None) -> pd.DataFrame:
    """Return a row a point: name, group, x, y, their intervals (…_y those of y)."""
    met = unique(across, label).merge(unique(up, label), on=label, suffixes=("", "_y"))
    met = met.dropna(subset=["value", "value_y"])
    if met.empty:
        raise UserError(f"no {label} has both measures: measure both for one {label} at least")
    # Columns of its own alone: a table's may be called x, name or group.
    points = met[["low", "high", "n", "low_y", "high_y", "n_y"]]
    points = points.assign(x=met["value"], y=met["value_y"], name=met[label], group="")
    if hue is not None:
        require(met, hue)
        kinds = met[hue].convert_dtypes().astype(object)  # 4.0 beside a gap is 4
        points["group"] = kinds.where(kinds.notna(), "none").map(str)
    return points


def _apart(points: pd.DataFrame, named: Collection | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the points to name and those to leave faint, both with colour and marker.

    Groups that hold a named point have the colours; all others are grey.
    """
    labels = dict(named) if isinstance(named, Mapping) else {name: name for name in named or ()}
    if named is not None and not labels:
        raise UserError("named is empty: name an arm of the figure, or leave it out to name all")
    if missing := [name for name in labels if name not in set(points["name"])]:
        raise UserError(f"named {missing[0]!r} is not in the figure: name an arm that is")
    front = points if named is None else points[points["name"].isin(list(labels))]
    looks = looks_of(front["group"].unique())
    front, behind = (
        part.assign(
            colour=[looks[g]["color"] if g in looks else GREY for g in part["group"]],
            marker=[looks[g]["marker"] if g in looks else "o" for g in part["group"]],
        )
        for part in (front, points.drop(front.index))
    )
    front = front.sort_values("group", key=lambda g: pd.factorize(g)[0], kind="stable")
    return front.assign(name=front["name"].map(lambda name: labels.get(name, name))), behind


def _check_ends(points: pd.DataFrame, xmax: float, ymin: float, ymax: float) -> None:
    """Raise UserError where an end of an axis cuts off an interval."""
    for end, name, high in ((xmax, "xmax", points["high"]), (ymax, "ymax", points["high_y"])):
        if high.max() > 1.06 * end:
            raise UserError(f"{name}={end} cuts off an interval up to {high.max():.2f}: raise it")
    if (low := points["low_y"].min()) < 1.06 * ymin - 0.06 * ymax:
        raise UserError(f"ymin={ymin} cuts off an interval down to {low:.2f}: lower it")


def trade_off(
    metrics: pd.DataFrame,
    x: str = "exact_match",
    y: str = "refusal_rate",
    hue: str | None = None,
    label: str = "arm",
    reasoning: str | None = None,
    harmful: str | None = None,
    arrows_from: str | None = None,
    xmax: float = 1.0,
    ymax: float = 1.0,
    ax: Axes | None = None,
    ymin: float = 0.0,
    named: Collection | None = None,
    cloud: pd.DataFrame | None = None,
    lines: str = "95 % intervals",
    title: str = "Reasoning against safety",
) -> Axes:
    """Draw the trade-off plane: a point an arm, thin lines for both 95 % intervals.

    `reasoning` and `harmful` name the data sets of x and y where the table has several; `hue` is a
    column that gives colour and mark; `arrows_from` an arm from which arrows lead to all others;
    `xmax` and `ymax` end the axes early, for values that all lie low; `ymin` starts y late. Names
    stand beside the points; where they find no room, numbers do, with a key at the right. Many
    arms read best with `hue` and a `label` column of names of 6 letters or less: no key of names.

    `named` lists the arms to name (a mapping: arm -> what to call it); all others are drawn faint,
    without interval or name. `cloud` is a table with a row a training (columns of `x`, `y`, and
    `hue`, family or arm; see `srlib.analysis.reference`): faint points behind those that they are
    trainings of. `lines` says what the thin lines are, where the table holds something else in low
    and high.
    """
    across, up = pick(metrics, x, reasoning, "reasoning"), pick(metrics, y, harmful, "harmful")
    points, others = _apart(_both(across, up, label, hue), named)
    _check_ends(points, xmax, ymin, ymax)
    look = list(zip(points["colour"], points["marker"], strict=True))
    looks = {n: look[i] for c in ("name", "group") for i, n in enumerate(points[c])}
    trainings = matched(cloud, looks, (*([hue] if hue else []), "family", "arm"), x, y)
    behind = pd.concat([part[["x", "y", "colour", "marker"]] for part in (others, trainings)])
    extra_entries = [entry("other arms")] if len(others) else []
    extra_entries += [entry("reference trainings")] if len(trainings) else []
    direct, entries = len(points) <= 8, len(points) + points["group"].nunique()
    height = 6.5 if direct else max(7.2, 1 + 0.22 * entries)
    ax = new_axes(ax, 11 if hue or not direct else 9.5 if extra_entries else 7.5, height)
    draw_plane(ax, reach((0, xmax), behind["x"]), reach((ymin, ymax), behind["y"]))
    names = [across["data"].iloc[0], up["data"].iloc[0]]
    x_label(ax, f"{metric_name(x)}  ({names[0]})")
    ax.set_ylabel(wrapped(f"{metric_name(y)}  ({names[1]})"))
    counts = f"{names[0]} {count_text(points['n'])}, {names[1]} {count_text(points['n_y'])}"
    lost = len(set(across[label]) | set(up[label])) - len(points) - len(others)
    left_out = f"; {lost} without both measures left out" if lost else ""
    head(ax, title, f"{counts}; lines: {lines}{left_out}")
    draw_faint(ax, behind)
    draw_points(ax, points, arrows_from)
    far = None if not direct else [] if named is None else FAR
    name_points(ax, points, hue, far, behind[["x", "y"]].to_numpy(float), extra_entries)
    return ax
