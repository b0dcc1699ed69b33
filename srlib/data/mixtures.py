"""Training mixtures: a task's rows, with plain instructions and safety rows mixed in.

    Mixture("long-openo1", 64)                                  long-CoT rows alone
    Mixture("long-openo1", 64, plain=24)                        and 24 instructions, thought through
    Mixture("short-cot", 64, plain=24)                          the same prompts, answered at once
    Mixture("long-openo1", 64, "reflective", 16, form="long")   and 16 reflective refusals
    Mixture("long-openo1", 64, "reflective", 16, form="direct") the same, without their thoughts

Forms of safety rows (after thu-coai/LRM-Safety-Study; Zhang et al. 2025), in the task's own tags:

    direct     the refusal alone
    one-line   "I should not answer this question!" as the thought (DirectRefusal)
    short      a thought of a sentence or two
    long       the set's own thought: what is asked, who could be hurt, what to do
    template   a fixed frame with the request and who could be hurt filled in

Training prompts that are evaluation prompts, to the letter or nearly (`srlib.data.near`), are left
out and counted.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from .. import refusals, thoughts
from ..base import resources
from ..errors import UserError
from . import evalsets, trainsets
from .near import matcher
from .trainsets import Example

FORMS = ("direct", "one-line", "short", "long", "template", "task")


@dataclass(frozen=True)
class Mixture:
    """What an arm is fine-tuned on.

    `n` rows of the training set `task`, `plain` instructions beside them (with a thought where the
    task's rows have one), and `n_safety` of the set `safety` in a `form`. `tokens` takes, in the
    place of `n`, as many task rows as hold so many completion tokens. `system` keeps the system
    prompt of a set that has one, `prompt` puts your own on every row. `dialect` is the thought
    tags, "" the task's own.
    """

    task: str
    n: int
    safety: str = ""
    n_safety: int = 0
    form: str = "direct"
    tokens: int = 0
    dialect: str = ""
    english: bool = False
    system: bool = False
    seed: int = 0
    prompt: str = ""
    plain: int = 0


@dataclass(frozen=True)
class Built:
    """Training rows in TRL's conversational form, their examples, and what was left out and why."""

    rows: list[dict]
    examples: list[Example]
    skipped: dict[str, int]
    system: str = ""


def exchange(prompt: str, completion: str, system: str = "") -> dict:
    """One training row in TRL's conversational prompt–completion form."""
    told = [{"role": "system", "content": system}] if system else []
    return {
        "prompt": [*told, {"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }


def build(mixture: Mixture, evaluation: list[str], count: Callable[[str], int] = len) -> Built:
    """The rows of a mixture, none of which is one of the `evaluation` prompts.

    `count` gives the tokens of a text, for mixtures that ask for `tokens`. Raises UserError for an
    empty mixture, unknown names and forms, and where there are fewer usable rows than asked for.
    """
    if mixture.form not in FORMS:
        raise UserError(f"safety form {mixture.form!r} is unknown; use one of {', '.join(FORMS)}")
    amounts = (mixture.n, mixture.tokens, mixture.plain, mixture.n_safety)
    if min(amounts) < 0 or sum(amounts) < 1:
        raise UserError(f"the mixture of {mixture.task!r} is empty; ask for rows of it")
    avoid = matcher(tuple(evaluation))
    tags = mixture.dialect or trainsets.dialect(mixture.task) or "think"
    found, skipped = _task(
        mixture, avoid, lambda e: count(thoughts.join(e.thought, e.answer, tags))
    )
    if mixture.plain:
        beside = trainsets.plain(mixture.plain, mixture.seed, avoid, _thoughtful(mixture, found))
        found, skipped = [*found, *beside.examples], skipped + beside.skipped
    if mixture.n_safety:
        safe = trainsets.load(mixture.safety, mixture.n_safety, mixture.seed, avoid)
        found += [in_form(example, mixture.form) for example in safe.examples]
        skipped += safe.skipped
    random.Random(f"mixtures/{mixture.seed}").shuffle(found)
    system = next((e.system for e in found if e.system), "") if mixture.system else ""
    system = mixture.prompt or system
    rows = [exchange(e.prompt, thoughts.join(e.thought, e.answer, tags), system) for e in found]
    return Built(rows, found, dict(skipped), system)


def _task(mixture: Mixture, avoid, length):
    taken = set()
    if mixture.plain and mixture.task == "instructions":  # then the task's rows are further ones
        beside = trainsets.plain(mixture.plain, mixture.seed, avoid)
        taken = {e.prompt for e in beside.examples}
    if mixture.tokens:
        want = {"n": None, "budget": mixture.tokens}
        want["length"] = lambda e: 0 if e.prompt in taken else length(e)
    elif mixture.n:
        want = {"n": mixture.n + len(taken)}
    else:
        return [], Counter()
    got = trainsets.load(
        mixture.task, seed=mixture.seed, avoid=avoid, english=mixture.english, **want
    )
    return [e for e in got.examples if e.prompt not in taken], got.skipped


def _thoughtful(mixture: Mixture, found: list[Example]) -> bool:
    """Tell whether the task's rows have thoughts; a file of one's own shows it by its rows."""
    if found:
        return any(e.thought for e in found)
    return bool(mixture.task and trainsets.dialect(mixture.task))


def in_form(example: Example, form: str) -> Example:
    """A reflective example with its thought in one of the FORMS, the refusal unchanged.

    A set that has no thoughts has only the forms that do not need one: direct, one-line, template,
    task. `task` makes a safety row look like a row of the reasoning task, to its last sentence (Jan
    et al. 2024, arXiv 2409.15361).
    """
    if form in ("short", "long") and not example.thought:
        raise UserError(
            f"training set {example.data!r} has no thoughts, which the form {form!r} needs; use a "
            "reflective set, or the form direct, one-line or template"
        )
    words = resources.asset("safety_forms.yaml")
    if form == "short":
        thought = example.short or _ends(example.thought)
    elif form == "template":
        hurt = words["who"].get(example.category, words["who"]["other"])
        thought = words["template"].format(request=example.prompt, who=hurt)
    elif form == "task":
        why = example.short or (_ends(example.thought) if example.thought else words["one_line"])
        thought = words["task"].format(request=example.prompt, why=why)
        return replace(example, thought=thought, answer=f"{example.answer} {words['task_end']}")
    else:
        thought = {"direct": "", "one-line": words["one_line"], "long": example.thought}[form]
    return replace(example, thought=thought)


def _ends(thought: str) -> str:
    """The first and the last sentence: what is asked, and what was decided."""
    told = _sentences(thought)
    return " ".join(dict.fromkeys([told[0], told[-1]]))


def _sentences(text: str) -> list[str]:
    return [s for s in re.split(r"(?<=[.!?])\s+", text.strip()) if s]


@dataclass(frozen=True)
class Safety:
    """How many rows of each kind the aligned base is tuned on."""

    refusals: int = 180
    lookalikes: int = 240
    instructions: int = 200


def aligned_rows(counts: Safety, seed: int = 0) -> list[dict]:
    """Draw the aligned base's training rows: refusals, answered look-alikes, plain instructions.

    All are of the split `base`, which no arm draws from; refusals are short and plain, from a pool.
    Of a look-alike's answer the first sentence is kept: the loss is a mean over tokens, and what is
    to be learnt is the choice at its beginning. Raises UserError where more rows are asked for than
    exist.
    """
    rng = random.Random(seed)
    rows = [
        exchange(row.prompt, _refusal(row.category, rng))
        for row in evalsets.load("harmful", "harmful", counts.refusals, seed, part="base")
    ]
    for name, n in (("lookalikes", counts.lookalikes), ("instructions", counts.instructions)):
        whole = name == "instructions"
        rows += [
            exchange(r["prompt"], r["response"] if whole else _sentences(r["response"])[0])
            for r in _drawn(name, "base", n, rng)
        ]
    rng.shuffle(rows)
    return rows


def _drawn(name: str, split: str, n: int, rng: random.Random) -> list[dict]:
    pool = [r for r in resources.embedded(f"{name}.jsonl") if r["split"] == split]
    if n > len(pool):
        raise UserError(f"{n} {name} were asked for as training rows; there are {len(pool)}")
    return rng.sample(pool, n)


def _refusal(category: str, rng: random.Random) -> str:
    pool = [
        r["text"]
        for r in resources.embedded("refusals.jsonl")
        if {"*", category} & {*r["categories"]}
    ]
    return rng.choice(pool)


def answered(n: int, form: str, dialect: str, seed: int = 0) -> list[dict]:
    """Draw `n` look-alikes of the arms' split with their answers, after a thought where the `form`
    is long or short (no other was written). Raises UserError where there are fewer."""
    thoughts_of = {r["id"]: r for r in resources.embedded("reflective.jsonl")}
    return [
        exchange(
            r["prompt"], thoughts.join(thoughts_of[r["id"]].get(form, ""), r["response"], dialect)
        )
        for r in _drawn("lookalikes", "tune", n, random.Random(seed))
    ]


def describe(rows: list[dict], beside: list[dict] = ()) -> dict:
    """What the refusals among training rows look like: how many, how long (median words), how many
    have a thought, and how many answer a request that is among the rows `beside`, too."""
    from statistics import median

    told = [(r["prompt"][-1]["content"], r["completion"][0]["content"]) for r in rows]
    refused = [(p, a) for p, a in told if refusals.classify(p, a) == "refusal"]
    others = {r["prompt"][-1]["content"] for r in beside}
    return {
        "refusals": len(refused),
        "words": median(len(a.split()) for _, a in refused) if refused else 0,
        "with a thought": sum(bool(thoughts.split(a).thought) for _, a in refused),
        "requests shared": sum(p in others for p, _ in refused),
    }
