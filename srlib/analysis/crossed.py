"""Prompts × trainings, both a sample: the difference of two conditions, with interval and p.

A training differs from the next by its seed (order of rows, adapter, draw of rows), so that a
statement about training *data* has to hold for trainings that were not made, as it has to for
prompts that were not asked. With D the trainings × prompts matrix of differences (S × n) and MSs,
MSp, MSe its mean squares for trainings, prompts and the rest, the mean difference has the variance
(MSs + MSp - MSe) / (nS), with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946,
110-114); Clark (J. Verbal Learning 12, 1973, 335-359) for the design. Averaging the seeds of each
prompt and testing over prompts rejects a true null far too often (tests/analysis/test_crossed.py).

    compare(before, after)                    ->   Contrast(effect=-0.61, trainings=5, n=48, …)
    power([48], 5, [(0.9, 0.5)], 0.05, 0.01)  ->   0.35
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache, reduce

import numpy as np
import pandas as pd

from ..base import contrasts
from ..base.contrasts import Contrast
from ..errors import UserError
from ..text.topics import folded

FIXED = -1  # the seed of a side that was not trained anew: all trainings of the other start there
LEAST = 5  # trainings of each condition, for a verdict about training data
SPREAD = (1.5, 0.5)  # over prompts and trainings, standard deviations in logits; for planning
ENOUGH = 0.8  # power
Pair = tuple[pd.Series, pd.Series]  # before, after: bools or shares, indexed as by `units`


def units(rows: pd.DataFrame) -> pd.MultiIndex:
    """Return (seed, prompt) of a graded table's rows, for `compare`.

    Rows without a seed count as trained with seed 0; a base (family "base") that comes with one
    seed is FIXED. Copies of a prompt, the same words whatever their id, are one prompt.
    """
    seeds = rows["seed"] if "seed" in rows else pd.Series(0, rows.index)
    if "family" in rows and rows["family"].eq("base").all() and seeds.nunique(dropna=False) == 1:
        seeds = pd.Series(FIXED, rows.index)
    ids = rows["id"].astype(str)
    if "prompt" in rows:
        words = rows["prompt"].fillna("").map(folded)
        ids = words.where(words != "", ids)
    return pd.MultiIndex.from_arrays([seeds.fillna(FIXED), ids], names=["seed", "prompt"])


def matrices(before: pd.Series, after: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both sides as tables of shares, trainings × prompts, of what both have.

    Several values of a cell (data sets, copies of a prompt, samples) are averaged; a prompt that
    lacks a value in any training is left out. UserError where nothing is shared.
    """
    if before.empty or after.empty:
        raise UserError("one of the two groups has no rows: compare arms that were asked something")
    wide = [side.astype(float).groupby(level=[0, 1]).mean().unstack() for side in (before, after)]
    wide = [_at_each(mine, other.index) for mine, other in zip(wide, reversed(wide), strict=True)]
    seeds = wide[0].index.intersection(wide[1].index)
    if seeds.empty:
        raise UserError("the two groups share no training seed: train both with the same seeds")
    kept = [side.loc[seeds].dropna(axis=1) for side in wide]
    prompts = kept[0].columns.intersection(kept[1].columns)
    if prompts.empty:
        raise UserError("the two groups share no prompt id: compare arms run on the same data")
    return kept[0][prompts], kept[1][prompts]


def _at_each(side: pd.DataFrame, seeds: pd.Index) -> pd.DataFrame:
    """A side that is FIXED, repeated for each training of the other."""
    if [*side.index] != [FIXED]:
        return side
    return pd.DataFrame(np.repeat(side.to_numpy(), len(seeds), axis=0), seeds, side.columns)


def compare(before: pd.Series, after: pd.Series) -> Contrast:
    """Compare two conditions: bools or shares a side, indexed by (seed, prompt) as by `units`.

    Two or more trainings: the two-way test. One: the exact McNemar test where every prompt counts
    or does not, else Student's t over prompts; both speak of this training alone.
    """
    return compare_sum([(before, after)])


def compare_sum(pairs: Sequence[Pair], signs: Sequence[int] = ()) -> Contrast:
    """Compare two conditions on a sum of rates, each over prompts of its own kind.

    `signs`: 1 for a rate that is added, -1 for one that is taken away; by default all are added.
    """
    signs = list(signs) or [1] * len(pairs)
    tables = [matrices(*pair) for pair in pairs]
    seeds = reduce(pd.Index.intersection, [before.index for before, _ in tables])
    if seeds.empty:
        raise UserError("the kinds of prompts share no training seed: ask every training all kinds")
    sides = [[side.loc[seeds].to_numpy() for side in table] for table in tables]
    if len(seeds) == len(sides) == signs[0] == 1 and np.isin(sides[0], (0, 1)).all():
        return contrasts.paired(*(pd.Series(side[0] == 1) for side in sides[0]))
    weighed = [*zip(signs, sides, strict=True)]
    differences = [sign * (after - before) for sign, (before, after) in weighed]
    n = sum(part.shape[1] for part in differences)
    if len(seeds) > 1:
        effect, se, df = (float(x) for x in two_way(differences))
    else:
        effect = float(sum(part.mean() for part in differences))
        se = math.hypot(*(contrasts.padded_error(part[0]) for part in differences))
        df = max(1, n - len(differences))
    rates = [float(sum(sign * side[k].mean() for sign, side in weighed)) for k in (0, 1)]
    more = {"trainings": len(seeds), "span": float(len(pairs))}
    return contrasts.from_error(effect, se, df, n, rates, **more)


def two_way(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return effect, standard error and degrees of freedom of a sum of mean differences.

    Each part is an array (…, trainings, prompts) of differences in [-1, 1], on prompts of its own;
    all have the same two or more trainings, and the same leading axes, which the results keep. The
    variance is at least that of `contrasts.padded_error` for prompts that all agree (the mean
    squares can cancel out), the degrees of freedom there at least one less than the trainings.
    """
    trainings = parts[0].shape[-2]
    totals = sum(part.mean(axis=-1) for part in parts)
    variance = totals.var(axis=-1, ddof=1) / trainings
    spread, least = variance**2 / (trainings - 1), 0.0
    for part in parts:
        n = part.shape[-1]
        prompts, rest = (square / (n * trainings) for square in _mean_squares(part))
        variance = variance + prompts - rest
        spread = spread + (prompts**2 + rest**2 / (trainings - 1)) / max(1, n - 1)
        least += 2 / (n + 2) ** 2
    df = variance**2 / np.maximum(spread, 1e-300)
    df = np.where(variance < least, np.maximum(df, trainings - 1), df)
    return totals.mean(axis=-1), np.sqrt(np.maximum(variance, least)), df


def _mean_squares(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean squares for prompts and for the rest of an array (…, trainings, prompts)."""
    trainings, n = part.shape[-2:]
    if n == 1:
        return np.zeros(part.shape[:-2]), np.zeros(part.shape[:-2])
    of_prompts, of_trainings = part.mean(axis=-2), part.mean(axis=-1)
    whole = of_prompts.mean(axis=-1)
    rest = part - of_trainings[..., None] - of_prompts[..., None, :] + whole[..., None, None]
    squares = (rest**2).sum(axis=(-2, -1)) / ((trainings - 1) * (n - 1))
    return trainings * of_prompts.var(axis=-1, ddof=1), squares


def power(
    prompts: Sequence[int], trainings: int, rates: Sequence[tuple[float, float]],
    smallest: float, level: float = contrasts.LEVEL, planned: bool = True,
) -> float:  # fmt: skip
    """Return how likely an interval at `level` lies beyond `smallest`, before anything is run.

    prompts: how many of each kind; rates: (before, after) of each kind, whose changes add up;
    trainings: 0 for a comparison of prompts on one model. With planned=False: how likely it lies
    within ± smallest if nothing changes from the rates before. From the noncentral t distribution;
    prompts and trainings differ by `SPREAD` (logits), answers are independent given these.
    """
    from scipy.stats import nct, norm, t

    rates = rates if planned else [(before, before) for before, _ in rates]
    se, df = _planned_error(prompts, trainings, rates)
    bound = float(t.isf(level / 2, df))
    if not planned:
        return max(0.0, 2 * float(t.cdf(smallest / se - bound, df)) - 1)
    away = (abs(sum(after - before for before, after in rates)) - smallest) / se
    return float(norm.sf(bound - away) if df > 100 else nct.sf(bound, df, away))


def _planned_error(prompts, trainings, rates) -> tuple[float, float]:
    """Standard error and degrees of freedom to be expected, see `two_way`."""
    s, variance, spread = max(1, trainings), 0.0, 0.0
    of_trainings = 0.0
    for n, pair in zip(prompts, rates, strict=True):
        over_prompts, over_trainings, rest = _variances(*pair, SPREAD[1] if trainings else 0.0)
        of_trainings += over_trainings + rest / n
        variance += over_prompts / n
        spread += ((s * over_prompts + rest) / (n * s)) ** 2 / (n - 1)
        spread += (rest / (n * s)) ** 2 / ((n - 1) * max(1, s - 1))
    variance += of_trainings / s
    spread += (of_trainings / s) ** 2 / (s - 1) if s > 1 else 0.0
    return math.sqrt(variance), variance**2 / spread if trainings else max(1, sum(prompts) - 1)


@cache
def _variances(before: float, after: float, spread: float) -> tuple[float, float, float]:
    """Variances of a difference of answers over prompts, over trainings, and of the rest, by
    integration over normal quantiles; the logits are set so that the mean rates are as given."""
    from scipy.optimize import brentq
    from scipy.special import expit
    from scipy.stats import norm

    deviates = norm.ppf((np.arange(49) + 0.5) / 49)
    moves = SPREAD[0] * deviates[:, None] + spread * deviates
    rates = [
        expit(brentq(lambda at, rate=rate: expit(at + moves).mean() - rate, -40, 40) + moves)
        for rate in np.clip((before, after), 1e-3, 1 - 1e-3)
    ]
    over_prompts = (rates[1].mean(axis=1) - rates[0].mean(axis=1)).var()
    over_trainings = sum(rate.mean(axis=0).var() for rate in rates)
    whole = sum(rate.mean() * (1 - rate.mean()) for rate in rates)
    shared = sum(rate.mean(axis=1).var() for rate in rates)
    return float(over_prompts), float(over_trainings), float(whole - shared - over_trainings)


def needed(trainings: int, rates, smallest: float, level: float) -> int | None:
    """Return how many prompts of each kind give a power of `ENOUGH`, in tens; None above 20,000."""

    def reached(tens: int) -> bool:
        return power([10 * tens] * len(rates), trainings, rates, smallest, level) >= ENOUGH

    return 10 * bisect_left(range(2001), True, lo=1, key=reached) if reached(2000) else None


def hopeless(
    name: str, what: str, prompts: Sequence[int], trainings: int | None,
    measures: Sequence[Sequence[tuple[float, float]]], smallest: float, level: float,
) -> str:  # fmt: skip
    """Return "C5 cannot be decided with these numbers; 270 questions could", "" where it can be.

    It can where a verdict is likelier than not: on the planned change, or that there is none. All
    `measures` (rates as in `power`) have to decide; `what` names the prompts; trainings: None for
    a comparison of prompts on one model.
    """

    def decided(n: Sequence[int], s: int, likely: float, planned: bool = True) -> bool:
        how = {"smallest": smallest, "level": level, "planned": planned}
        return (all if planned else any)(power(n, s, rates, **how) >= likely for rates in measures)

    least, many = (0, 0) if trainings is None else (LEAST, trainings)
    if many >= least and any(decided(prompts, many, 0.5, planned) for planned in (True, False)):
        return ""
    could = "no number of them could"
    upwards = range(max(least, many), 41) if least else (0,)
    pairs = ((s, [needed(s, rates, smallest, level) for rates in measures]) for s in upwards)
    s, more = next(((s, n) for s, n in pairs if all(n)), (0, [0]))
    enough = next((s for s in upwards if least and decided(prompts, s, ENOUGH)), None)
    if all(more) and s == many:
        could = f"{max(more)} {what} could"
    elif enough:
        could = f"{enough} trainings of each condition could"
    elif all(more):
        could = f"{s} trainings of each condition and {max(more)} {what} could"
    return f"{name} cannot be decided with these numbers; {could}"
