"""The embedded reasoning task: stories that follow one quantity, made from a seed.

A start (2-9), then changes by one digit (1-9), up or down, the value staying between 0 and 15: what
a 135M-parameter model can learn to work out step by step in some 250 rows, and hardly at once. Two
to four changes are trained on; longer stories are a harder set for evaluation. Scenes and wordings:
``assets/stories.yaml``, put together by `srlib.data.stories_telling`.

Training and evaluation are split by structure: a story's skeleton (the wordings of its start and of
its changes in their order, and so its scene and signs; numbers, names, pronouns, openings such as
"then" and the question's wording left out) is hashed with SHA-256, and the hash alone decides the
part; one skeleton in four is for evaluation. A sequence of numbers may be in both, and so may a
single sentence.

Example row, shortened::

    Story(id="story-eval-0-00003", question="5 people are on the bus. 3 people get on. Then 2 people
          get off. How many people are on the bus now?", answer="6", scene="bus", start=5,
          changes=(3, -2), direct="The answer is 6.", short="3 get on, so 5 + 3 = 8. Then 2 get off,
          so 8 - 2 = 6. The answer is 6.", thought="I need to find how many people are on the bus
          at the end. …", final="6 people are on the bus now. The answer is 6.")
"""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from ..errors import UserError
from .stories_telling import FORMS, Telling, bank, numbered, sentences

PARTS = ("train", "eval")
CHANGES, LONG = (2, 3, 4), (5, 6, 7)  # how many changes the trained and the far stories have
LARGEST = 15
MAX_TRIES = 1000  # for one story; a dozen are usual


@dataclass(frozen=True)
class Story:
    """Hold one story. `changes` are signed; `thought` has no tags; `final` is the answer part after
    it. `direct`, `short` and `final` end with "The answer is n."."""

    id: str
    question: str
    answer: str
    scene: str
    start: int
    changes: tuple[int, ...]
    direct: str
    short: str
    thought: str
    final: str


def make(
    n: int, seed: int = 0, part: str = "train", changes: tuple[int, ...] = CHANGES
) -> list[Story]:
    """Make `n` stories with distinct questions, the same in every process; `make(n)` begins
    `make(n + m)`.

    The numbers of `changes` (each from 2 to 7) take turns, and so do the scenes, in an order drawn
    by the seed. Seeds of one part may repeat each other's stories, the parts never do. Raises
    UserError for a wrong argument, or if `n` distinct stories cannot be found.
    """
    if n < 1:
        raise UserError(f"n is {n}: ask for at least 1 story")
    if part not in PARTS:
        raise UserError(f"unknown part {part!r}: choose one of {', '.join(PARTS)}")
    if not changes or not {*changes} <= {*CHANGES, *LONG}:
        raise UserError(f"changes is {changes!r}: give one or more of 2, 3, 4, 5, 6, 7")
    scenes, order = sorted(bank()["scenes"]), []
    made: dict[str, Story] = {}
    for i in range(n):
        if i % len(scenes) == 0:
            order = random.Random(f"scenes/{part}/{seed}/{i}").sample(scenes, len(scenes))
        rng = random.Random(f"stories/{part}/{seed}/{i}")
        for _ in range(MAX_TRIES):
            told = _draw(rng, order[i % len(scenes)], changes[i % len(changes)], part)
            if told and told[1] not in made:
                break
        else:
            raise UserError(f"found only {i} distinct stories: ask for fewer, or more changes")
        made[told[1]] = _solved(f"story-{part}-{seed}-{i:05d}", order[i % len(scenes)], *told)
    return list(made.values())


def skeleton(question: str) -> str | None:
    """Read the wordings of a story's start and changes, numbers and persons masked; None where a
    text is no story of ours. The last sentence, which asks, is left out."""
    first, *told = re.split(r"(?<=[.?!])\s+", question.strip())[:-1] or [""]
    starts, changes = _known()
    if not (found := starts.get(_masked(first))):
        return None
    scene, opening = found
    wordings = [changes[scene].get(_masked(_leads().sub("", text.lower()))) for text in told]
    return " ".join([opening, *wordings]) if wordings and all(wordings) else None


def part_of(question: str) -> str | None:
    """Find the part ("train" or "eval") of a story from its skeleton's hash alone; None where a
    text is no story of ours."""
    if not (shape := skeleton(question)):
        return None
    return "train" if hashlib.sha256(shape.encode()).digest()[0] % 4 else "eval"


def _draw(rng: random.Random, scene: str, k: int, part: str) -> tuple[Telling, str] | None:
    """Try to make a story and its question; None if its numbers or its part do not fit."""
    if not (numbers := _numbers(rng, k)):
        return None
    telling = Telling(rng, scene, *numbers)
    question = telling.question()
    return (telling, question) if part_of(question) == part else None


def _numbers(rng: random.Random, k: int) -> tuple[int, tuple[int, ...]] | None:
    """Draw a start and `k` changes that end at a value drawn first, so that answers are spread
    evenly; None if the values leave their bounds."""
    answer, start = rng.randint(0, LARGEST), rng.randint(2, 9)
    changes = [rng.choice([-1, 1]) * rng.randint(1, 9) for _ in range(k - 1)]
    changes.append(answer - start - sum(changes))
    values = accumulate(changes, initial=start)
    if not 1 <= abs(changes[-1]) <= 9 or not all(0 <= v <= LARGEST for v in values):
        return None
    if min(changes) > 0 and rng.random() < 0.4:
        return None  # else adding up all numbers would too often be right
    return start, tuple(changes)


def _solved(id_: str, scene: str, telling: Telling, question: str) -> Story:
    answer = str(telling.start + sum(telling.changes))
    direct = f"The answer is {answer}."
    return Story(
        id_, question, answer, scene, telling.start, telling.changes, direct,
        short=f"{telling.short()} {direct}", thought=telling.thought(),
        final=f"{telling.final()} {direct}",
    )  # fmt: skip


@cache
def _known() -> tuple[dict[str, tuple[str, str]], dict[str, dict[str, str]]]:
    """List masked sentences: those that start a story, with their scene, and by scene those that
    tell a change. Both numbers of a wording have one mask, the plural's."""

    def mask(template: str, n: int) -> str:
        return _masked(sentences(numbered(template, n), "Maya", "she"))

    starts, changes = {}, {}
    for name, scene in bank()["scenes"].items():
        starts |= {mask(text, 2): (name, mask(text, 2)) for text in scene["starts"]}
        texts = [text for text, _ in scene["ups"] + scene["downs"]]
        changes[name] = {mask(text, n): mask(text, 2) for text in texts for n in (1, 2)}
    return starts, changes


def _masked(sentence: str) -> str:
    return _masks().sub(lambda m: "#" if m[0].isdigit() else "_", sentence.lower())


@cache
def _masks() -> re.Pattern[str]:
    people = {name.lower() for names in bank()["names"].values() for name in names}
    people |= {form for forms in FORMS.values() for form in forms}
    return re.compile(rf"\b(?:(?:{'|'.join(sorted(people))})(?:'s)?|\d+)\b")


@cache
def _leads() -> re.Pattern[str]:
    leads = {re.escape(lead.lower()) for some in bank()["leads"].values() for lead in some}
    return re.compile(rf"^(?:{'|'.join(sorted(leads))})")
