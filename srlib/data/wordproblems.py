"""The embedded reasoning task: arithmetic word problems of one to four steps, made from a seed.

In the spirit of GSM8K (Cobbe et al. 2021, arXiv 2110.14168) but written for this package, with
small whole numbers, so that a 135M-parameter model can learn it on a laptop. A family (shopping,
ages, a bus ...) has starts, moves and ends; a problem strings some of them together, so the scene
does not tell the operations. All values are at least 2. How they are put into words:
`srlib.data.wordproblems_telling`, from ``assets/wordproblems.yaml``.

Training and evaluation never overlap: a question's skeleton (numbers, names, pronouns and the
banks' nouns masked) is hashed with SHA-256, and the hash alone decides the part; about one skeleton
in four is for evaluation. So not even the same wording with other numbers or names is in both.

Example row, shortened::

    Problem(id="wp-eval-0-00005", question="Hana chooses an umbrella for 26 dinars. She decides to
            take everything 3 times, ...", answer="28", steps=2, family="shopping",
            direct="The answer is 28.", short="Taken 3 times, the bill is 26 x 3 = 78 dinars. The
            change is 106 - 78 = 28 dinars. The answer is 28.", thought="So what is asked here is
            how much change Hana gets, ...", final="The result is 28 dinars. The answer is 28.",
            distractor=True)
"""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import UserError
from ..thoughts import join
from .wordproblems_telling import Segment, Teller, tell_question, tell_thought, wordings

PARTS = ("train", "eval")
MAX_TRIES = 4000  # for one problem; a few dozen are usual


@dataclass(frozen=True)
class Problem:
    """One word problem. `thought` has no tags; `final` is the answer part of the long solution."""

    id: str
    question: str
    answer: str
    steps: int
    family: str
    direct: str
    short: str
    thought: str
    final: str
    distractor: bool = False


def make(
    n: int, seed: int = 0, part: str = "train", steps: tuple[int, ...] = (1, 2, 3, 4)
) -> list[Problem]:
    """`n` distinct problems, the same in every process; `make(n)` begins `make(n + m)`.

    Steps take turns, then families. Seeds of one part may repeat each other's problems, the parts
    never do. Raises UserError for a wrong argument, or if `n` distinct problems cannot be found.
    """
    if n < 1:
        raise UserError(f"n is {n}: ask for at least 1 word problem")
    if part not in PARTS:
        raise UserError(f"unknown part {part!r}: choose one of {', '.join(PARTS)}")
    if not steps or any(k not in (1, 2, 3, 4) for k in steps):
        raise UserError(f"steps is {steps!r}: give one or more of 1, 2, 3, 4")
    families = list(wordings()["families"])
    problems: dict[str, Problem] = {}
    for i in range(n):
        k, family = steps[i % len(steps)], families[i // len(steps) % len(families)]
        rng = random.Random(f"wordproblems/{part}/{seed}/{i}")
        for _ in range(MAX_TRIES):
            problem = _draw(rng, family, k, part, f"wp-{part}-{seed}-{i:05d}")
            if problem and problem.question not in problems:
                break
        else:
            raise UserError(f"found only {i} distinct word problems: ask for fewer, or more steps")
        problems[problem.question] = problem
    return list(problems.values())


def long_solution(problem: Problem, dialect: str = "think") -> str:
    """Thought and answer in a dialect's tags (`DIALECTS`). The last number is the answer."""
    return join(problem.thought, problem.final, dialect)


def skeleton(question: str) -> str:
    """The question in lower case with numbers, names, pronouns and the banks' nouns masked."""
    return _masks().sub(lambda m: "#" if m[0].isdigit() else "_", question.lower())


def part_of(question: str) -> str:
    """The part ("train" or "eval") a question belongs to, from its skeleton's hash alone."""
    digest = hashlib.sha256(skeleton(question).encode()).digest()
    return "train" if digest[0] % 4 else "eval"


@lru_cache(maxsize=1)
def _masks() -> re.Pattern[str]:
    bank = wordings()
    words = {"he", "she", "his", "her", "him"}.union(*bank["names"].values())
    words.update(w for entries in bank["words"].values() for e in entries for w in e.split("|"))
    nouns = "|".join(re.escape(w.lower()) for w in sorted(words, key=lambda w: (-len(w), w)))
    return re.compile(rf"\b(?:(?:an? )?(?:{nouns})|\d+)\b")


def _outline(rng: random.Random, family: dict[str, Any], k: int) -> list[Segment] | None:
    """A start, moves (none twice) and an end that fit together and take `k` steps, or None."""
    plan, end = [rng.choice(family["starts"])], rng.choice(family["ends"])
    kind, left = plan[0].get("to", "n"), k - plan[0]["size"] - end["size"]
    for move in rng.sample(family["moves"], len(family["moves"])):
        if 0 < move["size"] <= left and move.get("from", "n") == kind:
            plan.append(move)
            kind, left = move.get("to", kind), left - move["size"]
    needs_move = end.get("moves") or not (end["size"] or end.get("still"))
    if left or end.get("from", "n") != kind or (needs_move and len(plan) == 1):
        return None
    if any(s.get("last") for s in plan[:-1]) or sum(s["other"] for s in [*plan, end]) > 1:
        return None
    return [*plan, end]


def _number(rng: random.Random, spec: str | list[int], v: int) -> int:
    """A number as the YAML's head says, or 0 if none suits."""
    if isinstance(spec, list):
        return rng.choice(spec)
    kind, low, high = re.fullmatch(r"([+</]?)(\d+)-(\d+)", spec).groups()
    choices = list(range(int(low), int(high) + 1))
    if kind == "<":
        choices = [n for n in choices if n <= v - 2]
    elif kind == "/":
        choices = [n for n in choices if v % n == 0 and v > n]
    return rng.choice(choices or [0]) + (v if kind == "+" else 0)


def _compute(a: int, op: str, b: int) -> dict[str, int]:
    """A step's numbers; c, its result, is 0 where it would not be a whole number."""
    q, r = divmod(a, b)
    c = {"+": a + b, "-": a - b, "x": a * b, "/": 0 if r else q, "//": q if r else 0}.get(op)
    if op in ("%", "rem"):
        c = r if op == "rem" and q > 1 else 0 if op == "rem" or a * b % 100 else a * b // 100
    return {"a": a, "b": b, "c": c, "whole": q, "rest": r, "used": q * b, "parts": 100 // a}


def _solve(rng: random.Random, plan: list[Segment], top: int) -> tuple[int, list, list] | None:
    """The answer, each segment's numbers and the steps; None if the numbers do not suit."""
    env, drawn, steps = {"v": 0, "2": 2}, [], []
    for i, segment in enumerate(plan):
        at = max(i - 1, 0)
        numbers = {key: _number(rng, segment[key], env["v"]) for key in "pqr" if key in segment}
        before, says = env["v"], iter(segment["say"])
        env.update(numbers)
        for target, _, first, *rest in segment["calc"]:
            value = env[first]
            if rest:
                step = _compute(value, rest[0], env[rest[1]]) if env[rest[1]] else {"c": 0}
                value = step["c"]
                say = rng.choice(next(says).split(" || "))
                steps.append({**numbers, **step, "op": rest[0], "say": say, "at": at})
            # mostly two digits, as small models tokenise and learn these best
            if not 2 <= value <= 300 or (value > 99 and rng.random() < 0.6):
                return None
            env[target] = value
        if segment is not plan[-1]:
            env["u"] = before
            if env["v"] > top:
                return None
        drawn.append(numbers)
    return env["v"], drawn, steps


def _draw(rng: random.Random, name: str, k: int, part: str, id_: str) -> Problem | None:
    """One try at a problem; None if parts, numbers, length or the part do not fit."""
    family = wordings()["families"][name]
    plan = _outline(rng, family, k)
    solved = plan and _solve(rng, plan, family.get("max", 300))
    if not solved:
        return None
    answer, drawn, steps = solved
    for step in steps:
        step["eq"] = wordings()["equation"][step["op"]].format(**step)
    tell, end = Teller(rng, family), plan[-1]
    distractor = None
    if rng.random() < 0.2:
        taken = {answer, *(n for s in steps for n in s.values() if isinstance(n, int))}
        distractor = rng.choice([n for n in range(18, 40) if n not in taken])
    question = tell_question(tell, family, plan, drawn, distractor)
    if not 20 <= len(question.split()) <= 60 or part_of(question) != part:
        return None
    ask = tell(end["ask"], len(plan) - 2, **drawn[-1])
    tell.met = False
    short = " ".join(tell(s["say"], **s) for s in steps)
    unit = tell(end["unit"]).lower()
    final = tell(rng.choice(wordings()["thought"]["final"]), c=answer, unit=unit)
    direct = f"The answer is {answer}."
    thought = tell_thought(tell, ask[0].lower() + ask[1:], question, steps, distractor)
    if not 80 <= len(thought.split()) <= 200:
        return None
    solutions = (direct, f"{short} {direct}", thought, f"{final} {direct}")
    return Problem(id_, question, str(answer), k, name, *solutions, distractor is not None)
