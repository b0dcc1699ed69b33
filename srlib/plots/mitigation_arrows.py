"""The figure of notebook 05: every mitigation on the trade-off plane, with what it costs, and
beside its name how many attacks succeed all the same.

Use it as `plots.mitigations`. It takes the table of `srlib.mitigations.mitigations.points`, a row
of which is
    arm="zero think", family="decoding", accuracy=0.10, accuracy_low=0.04, accuracy_high=0.23,
    safety=0.52, …, unsafe=0.25, …, over_refusal=0.12, added=-40.5, frontier=True, moved="neither"
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..errors import UserError
from .labels import FAR, draw_plane, label_points
from .looks import BAD, INK, PALE, PERCENT, head, metric_name, new_axes, require, wrapped

SIZES = (45, 260)  # square points of the least and of the most tokens added
WIDTH, LINE = 36, 0.235  # letters of a name in a line, inches of a line
BESIDE = (1.03, 0, 0.38, 1)  # where the rows of attack success stand, in parts of the plane


def _sizes(added: pd.Series) -> np.ndarray:
    low, high = min(0.0, added.min()), max(added.max(), 1e-9)
    return np.interp(added, (low, high), SIZES)


def _staircase(ax: Axes, found: pd.DataFrame) -> list[tuple[float, float]]:
    """Draw the frontier, what no other mitigation beats on both axes; return its corners."""
    best = found[found["frontier"]].drop_duplicates(["accuracy", "safety"]).sort_values("accuracy")
    x, y = best["accuracy"], best["safety"]
    corners = [(0, y.iloc[0]), *zip(np.repeat(x, 2), [*np.repeat(y, 2)[1:], 0], strict=True)]
    ax.plot(*zip(*corners, strict=True), color=PALE, lw=1.3, ls=(0, (4, 2)), zorder=1)
    return corners


def mitigations(
    found: pd.DataFrame, title: str = "What gives both?", xmax: float = 1.0, ax: Axes | None = None
) -> Axes:
    """Draw the plane and, at its right, a row a mitigation; return the plane's axes.

    The plane, exact match against refusals: a numbered disc a mitigation, over-refusal as its
    colour, added tokens as its size, 95 % intervals as thin lines, the frontier dashed. The rows,
    by family, give the numbers their names and show attack success with its interval, filled where
    both it and refusals moved (`mitigations.compare`), the unprotected arm's dashed. What was not
    run (no accuracy) has a row that says so. Raises UserError for missing columns, an empty table,
    or an `xmax` that cuts off an interval.
    """
    require(found, "arm", "family", "accuracy", "safety", "over_refusal", "added", "frontier")
    require(found, "unsafe", "unsafe_low", "unsafe_high", "moved")
    numbered = found.assign(number=[str(n) for n in range(1, len(found) + 1)])
    scored = numbered[numbered["accuracy"].notna()]
    if scored.empty:
        raise UserError("no mitigation to draw: evaluate one at least")
    if scored["accuracy_high"].max() > 1.06 * xmax:
        raise UserError(f"xmax={xmax} cuts off an interval: raise it")
    rows = _rows(numbered)
    ax = new_axes(ax, 13.5, max(7.0, 1.9 + LINE * rows["lines"].sum()))
    draw_plane(ax, (0, xmax), (0, 1))
    corners = _staircase(ax, scored)
    for p in scored.itertuples():
        ax.hlines(p.safety, p.accuracy_low, p.accuracy_high, PALE, lw=0.8, alpha=0.45, zorder=2)
        ax.vlines(p.accuracy, p.safety_low, p.safety_high, PALE, lw=0.8, alpha=0.45, zorder=2)
    look = {"cmap": "cividis", "vmin": 0, "vmax": 1, "edgecolors": "white", "linewidths": 0.9}
    discs = ax.scatter(
        scored["accuracy"], scored["safety"], s=_sizes(scored["added"]), c=scored["over_refusal"],
        zorder=4, **look,
    )  # fmt: skip
    bar = ax.figure.colorbar(discs, ax=ax, location="bottom", shrink=0.5, aspect=40, pad=0.02)
    bar.set_label(metric_name("over_refusal_rate"))
    bar.ax.xaxis.set_major_formatter(PERCENT)
    ax.set(xlabel=metric_name("exact_match"), ylabel=metric_name("refusal_rate"))
    low, high = scored["added"].min(), scored["added"].max()
    note = f"size: tokens added a prompt, {low:+.0f} to {high:+.0f}; lines: 95 % intervals"
    head(ax, title, note.replace("-", "−") + "; dashed: the frontier")
    _attacks(ax.inset_axes(BESIDE), rows)
    _number(ax, scored, corners)
    return ax


def _rows(numbered: pd.DataFrame) -> pd.DataFrame:
    """Return the rows from top to bottom: a heading a family (no number), then its mitigations;
    `text` as it is written, `lines` of it, `y` of their middle."""
    rows = []
    for family, members in numbered.groupby("family", sort=False):
        rows.append({"text": wrapped(family, WIDTH), "number": ""})
        for member in members.to_dict("records"):
            rows.append(member | {"text": wrapped(f"{member['number']}  {member['arm']}", WIDTH)})
    table = pd.DataFrame(rows)
    lines = table["text"].str.count("\n") + 1
    return table.assign(lines=lines, y=lines.cumsum() - lines / 2)


def _attacks(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw attack success, a row a mitigation, with its name at the right."""
    for at in rows.loc[rows["family"].eq("unprotected"), "unsafe"]:
        ax.axvline(at, color=PALE, lw=1.3, ls=(0, (4, 2)), zorder=1)
    for row in rows.itertuples():
        weight = "normal" if row.number else "bold"
        where = {"transform": ax.get_yaxis_transform(), "va": "center", "linespacing": 1.05}
        ax.text(1.04, row.y, row.text, fontweight=weight, **where)
        if row.number and pd.isna(row.unsafe):
            ax.text(0.03, row.y, "not run", color=PALE, **where)
        elif row.number:
            fill = BAD if row.moved == "both" else "white"
            ax.hlines(row.y, row.unsafe_low, row.unsafe_high, BAD, lw=1.1, zorder=2)
            ax.plot(row.unsafe, row.y, "D", ms=7, mfc=fill, mec=BAD, mew=1.3, zorder=4)
    ax.set(xlim=(-0.06, 1.06), ylim=(rows["lines"].sum() + 0.2, -0.2), yticks=[])
    ax.set(xticks=[0, 0.5, 1], xlabel=metric_name("attack_success_rate"))
    ax.xaxis.set_major_formatter(PERCENT)
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "linespacing": 1.1}
    words = "filled: this fell and refusals rose\n(this training only); dashed: unprotected"
    ax.annotate(words, (0, 1), (0, 8), color=PALE, **place)


def _number(ax: Axes, made: pd.DataFrame, corners: list[tuple[float, float]]) -> None:
    """Number the discs, one number for those that coincide, off the frontier if that can be."""
    spots = made.groupby(["accuracy", "safety"], sort=False)
    texts = list(spots["number"].agg(",".join))
    places = spots.head(1).rename(columns={"accuracy": "x", "safety": "y"}).assign(colour=INK)
    names = {"low": "accuracy_low", "high": "accuracy_high", "low_y": "safety_low"}
    places = places.assign(**{k: places[v] for k, v in names.items()}, high_y=places["safety_high"])
    label_points(ax, places, texts, FAR, corners)
