"""What a text is about, by its words: sentences, content stems, restated goals, arithmetic.

Used by `srlib.grading.failures`. Phrases and word lists are data (``assets/failures.yaml``), stems
those of Snowball's English stemmer (Porter). English only; a synonym is another word.

    stems("Explain how to steal a bicycle.")              ->   frozenset({"steal", "bicycl"})
    goal("Hm. The user wants to sell bread. Let me …")    ->   "The user wants to sell bread."
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import NamedTuple

from ..base import resources

ENOUGH = 25  # content stems from which on a text would name its topic

_END = re.compile(
    r"(?<=[.!?…])(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\b[DM]r\.)(?<!\bMrs\.)(?<!\bvs\.)"
    r"[\"'”’)\]*_]*[^\S\n]+|(?<=[。！？])|$",
    re.MULTILINE,
)
_MARKER = re.compile(r"[\s>*_#]*(?:[-+*•·–]|\(?(?:\d{1,2}|[a-z])[.)])[*_]*(?:\s+|$)")
CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)


class Sentence(NamedTuple):
    start: int
    text: str
    item: bool  # opens a list item
    order: int  # length of the order word that opens it, 0 for none


def sentences(text: str) -> list[Sentence]:
    """Return the sentences that hold a word, without list markers and fences of code blocks."""
    parts, at = [], 0
    for end in _END.finditer(text):
        marker = _MARKER.match(text, at, end.start())
        if marker and marker.end() == end.start():
            continue  # "1." ends no sentence
        start = marker.end() if marker else at
        start += len(text[start : end.start()]) - len(text[start : end.start()].lstrip())
        said = text[start : end.start()].rstrip()
        if any(map(str.isalnum, said)) and not said.startswith("```"):
            order = phrases("order").match(said)
            parts.append(Sentence(start, said, bool(marker), order.end() if order else 0))
        at = end.end()
    return parts


def goal(text: str) -> str:
    """Return the first sentence with a goal phrase and a topic, or ""."""
    for _, said, *_ in sentences(text):
        groups = ("asked", "planned", "announced")
        if stems(said) and any(phrases(g).search(said) for g in groups):
            return said
    return ""


def overlap(asked: frozenset[str], text: str) -> float:
    """Return the share of the request's stems in the text, without its sentences on the user's wish
    where at least `ENOUGH` stems remain. 1 for a request without stems."""
    body = [s.text for s in sentences(text) if not phrases("asked").search(s.text)]
    text_stems = stems("\n".join(body))
    text_stems = text_stems if len(text_stems) >= ENOUGH else stems(text)
    return len(asked & text_stems) / len(asked) if asked else 1.0


def arithmetic(text: str) -> bool:
    """Return whether a text, code aside, has two signs of arithmetic: sums, "how many", units."""
    prose = CODE.sub(" ", text)
    return sum(len(phrases(g).findall(prose)) for g in ("equations", "wordproblem")) >= 2


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


@cache
def phrases(group: str) -> re.Pattern[str]:
    """Compile one of the asset's groups of patterns; the asset's head says how they are written."""
    asset = resources.asset("failures.yaml")
    text = re.sub(r"<([a-z_]+)>", lambda m: asset[m[1]].strip(), "|".join(asset[group]))
    text = text.replace(" ?", r"\s*").replace(" ", r"\s+").replace("'", "['’]")
    return re.compile((r"[\W_]*" if group == "order" else "") + f"(?:{text})", re.IGNORECASE)


@cache
def words(group: str) -> frozenset[str]:
    """Return the stems of one of the asset's lists of words."""
    return frozenset(map(stem, resources.asset("failures.yaml")[group].split()))


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    import snowballstemmer

    return snowballstemmer.stemmer("english").stemWord(word)


def subjects(text: str) -> frozenset[str]:
    """Return the content stems that can name a topic: neither number words nor single letters."""
    return frozenset(s for s in stems(text) if len(s) > 2) - _number_words()


@cache
def _number_words() -> frozenset[str]:
    listed = resources.asset("failures.yaml")["number"].replace("?", "").strip()
    return frozenset(map(stem, ["one", "zero", *listed.split("|")]))


def stems(text: str) -> frozenset[str]:
    """Return the content stems of a text: no function words, no words of asking, no figures."""
    all_stems = {stem(w) for w in folded(text).split() if len(w) > 1 and not w[0].isdigit()}
    return frozenset(all_stems - words("stop") - words("scaffolding"))


def folded(text: str) -> str:
    """Give the words of a text in lower case, one space between them."""
    return " ".join(re.findall(r"\w+", text.casefold()))
