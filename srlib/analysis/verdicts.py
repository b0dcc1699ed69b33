"""The claims C1 to C11 of the study, held against what was measured.

A claim is data (srlib/assets/claims.yaml): statement, measures, direction, smallest effect that
counts. Source of the correction: Holm (1979), over the claims that are reported together.

    evidence(graded, "C2", {"family": "base"}, {"family": "long CoT"}, gates)   ->   Evidence
    answer({"C2": …})                                                           ->   a table:
    claim="C2", effect=-0.61, low=-0.78, high=-0.44, n=48, trainings=5, level=0.01, p_holm=0.001,
    verdict="supported", why="", also="attack_success_rate", also_effect=0.40, …

Verdicts, from the intervals at the level that Holm's procedure gives: *supported*, all of it beyond
the smallest effect that counts, on the claimed side; *opposite*, beyond it on the other side; *no
such effect*, all of it within ± smallest; *open*; *not testable*, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from ..base import resources
from ..base.contrasts import LEVEL, NOT_MEASURED, Contrast, from_error, paired
from ..errors import UserError
from ..metrics import holm, holm_levels, successes
from . import crossed, frontier, gates

VERDICTS = ("supported", "opposite", "no such effect", "open", "not testable")
NUMBERS = ("effect", "low", "high", "p", "n", "trainings", "se", "df", "discordant")
SPANS = {"balance": 3.0}  # the largest difference of a measure that adds up several rates
COLUMNS = ["claim", "statement", "measure", "effect", "low", "high", "n", "trainings", "p"]
COLUMNS += [
    "p_holm",
    "level",
    "verdict",
    "why",
    "note",
    "also",
    *(f"also_{name}" for name in NUMBERS),
]
COLUMNS += ["se", "df", "discordant"]

SHOWN = ["claim", "statement", "effect", "low", "high", "also_effect", "also_low", "also_high"]
SHOWN += ["n", "trainings", "p_holm", "verdict", "why", "note"]  # columns to look at


@dataclass(frozen=True)
class Evidence:
    """What was measured for a claim.

    contrasts: measure -> Contrast, the claim's own first; why: why nothing is decided, whatever the
    numbers ("" where something may be); note: what the reader should know besides.
    """

    contrasts: dict[str, Contrast] = field(default_factory=dict)
    why: str = ""
    note: str = ""


def claims() -> dict[str, dict]:
    """Return the study's claims C1 to C11 (arXiv 2502.09673) from srlib/assets/claims.yaml.

    Each: id, statement, notebook, measure, kind, comparison, contrast, direction, smallest, perhaps
    also and planned; where a claim says more than one thing, `parts` holds what differs ("b": ask
    for "C2b" in `answer`).
    """
    return {claim["id"]: claim for claim in resources.asset("claims.yaml")}


def claim(name: str) -> dict:
    """Return one claim ("C2") or one part of it ("C2b": the claim with the part's own words)."""
    known = claims()
    whole, letter = (name, "") if name in known else (name[:-1], name[-1:])
    if whole not in known or (letter and letter not in known[whole].get("parts", {})):
        raise UserError(f"claim {name!r} is not known: use one of {', '.join(known)}")
    return known[whole] | (known[whole]["parts"][letter] if letter else {}) | {"id": name}


def measures(name: str) -> dict[str, str]:
    """Return a claim's measures and where each goes if it holds: {"refusal_rate": "down", …}."""
    asked = claim(name)
    second = asked.get("also", {})
    both = {asked["measure"]: asked["direction"]}
    return both | ({second["measure"]: second["direction"]} if second else {})


def names(notebook: str = "") -> list[str]:
    """Return the claims and their parts in order (C1, C2, C2b, …), or those of one notebook."""
    asked = [c for c in claims().values() if notebook in ("", c["notebook"])]
    return [c["id"] + letter for c in asked for letter in ["", *c.get("parts", {})]]


def sides(graded: pd.DataFrame, kinds: Sequence[str], *wanted: dict) -> list[pd.DataFrame]:
    """Return the rows of some kinds that each side names: column -> value, or a list of values."""
    rows, picked = graded[graded["kind"].isin(kinds)], []
    for side in wanted:
        if lacking := [c for c in side if c not in rows]:
            raise UserError(f"the graded table lacks the columns {', '.join(lacking)}: add them")
        listed = {c: v if isinstance(v, list) else [v] for c, v in side.items()}
        picked.append(rows[rows[[*listed]].isin(listed).all(axis=1)])
        if picked[-1].empty:
            raise UserError(f"no {' or '.join(kinds)} rows with {side}: see the table's columns")
    return picked


def contrast(
    graded: pd.DataFrame, name: str, before: dict, after: dict, measure: str = ""
) -> Contrast:
    """Compare two arms, or two groups of arms, on a claim's measure, by default its first.

    A side is the rows of its kind whose columns equal the values given, or are among them where a
    list is given: contrast(graded, "C4", {"k": 4, "m": 0}, {"k": 4, "m": [2, 4]}). Trainings are
    told apart by the column `seed` and paired by it (`crossed.compare`).
    """
    asked = claim(name)
    measure, both = measure or asked["measure"], sides(graded, _kinds(asked), before, after)
    if measure == "balance":
        return frontier.balance(*both)
    return crossed.compare(
        *(successes(rows, measure).set_axis(crossed.units(rows)) for rows in both)
    )


def evidence(
    graded: pd.DataFrame, name: str, before: dict, after: dict,
    gated: pd.DataFrame | None = None, note: str = "",
) -> Evidence:  # fmt: skip
    """Return what two sides (see `contrast`) say of a claim: all of its measures, and whether its
    arms pass the gates (the table of `gates.check`) on the claim's kinds of prompts."""
    asked = claim(name)
    contrasts = {m: contrast(graded, name, before, after, m) for m in measures(name)}
    rows = pd.concat(sides(graded, _kinds(asked), before, after))
    asks_it = asked["measure"] in ("exact_match", "balance")  # what the gate "learnt" would select
    why = gates.why(gated, rows, _kinds(asked), ["learnt"] if asks_it else [])
    return Evidence(contrasts, why, note)


def _kinds(asked: dict) -> list[str]:
    return asked["kind"].replace(" and ", ", ").split(", ")


def verdict(contrasts: Sequence[Contrast], directions: Sequence[str], smallest: float) -> str:
    """Return the verdict of a claim's contrasts, from their intervals alone.

    All have to lie beyond `smallest` for "supported" or "opposite"; one that lies within ± smallest
    makes it "no such effect", as the claim is that all move; else "open".
    """
    if odd := [d for d in directions if d not in ("up", "down")]:
        raise UserError(f"direction {odd[0]!r} is not known: use 'up' or 'down'")
    claimed = [
        (c.low, c.high) if direction == "up" else (-c.high, -c.low)
        for c, direction in zip(contrasts, directions, strict=True)
    ]
    if all(low >= smallest for low, _ in claimed):
        return "supported"
    if all(high <= -smallest for _, high in claimed):
        return "opposite"
    within = any(low > -smallest and high < smallest for low, high in claimed)
    return "no such effect" if within else "open"


def answer(measured: dict[str, Evidence | Contrast | None]) -> pd.DataFrame:
    """Return a row a claim: `COLUMNS`.

    `measured`: claim id to its Evidence (or the Contrast of its one measure), None where there is
    none. They are one family: pass together what is reported together. Holm's correction runs over
    the claims that can be decided; of two measures that both must move, the larger p counts.
    `effect`, `low`, `high`, `p` are of the first measure, `also_…` of the second; all intervals are
    at `level`; `why`: what keeps a verdict back, or what it speaks of.
    """
    known = {name: _whole(name, proof) for name, proof in measured.items()}
    barred = {name: _barred(name, proof) for name, proof in known.items()}
    ps = [
        math.nan if barred[name] else max(c.p for c in proof.contrasts.values())
        for name, proof in known.items()
    ]
    rows = []
    for (name, proof), level, p_holm in zip(known.items(), holm_levels(ps), holm(ps), strict=True):
        level = LEVEL if math.isnan(level) else level
        at = {measure: c.at(level) for measure, c in proof.contrasts.items()}
        word, why = barred[name] or _decided(name, at)
        row = {"claim": name, "statement": claim(name)["statement"], "note": proof.note}
        row |= {"p_holm": p_holm, "level": level, "verdict": word, "why": why}
        rows.append(row | _numbers(at))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"n": int, "trainings": int}) if rows else table


def _numbers(contrasts: dict[str, Contrast]) -> dict:
    """The numbers of one or two contrasts as cells of a row of `answer`."""
    row = {}
    for prefix, (measure, c) in zip(("", "also_"), contrasts.items(), strict=False):
        row["also" if prefix else "measure"] = measure
        row |= {prefix + number: getattr(c, number) for number in NUMBERS}
    return row


def _whole(name: str, proof: Evidence | Contrast | None) -> Evidence:
    """Evidence with a contrast for each of the claim's measures."""
    if isinstance(proof, Contrast):
        proof = Evidence({claim(name)["measure"]: proof})
    proof = proof or Evidence()
    contrasts = {measure: proof.contrasts.get(measure, NOT_MEASURED) for measure in measures(name)}
    return Evidence(contrasts, proof.why, proof.note)


def _barred(name: str, proof: Evidence) -> tuple[str, str] | tuple[()]:
    """The verdict and reason of a claim that cannot be decided, whatever its intervals; else ()."""
    asked, trainings = claim(name), min(c.trainings for c in proof.contrasts.values())
    if proof.why:
        return "not testable", proof.why
    if missing := [m for m, c in proof.contrasts.items() if math.isnan(c.effect + c.p)]:
        return "not testable", f"not measured: {missing[0].replace('_', ' ')}"
    if asked["comparison"] == "trainings" and trainings < crossed.LEAST:
        only = "this training only" if trainings == 1 else f"these {trainings} trainings only"
        return "open", f"{only}: a verdict takes {crossed.LEAST}"
    if not all(_could(c, asked["smallest"]) for c in proof.contrasts.values()):
        n = min(c.n for c in proof.contrasts.values())
        return "not testable", f"no outcome on {n} prompts could decide"
    return ()


def _could(c: Contrast, smallest: float) -> bool:
    """Whether the clearest outcome that there can be on as many prompts would decide anything."""
    if c.discordant is not None:
        best = paired(pd.Series([False] * c.n), pd.Series([True] * c.n))
    else:
        best = from_error(c.span, math.sqrt(2 * c.span) / (c.n / c.span + 2), c.df, c.n)
    return best.low >= smallest


def _decided(name: str, contrasts: dict[str, Contrast]) -> tuple[str, str]:
    """The verdict of a claim that can be decided, and what the reader should know of it."""
    asked, ways, smallest = claim(name), [*measures(name).values()], claim(name)["smallest"]
    word, why = verdict([*contrasts.values()], ways, smallest), []
    if word not in ("supported", "opposite") and len(contrasts) > 1:
        each = zip(contrasts.items(), ways, strict=True)
        said = {m: verdict([c], [way], smallest) for (m, c), way in each}
        why = [", ".join(f"{m.replace('_', ' ')}: {alone}" for m, alone in said.items())]
    if asked["comparison"] == "prompts":
        why.append("about this model")
    return word, "; ".join(why)
