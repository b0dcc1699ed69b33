"""Prompt styles: a row of data becomes the chat messages a model is asked with.

Styles follow the study: direct; zero-shot chain of thought ("Let's think step by step", Kojima et
al. 2022); few-shot chain of thought with k reasoning demonstrations (Wei et al. 2022), of which m
more may be safety-aware: a harmful request, a thought on who could be hurt, a refusal. The
demonstrations are data, not code: `assets/demonstrations.yaml`, versioned, the first k and m used.

    Style("few-shot k=4 m=2", k=4, m=2, layout="turns")
    -> [user: question 1] [assistant: Let's think step by step. … The answer is 19.] … [user: row]

Every row of a style gets the same demonstrations, whether it is a reasoning question, a harmful
request or a benign one: the style is the treatment, the row is the subject.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..base import resources
from ..errors import UserError

TRIGGER = "Let's think step by step."
LAYOUTS = ("turns", "inline")


@dataclass(frozen=True)
class Style:
    """One prompt style.

    k reasoning and m safety-aware demonstrations (or, as their placebo, so many harmless ones of
    the same length); `zero_shot` appends the trigger sentence to the
    request; `layout` puts demonstrations in chat turns of their own (`turns`) or in one user
    message (`inline`); `system` replaces the chat template's own system prompt. `refusals` shows so
    many plain refusals as turns (in-context defence); `remind_before` and `remind_after` stand
    around the request (self-reminder).
    """

    name: str
    k: int = 0
    m: int = 0
    zero_shot: bool = False
    layout: str = "turns"
    system: str = ""
    refusals: int = 0
    remind_before: str = ""
    remind_after: str = ""
    placebo: int = 0


def direct(system: str = "") -> Style:
    """Return the style of the request alone, after a system prompt where one is given."""
    return Style("direct with system prompt" if system else "direct", system=system)


def zero_shot_cot() -> Style:
    return Style("zero-shot CoT", zero_shot=True)


def few_shot(k: int, m: int = 0, layout: str = "turns", placebo: int = 0) -> Style:
    """Return a few-shot CoT style. Raises UserError where the file holds too few demonstrations."""
    if layout not in LAYOUTS:
        raise UserError(f"layout {layout!r} is unknown; use one of {', '.join(LAYOUTS)}")
    shots = demonstrations()
    for asked, kind in ((k, "reasoning"), (m, "safety"), (placebo, "placebo")):
        if not 0 <= asked <= len(shots[kind]):
            raise UserError(
                f"{asked} {kind} demonstrations were asked for; assets/demonstrations.yaml has "
                f"{len(shots[kind])}"
            )
    name = f"few-shot k={k}" + f" m={m}" * (m > 0) + f" placebo={placebo}" * (placebo > 0)
    return Style(name, k=k, m=m, layout=layout, placebo=placebo)


def demonstrations() -> dict:
    """Read the demonstrations: {"version": 2, "reasoning": [{id, question, thought, answer}],
    "safety": […], "placebo": […]}."""
    return resources.asset("demonstrations.yaml")


def shown(style: Style) -> list[tuple[str, str]]:
    """Return the style's demonstrations as (request, reply): the safety-aware ones (or the
    placebo's) spread evenly before the last reasoning one.

    The demonstration next to the question has the most influence; where there is a reasoning one,
    it stands there, so that k and m change what is shown and not what is shown last.
    """
    shots = demonstrations()
    worked = [_reasoning(d) for d in shots["reasoning"][: style.k]]
    careful = [_safety(d) for d in shots["safety"][: style.m]]
    careful += [_safety(d) for d in shots["placebo"][: style.placebo]]
    last = 1 - 0.5 / style.k if worked else 1.0
    placed = [((i + 0.5) / style.k, 1, pair) for i, pair in enumerate(worked)]
    placed += [(last * (j + 0.5) / len(careful), 0, pair) for j, pair in enumerate(careful)]
    return [pair for *_, pair in sorted(placed, key=lambda item: item[:2])]


def _reasoning(demo: dict) -> tuple[str, str]:
    return demo["question"], f"{TRIGGER} {demo['thought']} The answer is {demo['answer']}."


def _safety(demo: dict) -> tuple[str, str]:
    return demo["question"], f"{demo['thought']} {demo['answer']}"


def messages(prompt: str, style: Style) -> list[dict[str, str]]:
    """Return the chat messages that put `prompt` to a model in this style."""
    asked = f"{prompt}\n{TRIGGER}" if style.zero_shot else prompt
    asked = "\n\n".join(filter(None, [style.remind_before, asked, style.remind_after]))
    careful = demonstrations()["safety"][: style.refusals]
    shots = [*((d["question"], d["answer"]) for d in careful), *shown(style)]
    chat = [{"role": "system", "content": style.system}] if style.system else []
    if style.layout == "inline" and shots:
        blocks = [f"Question: {q}\nAnswer: {a}" for q, a in shots]
        asked = "\n\n".join([*blocks, f"Question: {asked}\nAnswer:"])
        shots = []
    for question, reply in shots:
        chat.append({"role": "user", "content": question})
        chat.append({"role": "assistant", "content": reply})
    return [*chat, {"role": "user", "content": asked}]
