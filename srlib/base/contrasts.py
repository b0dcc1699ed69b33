"""Two sides on the same prompts in, their difference with interval and p out: one model, one answer
a prompt. Differences over several trainings are `srlib.analysis.crossed`'s.

    paired(before, after)   ->   Contrast(effect=-0.29, low=-0.52, high=0.0, p=0.070, n=21, …)

Sources: exact McNemar test; Tango, "Equivalence test and confidence interval for the difference in
proportions for the paired-sample design" (Statistics in Medicine 17, 1998, 891-908), one of those
that Fagerland, Lydersen & Laake (Statistics in Medicine 33, 2014, 2850-2875) recommend; Bonett &
Price (J. Educ. Behav. Stat. 37, 2012, 479-488) for the standard error, and for shares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..errors import UserError

LEVEL = 0.05


@dataclass(frozen=True)
class Contrast:
    """after - before on n shared prompts, a difference of rates, with its interval at `level`.

    p is two-sided and below `level` exactly where the interval leaves out 0. se, df: the standard
    error and its degrees of freedom (inf: normal). trainings: how many each side rests on.
    discordant: how many prompts changed, where every prompt counts or does not (p is then the exact
    McNemar test's), else None. span: the largest difference there can be (1: of two rates).
    """

    effect: float
    low: float
    high: float
    p: float
    n: int
    before_rate: float
    after_rate: float
    se: float = math.nan
    df: float = math.inf
    trainings: int = 1
    discordant: int | None = None
    span: float = 1.0
    level: float = LEVEL

    def at(self, level: float) -> Contrast:
        """Return the same contrast with its interval at another level (0.01: of 99 %)."""
        if math.isnan(self.effect):
            return replace(self, level=level)
        if self.discordant is None:
            low, high = _around(self.effect, self.se, self.df, level)
        else:
            change = round(self.effect * self.n)
            gained, lost = (self.discordant + change) // 2, (self.discordant - change) // 2
            low, high = _with_exact_zero(gained, lost, self.n, level)
        return replace(self, low=max(-self.span, low), high=min(self.span, high), level=level)


NOT_MEASURED = Contrast(*[math.nan] * 4, 0, math.nan, math.nan, trainings=0)


def from_error(effect: float, se: float, df: float, n: int, rates=(math.nan,) * 2, **more):
    """Return the Contrast of an effect with a standard error: t intervals, the p that fits them."""
    from scipy.stats import t

    p = 2 * float(t.sf(abs(effect) / se, df)) if se > 0 else float(effect == 0)
    whole = Contrast(effect, math.nan, math.nan, p, n, *rates, se=se, df=df, **more)
    return whole.at(whole.level)


def paired(before: pd.Series, after: pd.Series, level: float = LEVEL) -> Contrast:
    """Compare two arms on the prompts that both have: bools indexed by prompt id, others left out.

    p: exact McNemar test. Interval: Tango's score interval for every difference but 0, which is in
    it exactly where the exact test does not reject it. UserError: no shared id, an id twice.
    """
    if before.index.has_duplicates or after.index.has_duplicates:
        raise UserError("an id comes twice in one arm: pass one outcome a prompt, one data set")
    both = pd.concat({"b": before, "a": after}, axis=1, join="inner")
    if both.empty:
        raise UserError("the two arms share no prompt id: compare arms run on the same data")
    was, now = bools(both["b"], "before"), bools(both["a"], "after")
    n, gained, lost = len(both), int((~was & now).sum()), int((was & ~now).sum())
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    whole = Contrast(
        (gained - lost) / n, math.nan, math.nan, _exact_p(gained, lost), n,
        float(was.mean()), float(now.mean()), discordant=gained + lost,
        se=math.sqrt((up + down - (up - down) ** 2) / (n + 2)),
    )  # fmt: skip
    return whole.at(level)


def paired_means(before: pd.Series, after: pd.Series) -> Contrast:
    """Compare two groups of arms (several data sets, several samples) on the prompts both have.

    A prompt's value is its share of successes within the group, so prompts stay the unit. p and
    interval: Student's t, with the standard error of `padded_error`.
    """
    means = [side.astype(float).groupby(side.index).mean() for side in (before, after)]
    both = pd.concat(dict(zip("ba", means, strict=True)), axis=1, join="inner")
    if both.empty:
        raise UserError("the two groups share no prompt id: compare arms run on the same data")
    change = (both["a"] - both["b"]).to_numpy()
    rates = tuple(map(float, both[["b", "a"]].mean()))
    return from_error(
        float(change.mean()), padded_error(change), len(both) - 1 or 1, len(both), rates
    )


def compare(before: pd.Series, after: pd.Series) -> Contrast:
    """Return `paired`, or `paired_means` where an id comes several times on a side (sets)."""
    several = before.index.has_duplicates or after.index.has_duplicates
    return (paired_means if several else paired)(before, after)


def padded_error(change: np.ndarray) -> float:
    """Return the standard error of a mean of differences in [-1, 1], after one of +1 and one of -1
    are added (Bonett & Price), so that it never is 0: few prompts that agree prove little."""
    padded = np.array([*change, 1.0, -1.0])
    return float(padded.std(ddof=0)) / math.sqrt(len(padded))


def bools(values: pd.Series, what: str, missing: bool | None = None) -> pd.Series:
    """Return values as plain bools; missing ones become `missing`, an error where that is None."""
    if bad := [v for v in values.dropna().unique() if isinstance(v, str) or v not in (True, False)]:
        raise UserError(f"{what} holds {str(bad[0])!r}: give True or False")
    if missing is None and values.isna().any():
        raise UserError(f"{what} has missing values: decide what they count as, fillna(False) say")
    return values.map(lambda v: missing if pd.isna(v) else bool(v)).astype(bool)


def _around(effect: float, se: float, df: float, level: float) -> tuple[float, float]:
    from scipy.stats import t

    half = float(t.isf(level / 2, df)) * se
    return effect - half, effect + half


def _exact_p(gained: int, lost: int) -> float:
    from statsmodels.stats.contingency_tables import mcnemar

    return float(mcnemar([[0, lost], [gained, 0]], exact=True).pvalue)  # agreements play no part


def _with_exact_zero(gained: int, lost: int, n: int, level: float) -> tuple[float, float]:
    """Return Tango's interval, except that the exact test says whether 0 belongs to it."""
    low, high = score_interval(gained, lost, n, level)
    if _exact_p(gained, lost) >= level:
        return min(low, 0.0), max(high, 0.0)
    least = math.ulp(0.0)  # far in the tails the exact test can reject a 0 that the score does not
    return (max(low, least), high) if gained > lost else (low, min(high, -least))


def score_interval(gained: int, lost: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Tango's score interval for (gained - lost) / n: every difference that a score test at
    `level` does not reject, its nuisance (the rate of losses) at its restricted maximum."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    def score(difference: float) -> float:
        b = (2 * n - gained + lost) * difference - gained - lost
        c = -lost * difference * (1 - difference)
        losses = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        spread = n * (2 * losses + difference * (1 - difference))
        return (gained - lost - n * difference) / math.sqrt(max(spread, 1e-300))

    z, edge, middle = float(norm.isf(level / 2)), 1 - 1e-12, (gained - lost) / n
    low = brentq(lambda d: score(d) - z, -edge, middle) if score(-edge) > z else -1.0
    high = brentq(lambda d: score(d) + z, middle, edge) if score(edge) < -z else 1.0
    return low, high
