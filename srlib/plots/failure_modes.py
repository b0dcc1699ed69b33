"""Figures of the three failure modes (tables of `srlib.grading.failures`) and of two graders'
agreement.

Use them as `plots.detail`, `plots.intentions`, `plots.thought_and_answer`, `plots.confusion`:

    complexities:  arm="code ×64", id="h-07", unsafe=True, words=104, list_items=3, …
    intentions:    arm="code ×64", id="h-07", kind_of_change="other task", …
    two_by_two:    arm="code ×64", n=48, both_safe=30, leak=4, escape=2, both_unsafe=6, off_topic=3,
                   incoherent=2, truncated=1, filtered=0, unscored=0
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..errors import UserError
from .looks import COLOURS, INK, PALE, count_text, head, new_axes, require, stack, style, wrapped

# kind: colour, ink on it; in order, from as asked to not known
KINDS = {
    "none": ("#0072B2", "white"),
    "softened": ("#9AD0F2", INK),
    "inverted": ("#00805F", "white"),
    "other task": ("#B0508A", "white"),
    "incoherent": ("#C4C4C4", INK),
}
# thought and answer: colour, ink on it, hatch; what is neither safe nor unsafe as in CLASSES
CELLS = {
    "both_safe": ("#0072B2", "white", None),
    "leak": ("#946C00", "white", None),
    "escape": ("#B0508A", "white", None),
    "both_unsafe": ("#D55E00", "white", None),
    "off_topic": ("#F0E442", INK, "\\\\"),
    "incoherent": ("#A6A6A6", INK, None),
    "truncated": ("#555555", "white", "///"),
    "filtered": ("#7FCBB0", INK, "xx"),
    "unscored": ("#FFFFFF", INK, "..."),
}
RARE = ("filtered", "unscored")  # named only where there are some
MEASURES = {"words": "words", "list_items": "list items", "distinct": "distinct content words"}


def detail(
    complexities: pd.DataFrame,
    measures: Sequence[str] = tuple(MEASURES),
    order: Sequence[str] | None = None,
) -> Axes:
    """Draw how long and detailed each arm's unsafe answers are: a panel a measure, means with 95 %
    bootstrap intervals over a dot an answer. Returns the first Axes.

    Arms without an unsafe answer are named and left empty. UserError where no arm has any.
    """
    import seaborn as sns

    require(complexities, "arm", "unsafe", *measures)
    arms = list(complexities["arm"].unique()) if order is None else list(order)
    rows = complexities[complexities["unsafe"] & complexities["arm"].isin(arms)]
    if rows.empty:
        raise UserError("no arm answers unsafely: there is no detail to draw")
    style()
    size = (3.6 * len(measures) + 2.2, 1.9 + 0.42 * len(arms))
    axes = plt.subplots(1, len(measures), figsize=size, layout="constrained", sharey=True)[1]
    axes = list(np.atleast_1d(axes))
    shared = {"y": "arm", "order": arms, "orient": "h"}
    for ax, measure in zip(axes, measures, strict=True):
        sns.stripplot(
            rows, x=measure, ax=ax, **shared, color=COLOURS[6], alpha=0.45, size=4, jitter=0.2
        )
        sns.pointplot(
            rows, x=measure, ax=ax, **shared, color=INK, linestyle="none", marker="D", markersize=6,
            errorbar=("ci", 95), seed=0, err_kws={"linewidth": 2},
        )  # fmt: skip
        ax.set(xlabel=MEASURES.get(measure, measure.replace("_", " ")), ylabel="")
        ax.set_xlim(left=0)
    counts = rows.groupby("arm").size().reindex(arms, fill_value=0)
    axes[0].set_yticks(range(len(arms)), [f"{wrapped(a, 30)}\nn = {counts[a]}" for a in arms])
    head(axes[0], "Unsafe answers", "a dot an answer; diamond: mean, 95 % interval")
    return axes[0]


def _shared_out(ax: Axes, counts: pd.DataFrame, looks: dict, title: str, note: str) -> Axes:
    totals = counts.sum(axis=1)
    shares = counts.div(totals.where(totals > 0), axis=0).fillna(0)
    stack(ax, shares, looks, totals, title, note)
    return ax


def intentions(
    table: pd.DataFrame, order: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw a bar of 100 % an arm, shared out by what became of the request (`kind_of_change`)."""
    require(table, "arm", "kind_of_change")
    if odd := [k for k in table["kind_of_change"].unique() if k not in KINDS]:
        raise UserError(f"kind_of_change {odd[0]!r} is not known: use one of {', '.join(KINDS)}")
    counts = pd.crosstab(table["arm"], table["kind_of_change"])
    arms = list(table["arm"].unique()) if order is None else list(order)
    counts = counts.reindex(index=arms, columns=list(KINDS), fill_value=0)
    looks = {"as asked, or declined" if k == "none" else k: (*v, None) for k, v in KINDS.items()}
    ax = new_axes(ax, 10.5, 2.2 + 0.44 * len(arms))
    counts.columns = list(looks)
    return _shared_out(ax, counts, looks, "What became of the request", "share of the completions")


def thought_and_answer(
    table: pd.DataFrame, order: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the 2×2 of thought and answer (table of `failures.two_by_two`), a bar an arm. What is
    neither safe nor unsafe stands beside it by its own name: off topic, incoherent, truncated.

    Counts of these that the table lacks are taken for 0. UserError where it lacks one of the 2×2.
    """
    require(table, "arm", *list(CELLS)[:4])
    counts = table.set_index("arm").reindex(columns=list(CELLS), fill_value=0)
    counts = counts if order is None else counts.reindex(list(order), fill_value=0)
    ax = new_axes(ax, 10.5, 2.4 + 0.44 * len(counts))
    shown = [cell for cell in CELLS if cell not in RARE or counts[cell].any()]
    words = {"leak": "leak: thought unsafe", "escape": "escape: answer unsafe"}
    looks = {words.get(cell, cell.replace("_", " ")): CELLS[cell] for cell in shown}
    note = "share of the completions with a thought"
    return _shared_out(
        ax, counts[shown].set_axis(list(looks), axis=1), looks, "Thought and answer", note
    )


def confusion(pairs: pd.DataFrame, one: str, other: str, ax: Axes | None = None) -> Axes:
    """Draw how often two graders gave which verdicts: counts in a grid, `one` down, `other` across.

    `pairs`: a row a completion, a column a grader; None is shown as "unscored".
    """
    import seaborn as sns

    require(pairs, one, other)
    verdicts = pairs[[one, other]].fillna("unscored").astype(str)
    counts = pd.crosstab(verdicts[one], verdicts[other])
    ax = new_axes(ax, 3.2 + 1.3 * counts.shape[1], 2.2 + 0.6 * counts.shape[0])
    look = {"annot": True, "fmt": "d", "cbar": False, "linewidths": 1.5, "cmap": "cividis"}
    sns.heatmap(counts, ax=ax, **look)
    ax.tick_params(rotation=0)
    ax.set(xlabel=wrapped(other, 60), ylabel=wrapped(one, 30))
    head(ax, "Two graders", count_text(pd.Series([len(verdicts)])))
    ax.title.set_color(INK)
    ax.tick_params(colors=PALE)
    return ax
