"""How far the refusal grader agrees with labels: kappa with its interval, a line a labelled model.

The table is `agreement.table`'s: data="xstest", model="gpt4", kind="instruction-tuned", label=…,
n=450, kappa=0.95, kappa_low=0.92, kappa_high=0.98.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from .looks import COLOURS, MARKERS, head, new_axes, require, wrapped


def kappas(table: pd.DataFrame, others: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw a line a row of the table, coloured by kind of model; below them, without an interval,
    the `others`: what other graders reach (`agreement.anchors`)."""
    require(table, "data", "model", "kind", "n", "kappa", "kappa_low", "kappa_high")
    others = others.assign(model=others["kind"], kind="another grader")
    rows = pd.concat([table, others], ignore_index=True)
    ax = new_axes(ax, 9, 1.6 + 0.34 * len(rows))
    for number, (kind, part) in enumerate(rows.groupby("kind", sort=False)):
        colour, mark = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        ax.hlines(part.index, part["kappa_low"], part["kappa_high"], colour, lw=2.5, alpha=0.5)
        ax.plot(part["kappa"], part.index, mark, color=colour, ms=8, mec="white", label=kind)
    names = [f"{row.data}, {row.model} (n = {row.n})" for row in rows.itertuples()]
    ax.set_yticks(range(len(rows)), [wrapped(name, 56) for name in names])
    low = min(0.0, rows["kappa_low"].min())
    ax.set(xlim=(low - 0.02, 1.02), ylim=(len(rows) - 0.4, -0.6), xlabel="Cohen's kappa")
    ax.grid(False, axis="y")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, title="kind of model")
    note = "0: no better than chance, 1: always; lines are 95 % intervals"
    head(ax, "The refusal grader against labels", note)
    return ax
