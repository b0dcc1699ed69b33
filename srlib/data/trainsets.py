"""Training data sets as examples: one row type, the thought and the answer apart.

    Example(id="sky-t1-00007", data="sky-t1", prompt="Convert the point …", thought="So I have …",
            answer="… \\boxed{(3, \\frac{\\pi}{2})}", system="Your role as an assistant …")

Short sets have no thought: Alpaca (Taori et al. 2023), MetaMathQA (Yu et al. 2023), GSM8K's own
solutions (Cobbe et al. 2021), CodeAlpaca (Chaudhary 2023). Long-CoT sets have one: OpenO1-SFT
(O1-OPEN), Sky-T1 (NovaSky). Safety sets: Safety-Tuned LLaMAs (Bianchi et al. 2023), direct;
STAR-1 (Wang et al. 2025) and SafeChain (Jiang et al. 2025), reflective. The package's own sets of
each sort are written for it; `direct-answers`, `short-cot` and the long ones are matched: the same
stories in the same order, answered at once, in a line, or thought through.

A path to a file (`srlib.base.tables`) with the columns prompt and response (and thought, system,
category where it has them) is a set, too, and so is one of conversations or in Alpaca's columns
(`srlib.data.conversations`); a thought may stand in its tags.

A row that cannot be used (no closing tags, an empty answer, several exchanges) is skipped and
counted, never mended; a file in which a needed column is missing, or an id is there twice, is an
error.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from ..base import tables
from ..base.resources import embedded
from ..errors import UserError, meant
from ..params import place
from . import conversations, sources, stories
from .trainset_specs import OWN, SETS, STORIES, UnusableError, own_row


@dataclass(frozen=True)
class Example:
    """One training row; `thought` and `system` are "" where a set has none. `short` is a thought in
    a sentence or two, where a set has one beside the long one."""

    id: str
    data: str
    prompt: str
    answer: str
    thought: str = ""
    system: str = ""
    category: str = ""
    short: str = ""


@dataclass
class Loaded:
    """`n` examples, and why others on the way to them were left out."""

    examples: list[Example]
    skipped: Counter = field(default_factory=Counter)


_FOREIGN = re.compile(r"[\u0370-\u1dff\u2e80-\ud7ff\uf900-\ufaff]")


def known(purpose: str | None = None) -> list[str]:
    """The names that `load` knows, all or those for a purpose (short, long, safety)."""
    everything = {k: p for k, (p, _) in OWN.items()} | {k: s.purpose for k, s in SETS.items()}
    return [k for k, p in everything.items() if purpose in (None, p)]


def dialect(name: str) -> str:
    """The thought tags of a set, "" for a short one; a file of your own is taken for `think`."""
    if name in OWN:
        return OWN[name][1]
    return SETS[name].dialect if name in SETS else "think"


def load(
    name: str,
    n: int | None,
    seed: int = 0,
    avoid: Callable[[str], bool] | None = None,
    english: bool = False,
    budget: int = 0,
    length: Callable[[Example], int] | None = None,
) -> Loaded:
    """`n` examples in an order drawn by the seed; a smaller `n` is the beginning of a larger one.

    With `n` None as many as it takes for their `length`s to reach the `budget`. `avoid` says of a
    prompt whether it must be left out (it is an evaluation prompt); `english` leaves out rows with
    other scripts. Raises UserError for an unknown name, a file that is missing, empty or without a
    needed column, and where there are fewer usable rows than asked for.
    """
    if n is not None and n < 1:
        raise UserError(f"{n} training rows of {name!r} were asked for; ask for at least 1")
    loaded, total = Loaded([]), 0
    for found in _candidates(name, n or 32, seed):
        if len(loaded.examples) == n or (n is None and total >= budget):
            return loaded
        if isinstance(found, str):
            loaded.skipped[found] += 1
        elif english and _foreign(found):
            loaded.skipped["not English"] += 1
        elif avoid and avoid(found.prompt):
            loaded.skipped["in an evaluation set"] += 1
        else:
            loaded.examples.append(found)
            total += length(found) if length else 0
    if len(loaded.examples) == n or (n is None and total >= budget):
        return loaded
    why = "; ".join(f"{count} {reason}" for reason, count in loaded.skipped.items())
    asked = f"{n} training rows" if n else f"{budget} completion tokens"
    raise UserError(
        f"{asked} of {name!r} were asked for; it has {len(loaded.examples)} usable rows"
        f"{f' of {total} tokens' if not n else ''}{f' (left out: {why})' if why else ''}: "
        "ask for fewer"
    )


def _foreign(example: Example) -> bool:
    text = example.prompt + example.thought + example.answer
    return len(_FOREIGN.findall(text)) > 0.05 * len(text)


def _candidates(name: str, n: int, seed: int) -> Iterator[Example | str]:
    """Examples in the seed's order; in the place of an unusable row stands the reason."""
    if name in STORIES:
        yield from _stories(name, n, seed)
        return
    drawn = random.Random(f"trainsets/{seed}")
    if name in OWN:
        rows = _embedded(name)
        yield from drawn.sample(rows, len(rows))
    elif name in SETS:
        spec = SETS[name]
        own = ", ".join(k for k, (purpose, _) in OWN.items() if purpose == spec.purpose)
        found, source = sources.records(
            spec.hub, "train", spec.config, spec.revision, spec.file,
            instead=f", or use an embedded set ({own})",
        )  # fmt: skip
        yield from _parsed(name, source, found, spec.columns, spec.parse, drawn)
    elif tables.named(name):
        path = place(name)
        found, stem = tables.read(path), path.stem
        given = tables.ids(found, f"{stem}-", f"training set {stem!r} ({path})")
        columns = conversations.columns(found)
        yield from _parsed(stem, str(path), found, columns, own_row, drawn, given)
    else:
        raise UserError(
            f"training set {name!r} is unknown{meant(name, known())} "
            f"(known: {', '.join(known())}; or {tables.KINDS})"
        )


def _parsed(name, source, records, columns, parse, drawn, ids=None) -> Iterator[Example | str]:
    """The records in a drawn order, each parsed when its turn comes: a set may be far larger than
    what is asked of it."""
    if not records:
        raise UserError(f"training set {name!r} ({source}) is empty")
    if missing := [c for c in columns if not any(c in r for r in records)]:
        have = ", ".join(map(str, records[0]))
        raise UserError(
            f"training set {name!r} ({source}) has no column {missing[0]!r}; its columns are {have}"
        )
    for i in drawn.sample(range(len(records)), len(records)):
        record = records[i]
        try:
            if any(_empty(record.get(c)) for c in columns):
                raise UnusableError("an empty column")
            told = {k: v.strip() for k, v in parse(record).items()}
            if not (told["prompt"] and told["answer"]):
                raise UnusableError("an empty column")
            named = ids[i] if ids else str(record.get("id") or f"{name}-{i:05d}")
            yield Example(id=named, data=name, **told)
        except UnusableError as reason:
            yield str(reason)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError):  # another shape
            yield "not in the set's form"


def _empty(value) -> bool:
    return value in (None, "", []) or value != value  # NaN


def _embedded(name: str) -> list[Example]:
    if name == "reflective":
        asked = {r["id"]: r for r in embedded("harmful.jsonl") if r["split"] == "tune"}
        return [
            Example(
                i, name, asked[i]["prompt"], r["answer"], r["long"],
                category=asked[i]["category"], short=r["short"],
            )
            for r in embedded("reflective.jsonl") if (i := r["id"]) in asked
        ]  # fmt: skip
    rows, group = (embedded("code.jsonl"), "topic") if name == "code" else (instructions(), "")
    return [
        Example(r["id"], name, r["prompt"], r["response"], category=r.get(group, "")) for r in rows
    ]


def instructions() -> list[dict]:
    """Read the plain instructions, but those that are for the safety-tuned base alone."""
    return [r for r in embedded("instructions.jsonl") if r.get("split", "arms") == "arms"]


def plain(
    n: int, seed: int = 0, avoid: Callable[[str], bool] | None = None, thoughtful: bool = False
) -> Loaded:
    """Draw `n` plain instructions as `load` does, with their thoughts where they are to be
    `thoughtful`. Raises UserError as `load` does, and where a thought is missing."""
    loaded = load("instructions", n, seed, avoid)
    if thoughtful:
        thoughts = {r["id"]: (r.get("thought") or "").strip() for r in instructions()}
        if without := [e.id for e in loaded.examples if not thoughts[e.id]]:
            raise UserError(
                f"instruction {without[0]!r} of instructions.jsonl has no thought, which plain "
                "rows beside a long-CoT set need: write one, or ask for no plain rows"
            )
        loaded.examples = [replace(e, thought=thoughts[e.id]) for e in loaded.examples]
    return loaded


def _stories(name: str, n: int, seed: int) -> Iterator[Example]:
    """Tell stories without end; each longer list begins with the shorter one."""
    given, dialect_ = 0, OWN[name][1]
    while True:
        made = _made(given + max(n, 16), seed)
        for s in made[given:]:
            answer, thought = getattr(s, STORIES[name]), s.thought if dialect_ else ""
            size = f"{len(s.changes)} changes"
            yield Example(s.id, name, s.question, answer, thought, category=size)
        given = len(made)


@lru_cache(maxsize=8)
def _made(n: int, seed: int) -> tuple[stories.Story, ...]:
    """Make the stories of a seed once: arms of several forms and sizes ask for the same ones."""
    return tuple(stories.make(n, seed, "train"))
