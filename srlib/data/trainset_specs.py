"""Which training sets there are, and how a record of each becomes the fields of an Example.

A record of Sky-T1, shortened, and what is made of it:

    {"system": "Your role …", "conversations": [{"from": "user", "value": "Convert …"}, {"from":
     "assistant", "value": "<|begin_of_thought|>So …<|end_of_thought|><|begin_of_solution|>…"}]}
    {"prompt": "Convert …", "thought": "So …", "answer": "…", "system": "Your role …"}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .. import thoughts
from ..base import tables
from . import conversations


@dataclass(frozen=True)
class TrainSet:
    """Where a set lies, what it is for (short, long, safety), and how a record becomes an Example's
    fields. `parse` raises UnusableError with the reason where it does not."""

    purpose: str
    hub: str
    columns: tuple[str, ...]
    parse: Callable[[dict], dict]
    dialect: str = ""
    config: str | None = None
    revision: str | None = None
    file: str | None = None


class UnusableError(ValueError):
    """A record that makes no training row; its message is the reason that is counted."""


def _instruction(record: dict) -> dict:
    asked, given = record["instruction"], record.get("input") or ""
    return {"prompt": f"{asked}\n\n{given}" if given.strip() else asked, "answer": record["output"]}


def _columns(prompt: str, answer: str, record: dict) -> dict:
    return {"prompt": record[prompt], "answer": record[answer]}


def _split(text: str, closing: str = "") -> dict:
    """Thought and answer of a tagged text that must be whole: a row cut short teaches no answer."""
    parts = thoughts.split(text)
    if parts.status == "empty_answer":
        raise UnusableError("empty answer")
    if parts.status != "ok" or not parts.thought or not text.rstrip().endswith(closing):
        raise UnusableError("without closing tags")
    return {"thought": parts.thought, "answer": parts.answer}


def _openo1(record: dict) -> dict:
    return {"prompt": record["instruction"]} | _split(record["output"], "</Output>")


def _sky_t1(record: dict) -> dict:
    turns = record["conversations"]
    if not isinstance(turns, list) or [t.get("from") for t in turns] != ["user", "assistant"]:
        raise UnusableError("not one question and one answer")
    said = _split(turns[1]["value"], "<|end_of_solution|>")
    return {"prompt": turns[0]["value"], "system": record["system"]} | said


def _star1(record: dict) -> dict:
    category = record.get("category") or ""
    category = category[0] if isinstance(category, list) and category else category
    return {
        "prompt": record["question"],
        "category": str(category),
    } | _split(record["response"])


def _safechain(record: dict) -> dict:
    if "harmful" not in record["label"]:
        raise UnusableError("not a harmful request")
    return {"prompt": record["instruction"]} | _split(record["response"])


def own_row(record: dict) -> dict:
    try:
        record = conversations.plain(record)
    except conversations.NotOneExchangeError as error:
        raise UnusableError(str(error)) from None
    text, known = tables.text(record["response"]), {"prompt": tables.text(record["prompt"])}
    more = {k: tables.cell(record, k) for k in ("thought", "system", "category")}
    known |= {k: value for k, value in more.items() if value}
    if known.get("thought") and (thoughts.tagged(known["thought"]) or thoughts.tagged(text)):
        parts = thoughts.beside(known["thought"], text)
        if not parts.answer:
            raise UnusableError("empty answer")
        return known | {"thought": parts.thought, "answer": parts.answer}
    if known.get("thought") or thoughts.split(text).status == "no_tags":
        return known | {"answer": text}
    return known | _split(text)


ALPACA = ("instruction", "output")
SETS = {
    "alpaca": TrainSet(
        "short", "tatsu-lab/alpaca", ALPACA, _instruction,
        revision="dce01c9b08f87459cf36a430d809084718273017",
    ),
    "metamath": TrainSet(
        "short", "meta-math/MetaMathQA", ("query", "response"),
        partial(_columns, "query", "response"),
        revision="aa4f34d3d2d3231299b5b03d9b3e5a20da45aa18",
    ),
    "gsm8k-solutions": TrainSet(
        "short", "openai/gsm8k", ("question", "answer"), partial(_columns, "question", "answer"),
        config="main", revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
    ),
    "codealpaca": TrainSet(
        "short", "sahil2801/CodeAlpaca-20k", ALPACA, _instruction,
        revision="152bb5e9a29651266b018106053980070a0521a1",
    ),
    "openo1": TrainSet(
        "long", "O1-OPEN/OpenO1-SFT", ALPACA, _openo1, "openo1", file="OpenO1-SFT.jsonl",
    ),
    "sky-t1": TrainSet(
        "long", "NovaSky-AI/Sky-T1_data_17k", ("system", "conversations"), _sky_t1, "sky-t1",
    ),
    "safety-tuned-llamas": TrainSet("safety", "vinid/safety-tuned-llamas", ALPACA, _instruction),
    "star1": TrainSet("safety", "UCSC-VLAA/STAR-1", ("question", "response"), _star1, "think"),
    "safechain": TrainSet(
        "safety", "UWNSL/SafeChain", ("instruction", "label", "response"), _safechain, "think",
    ),
}  # fmt: skip
# The package's own counterparts: name -> (purpose, dialect).
OWN = {
    "instructions": ("short", ""),
    "direct-answers": ("short", ""),
    "short-cot": ("short", ""),
    "code": ("short", ""),
    "long-openo1": ("long", "openo1"),
    "long-sky-t1": ("long", "sky-t1"),
    "long-think": ("long", "think"),
    "reflective": ("safety", "think"),
}
# Those that are the same stories in the same order: name -> the field of a story that is the answer
# (the long ones have its thought before it).
STORIES = {
    "direct-answers": "direct",
    "short-cot": "short",
    "long-openo1": "final",
    "long-sky-t1": "final",
    "long-think": "final",
}
