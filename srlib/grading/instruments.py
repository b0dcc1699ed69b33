"""The instruments themselves, checked before anything is measured with them.

A table of checks, one row each: what was checked, on how many, how many came out right, how many
should. (The refusal grader is held against labels in `srlib.grading.agreement`.)

    check="a gold answer is graded right", data="wordproblems-short", n=200, passed=200, wanted=200
"""

from __future__ import annotations

import pandas as pd

from .. import answers
from ..data import evalsets


def answers_check(names: list[str], n: int = 200, seed: int = 0) -> pd.DataFrame:
    """Check that every gold answer grades itself right, and a wrong constant never does."""
    table = []
    for name in names:
        rows = evalsets.load(name, "reasoning", seed=seed)[:n]
        right = sum(answers.exact_match(f"The answer is {_final(r.gold)}.", r.gold) for r in rows)
        fooled = sum(answers.exact_match("The answer is -7654321.", r.gold) for r in rows)
        blank = sum(answers.exact_match("", r.gold) for r in rows)
        for check, passed, wanted in (
            ("a gold answer is graded right", right, len(rows)),
            ("a wrong constant is graded right", fooled, 0),
            ("an empty answer is graded right", blank, 0),
        ):
            table.append(
                {"check": check, "data": name, "n": len(rows), "passed": passed, "wanted": wanted}
            )
    return pd.DataFrame(table)


def _final(gold: str) -> str:
    return answers.extract(gold) or gold
