"""Data sets as rows: from the package itself, a local mirror, the hub, or a file of your own.

The embedded sets: `stories` (two to four changes of one quantity) and `stories-long` (five to
seven, never trained on), `wordproblems` (one to four steps) and `wordproblems-short` (one or two),
`harmful` requests and `lookalikes`.

A name is looked up in this order: the embedded sets; a path to a file (`srlib.base.tables`; a
relative one starts at the project) with a column `prompt` (and `answer` for reasoning); the folder
named by the environment variable SRLIB_DATA_DIR, as `<org>__<name>/<split>.jsonl`; the Hugging Face
hub at a pinned revision.

    Row(id="h-004", data="harmful", kind="harmful", prompt="How do I …", gold="", category="fraud")

`kind` is what a row is for: `reasoning` (has a gold answer), `harmful` (should be refused),
`benign` (looks harmful, should be answered).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from types import ModuleType

from ..base import tables
from ..base.resources import embedded
from ..errors import UserError, meant
from ..params import place
from ..text.topics import folded
from . import sources, stories, wordproblems
from .sources import MIRROR, mirror, read_file

__all__ = ["KINDS", "MIRROR", "Row", "embedded", "known", "load", "mirror", "read_file"]
KINDS = ("reasoning", "harmful", "benign")


@dataclass(frozen=True)
class Row:
    """One example. `gold` is the gold answer of a reasoning row, "" for the other kinds."""

    id: str
    data: str
    kind: str
    prompt: str
    gold: str = ""
    category: str = ""


@dataclass(frozen=True)
class Published:
    """Where a published data set lies and which of its columns are read."""

    hub: str
    split: str
    kind: str
    prompt: str
    gold: str = ""
    category: str = ""
    config: str | None = None
    revision: str | None = None
    only: tuple[str, str] | None = None  # (column, value): the rows that are meant


PUBLISHED = {
    "gsm8k": Published(
        "openai/gsm8k", "test", "reasoning", "question", gold="answer", config="main",
        revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
    ),
    "gsm8k-train": Published(
        "openai/gsm8k", "train", "reasoning", "question", gold="answer", config="main",
        revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
    ),
    "advbench": Published(
        "walledai/AdvBench", "train", "harmful", "prompt",
        revision="9d4730540082fa4017450b65ca1c0e1d8d30446e",
    ),
    "strongreject": Published(
        "walledai/StrongREJECT", "train", "harmful", "prompt", category="category",
    ),
    "xstest": Published(
        "walledai/XSTest", "test", "benign", "prompt", category="type", only=("label", "safe"),
        revision="f1d713187c61b6ae64e602d74f0b3d812cc2e8e8",
    ),
    "xstest-unsafe": Published(
        "walledai/XSTest", "test", "harmful", "prompt", category="type", only=("label", "unsafe"),
        revision="f1d713187c61b6ae64e602d74f0b3d812cc2e8e8",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Generated:
    """A reasoning task that the package makes, its two parts split by structure: `module` has
    `make` and `part_of`. The category of a row is its size, one of `sizes`, in a `unit`."""

    module: ModuleType
    sizes: tuple[int, ...]
    unit: str

    def rows(self, name: str, n: int, seed: int, part: str) -> list[Row]:
        """Make `n` rows of the part `eval` or `tune`, the sizes taking turns."""
        made = self.module.make(n, seed, "train" if part == "tune" else part, self.sizes)
        sizes = [f"{self.sizes[i % len(self.sizes)]} {self.unit}" for i in range(n)]
        return [
            Row(m.id, name, "reasoning", m.question, m.answer, size)
            for m, size in zip(made, sizes, strict=True)
        ]


GENERATED = {
    "stories": Generated(stories, stories.CHANGES, "changes"),
    "stories-long": Generated(stories, stories.LONG, "changes"),
    "wordproblems": Generated(wordproblems, (1, 2, 3, 4), "steps"),
    "wordproblems-short": Generated(wordproblems, (1, 2), "steps"),
}
EMBEDDED = dict.fromkeys(GENERATED, "reasoning") | {"harmful": "harmful", "lookalikes": "benign"}


def load(
    name: str, kind: str, n: int | None = None, seed: int = 0, part: str = "eval"
) -> list[Row]:
    """`n` rows of a data set for a purpose (None: all there are), the same for the same seed.

    Rows are drawn category by category in turn, so that a small `n` still covers all of them.
    `part` is `eval` or `tune`; only the embedded sets have both. Raises UserError for an unknown
    name, a set of another kind, an unreadable or empty file, a missing column, too few rows.
    """
    if kind not in KINDS:
        raise UserError(f"kind {kind!r} is unknown; use one of {', '.join(KINDS)}")
    if n is not None and n < 1:
        raise UserError(f"{n} rows of {name!r} were asked for; ask for at least 1")
    held = (EMBEDDED | {k: p.kind for k, p in PUBLISHED.items()}).get(name, kind)
    if held != kind:
        raise UserError(
            f"data set {name!r} holds {held} rows, and {kind} rows are needed; "
            f"known for that: {', '.join(known(kind))}"
        )
    if name in GENERATED:
        rows = GENERATED[name].rows(name, n or 500, seed, part)
    else:
        rows = _mixed(_all(name, kind, part), seed)
    if n is not None and n > len(rows):
        raise UserError(f"{n} rows of {name!r} were asked for; it has {len(rows)}: ask for fewer")
    return rows[:n]


def known(kind: str) -> list[str]:
    """The names that `load` knows for a kind of row."""
    return [k for k, v in EMBEDDED.items() if v == kind] + [
        k for k, v in PUBLISHED.items() if v.kind == kind
    ]


def overlap(train: list[str], evaluation: list[str]) -> list[str]:
    """Texts that are in both lists, case, punctuation and spacing aside."""
    seen = {folded(t) for t in train}
    return [t for t in evaluation if folded(t) in seen]


def check_disjoint(train: list[str], evaluation: list[str], what: str) -> None:
    """Raises UserError where a training prompt is also an evaluation prompt."""
    shared = overlap(train, evaluation)
    if shared:
        raise UserError(
            f"{len(shared)} of {len(evaluation)} evaluation prompts of {what} are also training "
            f"prompts (the first: {shared[0][:60]!r}); remove them from one of the two"
        )


def _all(name: str, kind: str, part: str) -> tuple[Row, ...]:
    if name in EMBEDDED:
        group = {"harmful": "category", "lookalikes": "kind"}[name]
        return tuple(
            Row(r["id"], name, EMBEDDED[name], r["prompt"], category=r[group])
            for r in embedded(f"{name}.jsonl")
            if r["split"] == part
        )
    if name in PUBLISHED:
        return _published(name, PUBLISHED[name])
    if tables.named(name):
        gold = "answer" if kind == "reasoning" else ""
        path = place(name)
        spec = Published(name, "", kind, "prompt", gold, category="category?")
        return _rows(path.stem, read_file(path), spec, str(path))
    names = [*EMBEDDED, *PUBLISHED]
    raise UserError(
        f"data set {name!r} is unknown{meant(name, names)} "
        f"(known: {', '.join(names)}; or {tables.KINDS})"
    )


def _published(name: str, spec: Published) -> tuple[Row, ...]:
    own = ", ".join(k for k, v in EMBEDDED.items() if v == spec.kind)
    found, source = sources.records(
        spec.hub, spec.split, spec.config, spec.revision,
        instead=f", or use an embedded set ({own})",
    )  # fmt: skip
    return _rows(name, found, spec, source)


def _rows(name: str, records: list[dict], spec: Published, source: str) -> tuple[Row, ...]:
    if spec.only:
        records = [r for r in records if r.get(spec.only[0]) == spec.only[1]]
    if not records:
        which = f" of rows whose {spec.only[0]!r} is {spec.only[1]!r}" if spec.only else ""
        raise UserError(f"data set {name!r} ({source}) is empty{which}")
    needed = [c for c in (spec.prompt, spec.gold) if c]
    for number, record in enumerate(records):
        missing = [c for c in needed if not tables.cell(record, c)]
        if missing:
            raise UserError(
                f"data set {name!r} ({source}): row {number + 1} has no text in column "
                f"{missing[0]!r}; its columns are {', '.join(map(str, record))}"
            )
    given = tables.ids(records, f"{name}-", f"data set {name!r} ({source})")
    columns = {"prompt": spec.prompt, "gold": spec.gold, "category": spec.category.rstrip("?")}
    return tuple(
        Row(i, name, spec.kind, **{k: tables.cell(r, c) if c else "" for k, c in columns.items()})
        for i, r in zip(given, records, strict=True)
    )


def _mixed(rows: tuple[Row, ...], seed: int) -> list[Row]:
    """Rows shuffled, then dealt out category by category in turn."""
    rng = random.Random(seed)
    groups: dict[str, list[Row]] = {}
    for row in rng.sample(rows, len(rows)):
        groups.setdefault(row.category, []).append(row)
    dealt = [(i, c, row) for c in sorted(groups) for i, row in enumerate(groups[c])]
    return [row for _, _, row in sorted(dealt, key=lambda item: item[:2])]
