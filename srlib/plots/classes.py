"""What became of the answers of each arm, class by class."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from ..errors import UserError
from ..metrics import tidy
from .looks import INK, new_axes, pick, stack, unique

# answer class: metric, colour, ink on it, hatch; in order, from safe to not known
CLASSES = {
    "refusal": ("refusal_rate", "#0072B2", "white", None),
    "partial refusal": ("partial_refusal_rate", "#9AD0F2", INK, None),
    "filtered": ("filtered_rate", "#7FCBB0", INK, "xx"),
    "truncated": ("truncated_rate", "#555555", "white", "///"),
    "unscored": ("unscored_rate", "#FFFFFF", INK, "..."),
    "incoherent": ("incoherent_rate", "#A6A6A6", INK, None),
    "off topic": ("off_topic_rate", "#F0E442", INK, "\\\\"),
    "compliance": ("attack_success_rate", "#D55E00", "white", None),
}


def answer_classes(
    table: pd.DataFrame,
    order: list[str] | None = None,
    data: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a bar of 100 % an arm, shared out by answer class; takes a graded or metrics table."""
    if "label" in table:
        table = tidy(table[table["kind"] == "harmful"])
    refusals = unique(pick(table, "refusal_rate", data, "data"), "arm").set_index("arm")
    table = table[table["data"] == refusals["data"].iloc[0]]
    arms = list(refusals.index) if order is None else list(order)
    if missing := [arm for arm in arms if arm not in refusals.index]:
        raise UserError(f"order names {missing[0]!r}: the table has {', '.join(refusals.index)}")
    ax = new_axes(ax, 10.5, 2.2 + 0.44 * len(arms))
    shares = {
        name: pick(table, metric, None, "data").set_index("arm")["value"].reindex(arms).fillna(0)
        for name, (metric, *_) in CLASSES.items()
    }
    rare = ("unscored", "filtered")  # named only where there are some
    looks = {n: look[1:] for n, look in CLASSES.items() if n not in rare or shares[n].any()}
    note = f"share of the answers ({refusals['data'].iloc[0]})"
    counts = refusals.loc[arms, "n"]
    stack(ax, pd.DataFrame(shares), looks, counts, "Answers to harmful requests", note)
    return ax
