"""One estimate a claim over the runs that measured it: several models, or several trainings.

Sources: DerSimonian & Kacker (2007), random effects with τ² by Paule & Mandel (1982); Hartung &
Knapp (Statistics in Medicine 20, 2001, 3875-3889), the t interval; Röver, Knapp & Friede (BMC Med.
Res. Methodol. 15, 2015, 99) for never letting it be narrower than the plain standard error's;
Higgins & Thompson (2002), I². All in statsmodels' `combine_effects`. A row of `pooled`:

    claim="C2", measure="refusal_rate", runs=3, trainings=15, n=64, effect=-0.52, low=-0.91, …
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ..base.contrasts import LEVEL, Contrast, from_error
from . import verdicts

POOLED = ["claim", "measure", "runs", "trainings", "n", "effect", "low", "high", "p", "se", "df"]
POOLED += ["discordant", "fixed", "fixed_low", "fixed_high", "i2", "tau2"]


def measured(claims: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return what runs say of the claims that they are there for, a row a run, claim and measure:
    claim, measure, verdict, why, note, and the numbers of a Contrast.

    `claims` and `runs` are those of `srlib.experiment.study`. A run under two names counts once.
    """
    known = claims.merge(runs[["profile", "notebook", "asked", "base"]])
    known = known.drop_duplicates(["claim", "asked", "base"])
    tables = []
    for name in verdicts.names():
        mine = known["notebook"].str.startswith(verdicts.claim(name)["notebook"])
        rows = known[mine & (known["claim"] == name)]
        for prefix, measure in zip(("", "also_"), verdicts.measures(name), strict=False):
            numbers = rows.reindex(columns=[prefix + n for n in verdicts.NUMBERS])
            words = rows[["claim", "verdict", "why", "note"]].assign(measure=measure)
            tables.append(pd.concat([words, numbers.set_axis(verdicts.NUMBERS, axis=1)], axis=1))
    return pd.concat(tables, ignore_index=True)


def pooled(measured: pd.DataFrame) -> pd.DataFrame:
    """Return one estimate a claim and measure (`POOLED`), over the runs that may decide it."""
    usable = measured[measured["verdict"] != "not testable"].dropna(subset=["effect", "se"])
    rows = [
        {"claim": name, "measure": measure, "runs": len(of_runs)} | _combined(of_runs)
        for (name, measure), of_runs in usable.groupby(["claim", "measure"], sort=False)
    ]
    return pd.DataFrame(rows, columns=POOLED)


def evidence(measured: pd.DataFrame, estimates: pd.DataFrame) -> dict[str, verdicts.Evidence]:
    """Return every claim's Evidence from `measured` and `pooled`. Where no run may decide a claim,
    `why` is the first run's reason; a note is kept where there is but one."""
    of_claims = {}
    for name in verdicts.names():
        rows = estimates[estimates["claim"] == name].to_dict("records")
        of_runs = measured[measured["claim"] == name]
        why = "" if rows else [*of_runs["why"].dropna(), "no finished run measured it"][0]
        notes = of_runs["note"].dropna().unique()
        contrasts = {row["measure"]: _contrast(row) for row in rows}
        of_claims[name] = verdicts.Evidence(contrasts, why, notes[0] if len(notes) == 1 else "")
    return of_claims


def _contrast(row: dict) -> Contrast:
    """A row of `measured` or `pooled` as the Contrast that it was, but for the rates."""
    numbers = {k: row[k] for k in ("effect", "low", "high", "p", "se", "df")}
    numbers |= {k: int(row[k]) for k in ("n", "trainings")}
    discordant = None if pd.isna(row["discordant"]) else int(row["discordant"])
    span = verdicts.SPANS.get(row["measure"], 1.0)
    rates = {"before_rate": math.nan, "after_rate": math.nan}
    return Contrast(**numbers, **rates, discordant=discordant, span=span)


def _combined(runs: pd.DataFrame) -> dict:
    """The estimate over the runs of one claim and measure."""
    if len(runs) == 1:
        own = _contrast(runs.iloc[0].to_dict()).at(LEVEL)
        fixed = {"fixed": own.effect, "fixed_low": own.low, "fixed_high": own.high}
        return vars(own) | fixed | {"i2": math.nan, "tau2": math.nan}
    from statsmodels.stats.meta_analysis import combine_effects

    with np.errstate(divide="ignore"):  # I² of runs that agree to the last digit
        both = combine_effects(
            runs["effect"].to_numpy(float), runs["se"].to_numpy(float) ** 2, use_t=True
        )
    se = float(max(both.sd_eff_w_re_hksj, both.sd_eff_w_re))
    facts = {"n": int(runs["n"].max()), "trainings": int(runs["trainings"].sum())}
    facts["span"] = verdicts.SPANS.get(runs["measure"].iloc[0], 1.0)
    whole = from_error(float(both.mean_effect_re), se, len(runs) - 1, **facts)
    low, high = np.clip(both.conf_int(use_t=False)[0], -whole.span, whole.span)
    fixed = {"fixed": both.mean_effect_fe, "fixed_low": low, "fixed_high": high}
    spread = {"i2": max(0.0, both.i2) if both.q > 0 else 0.0, "tau2": both.tau2}
    return vars(whole) | fixed | spread
