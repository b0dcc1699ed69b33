"""How far a text is like English: the order of its words, and the letters of its words.

Two statistics over the package's own texts (instructions, requests, reflections; 50,000 words),
counted when they are first asked for. They tell word salad and random letters from sentences, which
no list of words does: salad is made of good words.

- `order(text)`: mean pointwise mutual information, in bits, of neighbouring words, function words
  as themselves and all others by their ending ("-ing", "-ed", …). Prose is at about 0.4, shuffled
  prose at -0.7, words drawn from a dictionary at 0.
- `letters(text)`: mean surprise of a word's next letter given the two before it, in bits. English
  is at 2.8, other languages at 4 to 5, random letters at 7.

    order("The cat sat on the mat, and it slept there.")   ->   0.5
    letters("xkcd qzrtp wmblf")                            ->   7.9
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from ..base import resources

_WORD = re.compile(r"[a-z']+")
_CLAUSE = re.compile(r"[.!?:;,\n()\"\d=*/+\[\]$]+")
_ENDINGS = ("ing", "ed", "ly", "s")
_FUNCTION_WORDS = 120  # the most frequent words of the texts
_MOST = 3.0  # bits that one pair can add: "the can is" alone makes no salad
_PRIOR = 8.0  # pairs that a word is taken to have been in before any was seen


class _Counts(NamedTuple):
    function: frozenset[str]
    words: Counter  # class -> how often
    pairs: Counter  # (class, class) -> how often
    firsts: Counter  # class -> how often it has a neighbour to its right
    trigrams: Counter
    bigrams: Counter


def order(text: str) -> tuple[float, int]:
    """Return the mean mutual information of neighbouring words in bits, and the number of pairs.

    Pairs are counted within a clause; two content words say nothing, and count as 0.
    """
    counts = _counts()
    total, pairs = 0.0, 0
    whole = sum(counts.words.values())
    for left, right in _pairs(text, counts.function):
        pairs += 1
        if left[0] in "*-" and right[0] in "*-":
            continue
        chance = (counts.words[right] + 0.5) / (whole + 0.5 * len(counts.words))
        after = (counts.pairs[left, right] + _PRIOR * chance) / (counts.firsts[left] + _PRIOR)
        total += min(max(math.log2(after / chance), -_MOST), _MOST)
    return (total / pairs if pairs else 0.0), pairs


def letters(text: str) -> float:
    """Return the mean surprise of the letters of words in bits, accents aside; 0 without any."""
    counts = _counts()
    bits, seen = 0.0, 0
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    for word in _WORD.findall(plain):
        for three in _triples(word):
            chance = (counts.trigrams[three] + 0.05) / (counts.bigrams[three[:2]] + 0.05 * 28)
            bits -= math.log2(chance)
            seen += 1
    return bits / seen if seen else 0.0


def _triples(word: str) -> list[str]:
    padded = f"^{word}$"
    return [padded[i : i + 3] for i in range(len(padded) - 2)]


def _class(word: str, function: frozenset[str]) -> str:
    if word in function:
        return word
    return next((f"-{e}" for e in _ENDINGS if word.endswith(e) and len(word) > 4), "*")


def _pairs(text: str, function: frozenset[str]) -> list[tuple[str, str]]:
    pairs = []
    for clause in _CLAUSE.split(text.lower()):
        classes = [_class(word, function) for word in _WORD.findall(clause)]
        pairs += pairwise(classes)
    return pairs


@cache
def _counts() -> _Counts:
    files = {
        "instructions.jsonl": ("prompt", "response"),
        "harmful.jsonl": ("prompt",),
        "lookalikes.jsonl": ("prompt",),
        "reflective.jsonl": ("long", "short", "answer"),
    }
    texts = [
        row.get(column, "")
        for file, columns in files.items()
        for row in resources.embedded(file)
        for column in columns
    ]
    words = _WORD.findall("\n".join(texts).lower())
    function = frozenset(w for w, _ in Counter(words).most_common(_FUNCTION_WORDS))
    pairs = Counter(pair for text in texts for pair in _pairs(text, function))
    firsts: Counter = Counter()
    for (left, _), count in pairs.items():
        firsts[left] += count
    triples = [three for word in words for three in _triples(word)]
    return _Counts(
        function,
        Counter(_class(word, function) for word in words),
        pairs,
        firsts,
        Counter(triples),
        Counter(three[:2] for three in triples),
    )
