"""Mitigations that change no weights: words around the request, or put into the model's mouth.

    text       safety prompt (the test half of PTST), self-reminder, in-context defence
    decoding   ZeroThink (an empty thought), LessThink (a one-line one), SafePath (a thought that
               begins with safety), MoreThink (its end replaced by "Wait"), in all thought dialects

The words, and their sources, are data: `assets/mitigations.yaml`.

    named("zero think", "openo1")  ->  Mitigation("zero think", "decoding", Style(…), "<Thought>…")
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .. import store, thoughts
from ..base import resources
from ..errors import UserError, meant
from ..generation import engine, prompts

TEXT = ("safety prompt", "self-reminder", "in-context defence")
DECODING = ("zero think", "less think", "safe path", "more think")


@dataclass(frozen=True)
class Mitigation:
    """A prompt style, what the reply begins with, and how often its thought is made to go on."""

    name: str
    family: str
    style: prompts.Style
    prefill: str = ""
    more: int = 0


def named(name: str, dialect: str, system: str = "", shots: int = 2, times: int = 2) -> Mitigation:
    """A mitigation for a model that thinks in `dialect`, asked after the system prompt `system`.

    `shots` refusals are shown by the in-context defence (Wei et al. 2023, arXiv 2310.06387);
    `times` is how often MoreThink makes a thought go on. Raises UserError for unknown names.
    """
    words, plain = resources.asset("mitigations.yaml"), prompts.direct(system)
    if name == "safety prompt":
        return Mitigation(name, "text", replace(plain, name=name, system=words["safety_prompt"]))
    if name == "self-reminder":
        around = {f"remind_{side}": text for side, text in words["reminder"].items()}
        return Mitigation(name, "text", replace(plain, name=name, **around))
    if name == "in-context defence":
        prompts.few_shot(0, shots)  # are there so many?
        return Mitigation(name, "text", replace(plain, name=f"{name} {shots}", refusals=shots))
    if name not in DECODING:
        known = (*TEXT, *DECODING)
        raise UserError(
            f"mitigation {name!r} is unknown{meant(name, known)}; use {', '.join(known)}"
        )
    style = replace(
        plain, name=f"{name}, {dialect}" + (f" ×{times}" if name == DECODING[3] else "")
    )
    if name == "more think":
        if times < 1:
            raise UserError(f"think_times is {times}; use 1 or more")
        return Mitigation(name, "decoding", style, more=times)
    return Mitigation(name, "decoding", style, _prefill(name, dialect, words))


def _prefill(name: str, dialect: str, words: dict) -> str:
    """What the reply begins with, as a training row of the dialect would."""
    if dialect not in thoughts.DIALECTS:
        raise UserError(f"dialect {dialect!r} is unknown; use {', '.join(thoughts.DIALECTS)}")
    opened, closed, answer, _ = thoughts.DIALECTS[dialect]
    if name == "safe path":
        return f"{opened}\n{words['safe_path']}"
    thought = [words["less_think"]] if name == "less think" else [""]
    whole = "\n".join(filter(None, [opened, *thought, closed])) + "\n\n"
    return whole + (f"{answer}\n" if answer else "")


def complete(
    lm, requests, settings, folder: Path, mitigation: Mitigation, label: str = ""
) -> list[dict]:
    """The completion records of the requests under a mitigation, kept in `folder`.

    A prefill is part of the text. `new_tokens` counts what was generated, over all of MoreThink's
    rounds; a thought that never ends, or an answer without a thought, is not made to go on.
    """
    file = folder / f"{store.slug(lm.name)}--{store.slug(mitigation.style.name)}.jsonl"
    asked = [replace(r, prefill=mitigation.prefill) for r in requests]
    records = engine.complete(lm, asked, settings, file, label)
    wait = resources.asset("mitigations.yaml")["more_think"]
    for turn in range(1, mitigation.more + 1):
        begun = [thoughts.reopened(record["text"]) for record in records]
        stopped = [record["finish"] == "filtered" for record in records]
        again = [i for i, text in enumerate(begun) if text and not stopped[i]]
        more = [replace(asked[i], prefill=f"{begun[i]}\n{wait}") for i in again]
        room = engine.fitting(lm, more, settings)
        more, again = [more[i] for i in room], [again[i] for i in room]
        if not more:
            break
        part = file.with_name(f"{file.stem}--{turn}.jsonl")
        found = engine.complete(lm, more, settings, part, f"{label}, round {turn}")
        for i, record in zip(again, found, strict=True):
            used = records[i]["new_tokens"] + record["new_tokens"]
            records[i] = record | {"new_tokens": used}
    return records
