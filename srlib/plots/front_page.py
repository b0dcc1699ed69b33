"""The opening picture: the whole study in one plane, five conditions named, all else faint.

Use it as `plots.headline`. It takes the table of `srlib.experiment.study.Study.plane`, a row of
which is
    name="long-openo1 ×536", arm="long-openo1 ×536", data="harmful", metric="refusal_rate",
    value=0.02, n=48, low=0.004, high=0.109, rows=536, new_tokens=288, …
with the column "kind of arm", here "long CoT".
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from ..errors import UserError
from .looks import require
from .plane import trade_off

KIND = "kind of arm"
FIVE = {  # a kind of arm, and what the picture calls the condition that stands for it
    "base": "aligned base",
    "short answers": "short answers",
    "long CoT": "long CoT",
    "long CoT + direct rows": "long CoT + direct refusals",
    "long CoT + reflective rows": "long CoT + reflective refusals",
}


def _chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the condition that stands for its kind: an aligned base before others,
    then the most trainings, training rows, safety rows and room for the answer; then the first."""
    condition = rows["arm"].astype(str).str.replace(r", seed -?\d+$", "", regex=True)
    by = rows.assign(_condition=condition, _aligned=condition.str.startswith("aligned base"))
    sizes = [c for c in ("rows", "share", "amount", "new_tokens") if c in by]
    by[sizes] = by[sizes].astype(float).fillna(-1)
    groups = by.groupby(["_condition", "_aligned", *sizes], sort=False)["name"].nunique()
    order = groups.rename("_trainings").reset_index()
    best = order.sort_values(["_aligned", "_trainings", *sizes], ascending=False, kind="stable")
    keys = ["_condition", *sizes]
    return rows[(by[keys] == best.iloc[0][keys]).all(axis=1)]


def _over_trainings(rows: pd.DataFrame, words: str) -> pd.DataFrame:
    """Return a row a measure under a new name: of several trainings their mean and range."""
    if rows["name"].nunique() == 1:
        return rows.assign(name=words)
    firsts = rows.drop_duplicates("metric").set_index("metric")
    values = rows.groupby("metric")["value"].agg(["mean", "min", "max"])
    firsts[["value", "low", "high"]] = values.loc[firsts.index].to_numpy()
    return firsts.assign(name=words).reset_index()


def headline(
    plane: pd.DataFrame,
    named: Mapping[str, str] = FIVE,
    title: str = "Reasoning against safety",
    ax: Axes | None = None,
) -> Axes:
    """Draw all arms of a study in one plane, and name one condition of each kind in `named` (kind
    of arm -> what to call it). All other arms are small and pale, without a name.

    A condition that was trained several times stands at the mean of its trainings, with their range
    as lines, and each of them is a pale point; of one training the lines are 95 % intervals.
    UserError where the plane holds none of the kinds.
    """
    require(plane, KIND, "name", "arm", "metric", "value")
    chosen = {
        kind: _chosen(plane[plane[KIND] == kind]) for kind in named if kind in set(plane[KIND])
    }
    if not chosen:
        raise UserError(
            f"no arm is of a kind to name: the plane has {', '.join(plane[KIND].unique())}"
        )
    trainings = {kind: rows["name"].nunique() for kind, rows in chosen.items()}
    front = [_over_trainings(rows, named[kind]) for kind, rows in chosen.items()]
    drawn = [name for k, rows in chosen.items() if trainings[k] == 1 for name in rows["name"]]
    rest = plane[~plane["name"].isin(drawn)]
    rest = rest.assign(name="a training: " + rest["name"])  # not shown; no condition's name
    most, least = max(trainings.values()), min(trainings.values())
    lines = "95 % intervals" if most == 1 else f"range of {most} trainings, points: their mean"
    lines += "; 95 % interval where there is one" if least == 1 < most else ""
    table = pd.concat([*front, rest], ignore_index=True)
    shown = table[table["name"].isin([named[kind] for kind in chosen])]
    right = min(1.0, 0.05 + shown.loc[shown["metric"] == "exact_match", "high"].max())
    return trade_off(
        table, hue=KIND, label="name", named=list(shown["name"].unique()), lines=lines, xmax=right,
        title=title, ax=ax,
    )  # fmt: skip
