"""Which language a text is in, and whether a sentence of it refuses.

The offline grader knows English best; for some twenty further languages it knows refusals, and for
the rest it says so (`code` gives None) instead of taking what it cannot read for an answer. Words
and phrases are data: ``assets/languages.yaml``.

    code("Lo siento, pero no puedo ayudarte con eso.")    ->   "es"
    code("Sajnos ebben nem tudok segíteni neked.")        ->   None      (Hungarian)
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

from ..base import resources
from . import english

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_SCRIPTS = {
    "kana": r"\u3040-\u30ff",
    "han": r"\u3400-\u9fff\uf900-\ufaff",
    "hangul": r"\u1100-\u11ff\uac00-\ud7af",
    "cyrillic": r"\u0400-\u052f",
    "arabic": r"\u0600-\u06ff\u0750-\u077f",
    "devanagari": r"\u0900-\u097f",
    "bengali": r"\u0980-\u09ff",
    "thai": r"\u0e00-\u0e7f",
}
_IN = {name: re.compile(f"[{span}]") for name, span in _SCRIPTS.items()}
_LATIN = re.compile(r"[a-z\u00c0-\u024f\u1e00-\u1eff]", re.IGNORECASE)
_MEANT = 0.12  # the least share of function words by which a language is known
_FOREIGN_LETTERS = 4.6  # bits a letter (`english.letters`) from which words are hardly English
_ENGLISH_WORDS = """the a i an as me so of to in
and is are was were that this it for with on as by at from be
have has not you your we they he she his her their can could would should will do does did if or
but so what which who how when there no yes my our its than then here some any all"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())


@cache
def names() -> dict[str, str]:
    """Return every supported language: its code and its English name."""
    return {"en": "English"} | {k: v["name"] for k, v in _languages().items()}


@cache
def _languages() -> dict[str, dict]:
    return resources.asset("languages.yaml")["languages"]


@cache
def _function_words() -> dict[str, frozenset[str]]:
    known = {k: frozenset(v["words"].split()) for k, v in _languages().items() if "words" in v}
    return known | {"en": _ENGLISH}


@cache
def _refusal(language: str) -> re.Pattern[str]:
    patterns = _languages()[language]["refuses"]
    return re.compile(
        "|".join(p.replace(" ?", r"\s*").replace(" ", r"\s+") for p in patterns), re.IGNORECASE
    )


def code(text: str) -> str | None:
    """Return the language of most of a text: "en", one of `names`, or None for an unsupported one.

    A text too short to tell ("Paris.") and one without letters are taken for English.
    """
    letters = sum(map(str.isalpha, text))
    latin = len(_LATIN.findall(text))
    if letters - latin <= 0.3 * letters:
        return _by_words(text, "latin", "en")
    counts = Counter({name: len(pattern.findall(text)) for name, pattern in _IN.items()})
    if counts["kana"] > 0.05 * letters:
        return "ja"
    script, most = counts.most_common(1)[0]
    if most < 0.4 * letters:
        return None
    alike = [k for k, v in _languages().items() if v["script"] == script]
    return alike[0] if len(alike) == 1 else _by_words(text, script, alike[0])


def _by_words(text: str, script: str, default: str) -> str | None:
    """Return the language with the most function words, of those in a script."""
    words = [w.lower() for w in _WORD.findall(text)]
    of_script = {k for k, v in _languages().items() if v["script"] == script} | {default}
    share = {
        language: sum(w in known for w in words) / max(1, len(words))
        for language, known in _function_words().items()
        if language in of_script
    }
    best = max(share, key=lambda language: (share[language], language == default))
    if best != default and share[best] * len(words) < 2:  # "I'm sorry." has a word of Dutch
        best = default
    if len(words) < 4:
        return best
    if best == "en":  # "a" and "i" are words of many languages
        share[best] = sum(len(w) > 1 and w in _function_words()["en"] for w in words) / len(words)
    if share[best] >= _MEANT:
        return best
    foreign = script != "latin" or english.letters(text) > _FOREIGN_LETTERS
    return None if foreign and len(words) >= 6 else default


def refuses(sentence: str, language: str) -> tuple[int, int] | None:
    """Return where a sentence in a language other than English refuses: (start, end) or None."""
    match = _refusal(language).search(sentence)
    return match.span() if match else None


def length(text: str) -> int:
    """Count the words of a text; in scripts without spaces two characters are taken for a word."""
    unspaced = sum(len(_IN[name].findall(text)) for name in ("kana", "han", "thai"))
    return len(_WORD.findall(text)) if not unspaced else unspaced // 2
