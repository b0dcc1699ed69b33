"""The trainings of the study that this project keeps, to see one's own beside: a row a training.

`outputs/reference/<profile>/graded.csv` holds a row a completion:
    arm="long-openo1 ×536, seed 3", family="long CoT", set="long-openo1", amount=0, form="none",
    share=1.0, seed=3, id="h-07", kind="harmful", label="refusal", correct=None, truncated=False
What `trainings` makes of them, for `plots.trade_off(…, cloud=…)` and `plots.frontiers`:
    arm="long-openo1 ×536", family="long CoT", …, seed=3, exact_match=0.48, refusal_rate=0.02, …
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import UserError
from ..metrics import tidy
from ..params import place

MADE_WITH = {"model": "embedded", "reasoning_data": "stories", "harmful_data": "harmful"}
CONDITION = ["arm", "family", "set", "amount", "form", "share"]
TRAINING = ["machine", "seed"]  # what names a training of a condition
COMPLETION = [*TRAINING, "data", "kind", "id"]  # and one of its completions
RATES = ["exact_match", "refusal_rate", "attack_success_rate", "over_refusal_rate"]


def trainings(
    profile: str = "study", folder: str | Path = "outputs/reference", **kept
) -> pd.DataFrame | None:
    """Return the rates of each training of a kept profile: arm (without its seed), family, set,
    amount, form, share, seed, and exact_match, refusal_rate, attack_success_rate and
    over_refusal_rate as shares in [0, 1] (NaN where a training was not asked that kind).

    A seed on another machine is another training: where the file has a column `machine`, so has the
    result. `folder` starts at the project; `kept` picks rows: a column and its value, or a list of
    values (share=1, family=["direct", "reflective"]). None where the profile is not kept. UserError
    where its file lacks columns.
    """
    file = place(folder) / profile / "graded.csv"
    if not file.is_file():
        return None
    graded = pd.read_csv(file, dtype={"id": str, "arm": str, "family": str, "label": str})
    columns = [*CONDITION, "seed", "id", "kind", "label", "correct", "truncated"]
    if lacking := [column for column in (*columns, *kept) if column not in graded]:
        raise UserError(f"{file} lacks the columns {', '.join(lacking)}: write it anew")
    for column, values in kept.items():
        wanted = values if isinstance(values, (list, tuple, set)) else [values]
        graded = graded[graded[column].isin(wanted)]
    # Two notebooks that ask one training keep its rows twice.
    graded = graded.drop_duplicates([*CONDITION, *(c for c in COMPLETION if c in graded)])
    training = [*CONDITION, *(c for c in TRAINING if c in graded)]
    graded["arm"] = graded["arm"].str.replace(r", seed -?\d+$", "", regex=True)
    rates = tidy(graded, by=[*training, "kind"])
    rates = rates[rates["metric"].isin(RATES)]  # each of these belongs to one kind of rows
    wide = rates.pivot(index=training, columns="metric", values="value")
    return wide.reindex(columns=RATES).rename_axis(columns=None).reset_index()
