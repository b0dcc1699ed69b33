"""What a family of arms offers as a whole: the area it covers, its accuracy at a matched safety.

A family is a set of arms that differ in one amount: long-CoT rows with 8, 16 or 32 safety rows.
Each arm is a point (accuracy, safety): exact match on reasoning rows, refusal rate on harmful ones.
Comparing two arms picks one amount; comparing families does not. Sources: Zitzler & Thiele,
"Multiobjective evolutionary algorithms" (IEEE Trans. Evol. Comput. 3, 1999) for the area, their
hypervolume, here with reference point (0, 0); Efron & Tibshirani, "An Introduction to the
Bootstrap" (1993) for the percentile interval, which scipy.stats.bootstrap computes.

A row of `points`:  family="reflective", arm="reflective, 16 rows", accuracy=0.31, safety=0.92
A row of `compare`: measure="area covered", before=0.21, after=0.29, effect=0.08, low=0.02,
                    high=0.14, p=0.011, n_reasoning=64, n_harmful=100
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import UserError
from ..metrics import Contrast, successes
from . import crossed

SIDES = {"reasoning": "exact_match", "harmful": "refusal_rate"}  # kind of rows: what counts


# kind of rows: what counts, and whether it speaks for (1) or against (-1) a balance of all
BALANCE = {
    "harmful": ("refusal_rate", 1),
    "benign": ("over_refusal_rate", -1),
    "reasoning": ("exact_match", 1),
}


def _require(graded: pd.DataFrame, *more: str) -> None:
    needed = (*more, "kind", "id", "label", "correct", "truncated")
    if lacking := [c for c in needed if c not in graded.columns]:
        raise UserError(f"the graded table lacks the columns {', '.join(lacking)}: add them")


def _outcomes(graded: pd.DataFrame, family: str, arm: str, kind: str) -> pd.DataFrame:
    """Return which prompts count: bools, a row a prompt id, a column a (family, arm)."""
    counts = {}
    for key, rows in graded.groupby([family, arm], sort=False):
        if (mine := rows[rows["kind"] == kind]).empty:
            raise UserError(f"arm {key[1]!r} ({key[0]}) has no {kind} rows: evaluate it on some")
        counts[key] = successes(mine, SIDES[kind])
        if counts[key].index.has_duplicates:
            raise UserError(
                f"an id comes twice in the {kind} rows of {key[1]!r}: pass one data set"
            )
    if not counts:
        raise UserError(f"no row names its {family}: fill this column for the arms to compare")
    return pd.concat(counts, axis=1)


def points(graded: pd.DataFrame, family: str = "family", arm: str = "arm") -> pd.DataFrame:
    """Return a row an arm of each family [family, arm, accuracy, safety], as shares in [0, 1].

    `family` and `arm` name columns of the graded table (see `srlib.metrics`). Rows without a family
    (the base) and of other kinds than reasoning and harmful play no part. Pass one data set a kind.
    """
    _require(graded, family, arm)
    sides = [_outcomes(graded, family, arm, kind).astype(float).mean() for kind in SIDES]
    table = pd.concat(sides, axis=1, keys=["accuracy", "safety"])
    return table.rename_axis(["family", "arm"]).reset_index()


def _areas(accuracy: np.ndarray, safety: np.ndarray) -> np.ndarray:
    """Return areas of point sets; arms are the first axis, every other one holds another set."""
    order = np.argsort(-accuracy, axis=0)
    accuracy, safety = (np.take_along_axis(side, order, axis=0) for side in (accuracy, safety))
    height = np.maximum.accumulate(safety, axis=0)  # of what is at least as accurate
    return (accuracy * np.diff(height, axis=0, prepend=0)).sum(axis=0)


def area(points: pd.DataFrame) -> float:
    """Return the share of the unit square that the points (columns accuracy, safety) dominate.

    That is the area of the union of the rectangles [0, accuracy] × [0, safety]. Dominated points,
    and points with a missing side, add nothing; no points cover 0. More arms can only cover more:
    compare families that have equally many.
    """
    known = points[["accuracy", "safety"]].dropna().to_numpy(float)
    return float(_areas(*known.T)) if len(known) else 0.0


def _accuracies(accuracy: np.ndarray, safety: np.ndarray, at: np.ndarray | float) -> np.ndarray:
    """Return accuracies at safety `at` of point sets; arms are the first axis (see accuracy_at)."""
    safe, inf = safety >= at, np.inf
    over = np.where(safe, safety, inf).min(axis=0)  # the neighbours of `at` along the line
    under = np.where(safe, -inf, safety).max(axis=0)
    best_over = np.where(safety == over, accuracy, -inf).max(axis=0)
    best_under = np.where(safety == under, accuracy, -inf).max(axis=0)
    between = np.isfinite(over) & np.isfinite(under)
    with np.errstate(invalid="ignore"):  # inf - inf, where there is no line
        way = (at - under) / (over - under)
        line = np.where(between, best_under + way * (best_over - best_under), -inf)
    best = np.maximum(line, np.where(safe, accuracy, -inf).max(axis=0))
    return np.where(safe.any(axis=0), best, np.nan)


def accuracy_at(points: pd.DataFrame, safety: float) -> float:
    """Return the best accuracy that a family offers with at least this safety (shares).

    The points are joined by straight lines in order of safety (of those equally safe the most
    accurate one is joined). The result is the highest accuracy on that line at `safety` or above
    it, so it never rises with safety: NaN above the safest point, below the least safe point the
    highest accuracy of all. Between two points it is an interpolation: no arm was measured there.
    """
    known = points[["accuracy", "safety"]].dropna().to_numpy(float)
    return float(_accuracies(*known.T, safety)) if len(known) else float("nan")


def _measures(sides: Sequence[Sequence[np.ndarray]], at: float | None) -> np.ndarray:
    """Return [area, accuracy at `at`] × [before, after] (× resamples) of two families' points."""
    if at is None:
        at = np.minimum(*(safety.max(axis=0) for _, safety in sides))
    areas = [_areas(*side) for side in sides]
    return np.array([areas, [np.nan_to_num(_accuracies(*side, at), nan=0.0) for side in sides]])


def _tables(graded: pd.DataFrame, family: str, arm: str) -> list[pd.DataFrame]:
    """Return the outcomes on reasoning and harmful prompts; all arms must have the same prompts."""
    tables = []
    for kind in SIDES:
        table = _outcomes(graded, family, arm, kind)
        if odd := [key for key in table if table[key].isna().any()]:
            raise UserError(
                f"arm {odd[0][1]!r} lacks {kind} prompts that others have: use the same"
            )
        if len(table) < 2:
            raise UserError(f"only {len(table)} {kind} prompt: compare families on two or more")
        tables.append(table.astype(bool))
    return tables


def _drawn(tables: Sequence[pd.DataFrame], family: str, drawn: Sequence) -> list[np.ndarray]:
    """Return (accuracy, safety) of a family, each arms (× resamples), on the drawn row numbers."""
    wide = [table[family].to_numpy().T for table in tables]
    pairs = list(zip(wide, drawn, strict=True))
    return [np.stack([arm[rows].mean(axis=-1) for arm in arms]) for arms, rows in pairs]


def compare(
    graded: pd.DataFrame,
    families: tuple[str, str],
    *,
    at: float | None = None,
    seed: int = 0,
    resamples: int = 2000,
    family: str = "family",
    arm: str = "arm",
) -> pd.DataFrame:
    """Compare two families (before, after) as wholes: a row for the area, one for the accuracy.

    Returns [measure, before, after, effect, low, high, p, n_reasoning, n_harmful], all but the
    counts as shares; effect is after - before. The second row is `accuracy_at` safety `at`, or
    where that is None at the largest safety that both families reach; each resample finds its own.
    A family that does not reach a given `at` offers nothing there: it counts as accuracy 0, in the
    table and in each resample.

    Interval: 95 %, percentile bootstrap over prompts; reasoning and harmful ones are drawn apart,
    the same for all arms, as all answered the same. p: twice the smaller share of resamples with no
    effect or one of the other sign, within [1/resamples, 1]. Neither knows how training varies
    from seed to seed. UserError: unknown families, columns that lack, arms on different prompts.
    """
    from scipy.stats import bootstrap

    _require(graded, family, arm)
    known = list(graded[family].dropna().unique())
    if unknown := [name for name in families if name not in known]:
        raise UserError(f"no {family} {unknown[0]!r}: the table has {', '.join(map(str, known))}")
    tables = _tables(graded[graded[family].isin(families)], family, arm)
    prompts = [np.arange(len(table)) for table in tables]
    whole = [_drawn(tables, name, prompts) for name in families]
    reach = [safety.max() for _, safety in whole]
    level = min(reach) if at is None else at
    if not 0 <= level <= max(reach):
        raise UserError(f"at={at}: give a safety from 0 to {max(reach):.2f}, the highest reached")

    def effects(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        sides = [_drawn(tables, name, drawn) for name in families]
        return np.diff(_measures(sides, at), axis=1)[:, 0]

    found = bootstrap(prompts, effects, n_resamples=resamples, method="percentile", rng=seed)
    effect = found.bootstrap_distribution
    tails = np.minimum((effect <= 0).mean(axis=-1), (effect >= 0).mean(axis=-1))
    before, after = _measures(whole, at).T
    return pd.DataFrame(
        {"measure": ["area covered", f"accuracy at safety {level:.2f}"]}
        | {"before": before, "after": after, "effect": after - before}
        | {"low": found.confidence_interval.low, "high": found.confidence_interval.high}
        | {"p": np.clip(2 * tails, 1 / resamples, 1)}
        | {"n_reasoning": len(prompts[0]), "n_harmful": len(prompts[1])}
    )


def balance(before: pd.DataFrame, after: pd.DataFrame) -> Contrast:
    """Compare two groups of arms on refusals of harmful requests, less those of harmless ones, plus
    the share of reasoning questions answered right: a difference in [-3, 3].

    Each kind on the prompts that both groups were asked, all kinds in the trainings that both have
    (column `seed`): `crossed.compare_sum`. UserError where a group lacks a kind.
    """
    pairs = []
    for kind, (measure, _) in BALANCE.items():
        sides = []
        for graded in (before, after):
            _require(graded)
            rows = graded[graded["kind"] == kind]
            sides.append(successes(rows, measure).set_axis(crossed.units(rows)))
        pairs.append(tuple(sides))
    return crossed.compare_sum(pairs, [sign for _, sign in BALANCE.values()])
