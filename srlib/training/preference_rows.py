"""What preference and reward training learns from: DPO's pairs and GRPO's questions.

Pairs are made of our own rows: our refusal of a harmful request against what the arm says itself,
and our help with a look-alike against a refusal of it. Questions are prompts alone.

    own = candidates(64, 32, form="long", dialect="openo1")
    pairs(own, lm, settings, profile / "completions" / "to_reject.jsonl").rows[0]
    {"prompt": [{"role": "user", "content": "…"}],
     "chosen": [{"role": "assistant", "content": "<Thought>…</Thought>…I can't help with that."}],
     "rejected": [{"role": "assistant", "content": "<Thought>…</Thought>…"}]}

    questions(evalsets.load("stories", "reasoning", 8, part="tune"))[0]
    {"prompt": [{"role": "user", "content": "…"}], "kind": "reasoning", "gold": "6"}
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from .. import refusals
from ..base import resources
from ..data import evalsets, mixtures, trainsets
from ..errors import UserError
from ..generation import asking, engine
from ..models import loading
from . import recipe

UNWANTED = {"harmful": "compliance", "benign": "refusal"}


class TooFewPairsError(UserError):
    """An arm says too little that is to be unlearnt. `note` says how little, in a table's cell:
    "3 harmful pairs, 8 are needed"."""

    def __init__(self, arm: str, note: str, left_out: dict[str, int]):
        why = "; ".join(f"{n} {label}" for label, n in left_out.items()) or "no candidates"
        super().__init__(
            f"{arm} gives {note} (left out: {why}): ask for more candidates, or take another arm"
        )
        self.note = note


@dataclass(frozen=True)
class Pairs:
    """DPO's rows, how many of each kind they are, and what was left out, by kind and label."""

    rows: list[dict]
    kept: dict[str, int]
    left_out: dict[str, int]


def candidates(
    harmful: int, benign: int, form: str = "long", dialect: str = "think", seed: int = 0,
    evaluation: Sequence[str] = (),
) -> list[dict]:  # fmt: skip
    """Our own answers to requests of the tuning split: refusals of harmful ones, help with benign
    look-alikes, both after a thought of the `form` (`mixtures.FORMS`) in the dialect's tags.

    Rows as `mixtures.exchange` makes them, with `id` and `kind`. Prompts that are `evaluation`
    prompts, or nearly, are left out. Raises UserError as `mixtures.build` and `answered` do.
    """
    known = {
        r["prompt"]: {"id": r["id"], "kind": kind}
        for file, kind in (("harmful", "harmful"), ("lookalikes", "benign"))
        for r in resources.embedded(f"{file}.jsonl")
        if r["split"] == "tune"
    }
    seen = mixtures.matcher(tuple(evaluation))
    rows = mixtures.answered(benign, form, dialect, seed) if benign else []
    if harmful:
        refusing = mixtures.Mixture("", 0, "reflective", harmful, form, dialect=dialect, seed=seed)
        rows += mixtures.build(refusing, list(evaluation)).rows
    random.Random(seed).shuffle(rows)
    return [
        row | known[asked]
        for row in rows
        if (asked := row["prompt"][-1]["content"]) in known and not seen(asked)
    ]


def pairs(
    rows: list[dict], arm: loading.LM, settings: asking.Settings, path: Path,
    balance: bool = False, least: int = 0,
) -> Pairs:  # fmt: skip
    """DPO's pairs out of `candidates`: our own answer is chosen; what the arm says itself (made by
    `engine.complete`, kept in `path`) is rejected, where it is what is to be unlearnt.

    That is compliance with a harmful request (cut off or not: it goes along so far), and a
    refusal of a benign one. Anything else is left out and counted. With `balance` our own refusals
    are rejected for the benign requests that the arm does not refuse: an arm that refuses nothing
    has no pair otherwise that tells it when not to. Raises TooFewPairsError where fewer than
    `least` pairs of harmful requests are left, or none of any kind: an arm that goes along with
    nothing has nothing to unlearn. UserError for requests of an evaluation split.
    """
    _check_split([r["prompt"][-1]["content"] for r in rows])
    requests = [asking.Request(r["id"], r["kind"], r["prompt"]) for r in rows]
    records = engine.complete(arm, requests, settings, path, f"{arm.name}, to be rejected")
    plain = cycle(r["text"] for r in resources.embedded("refusals.jsonl") if "*" in r["categories"])
    made, kept, left_out = [], Counter(), Counter()
    for row, record in zip(rows, records, strict=True):
        kind, text = row["kind"], record["text"]
        label = refusals.classify(row["prompt"][-1]["content"], text)
        if label == UNWANTED[kind]:
            kept[kind] += 1
        elif balance and kind == "benign":
            text = next(plain)
            kept["benign, balance"] += 1
        else:
            left_out[f"{kind}: {label or 'unscored'}"] += 1
            continue
        rejected = [{"role": "assistant", "content": text}]
        made.append({"prompt": row["prompt"], "chosen": row["completion"], "rejected": rejected})
    if not made or kept["harmful"] < least:
        note = f"{kept['harmful']} harmful pair{'' if kept['harmful'] == 1 else 's'}"
        note = f"{note}, {least} are needed" if least else "nothing to reject"
        raise TooFewPairsError(arm.name, note, left_out)
    return Pairs(made, dict(kept), dict(left_out))


def questions(rows: Sequence[evalsets.Row], evaluation: Sequence[str] = ()) -> list[dict]:
    """GRPO's rows: prompts with `kind` and `gold`, out of `evalsets.load(…, part="tune")` say.

    Prompts that are `evaluation` prompts, or nearly, are left out. Raises UserError where one is an
    evaluation row of the package's own sets, or where none is left.
    """
    own = [
        (evalsets.GENERATED[r.data].module, r.prompt) for r in rows if r.data in evalsets.GENERATED
    ]
    _check_split([r.prompt for r in rows], [q for task, q in own if task.part_of(q) == "eval"])
    seen = mixtures.matcher(tuple(evaluation))
    kept = [r for r in rows if not seen(r.prompt)]
    if not kept:
        raise UserError(
            f"of {len(rows)} prompts none is left to train on: the others are evaluation prompts; "
            "ask for more"
        )
    return [
        {"prompt": mixtures.exchange(r.prompt, "")["prompt"], "kind": r.kind, "gold": r.gold}
        for r in kept
    ]


def rows_of(method: str, values: dict, evaluation: Sequence[str]) -> list[dict]:
    """A method's `candidates` or `questions` out of a notebook's parameters.

    `<method>_rows` harmful requests and `<method>_benign` look-alikes; for GRPO `grpo_reasoning`
    problems, too; drawn by the seed of the arm that learns from them. Raises UserError as these do.
    """
    harmful, benign = values[f"{method}_rows"], values[f"{method}_benign"]
    seed = recipe.seeds(values)[0]
    if method == "dpo":
        tags = trainsets.dialect(values["long_set"])
        return candidates(harmful, benign, values["dpo_form"], tags or "think", seed, evaluation)
    wanted = [(values["grpo_data"], "reasoning", values["grpo_reasoning"])]
    wanted += [("harmful", "harmful", harmful), ("lookalikes", "benign", benign)]
    rows = [r for name, kind, n in wanted if n
            for r in evalsets.load(name, kind, n, seed, part="tune")]  # fmt: skip
    return questions(rows, evaluation)


def _check_split(asked: list[str], held_out: Sequence[str] = ()) -> None:
    """Raises UserError where a prompt is an evaluation row of the package's own sets."""
    own = [
        r["prompt"]
        for file in ("harmful", "lookalikes")
        for r in resources.embedded(f"{file}.jsonl")
        if r["split"] == "eval"
    ]
    evalsets.check_disjoint(asked, [*own, *held_out], "the package's own sets")
