"""Whether a training prompt is one of the evaluation prompts, to the letter or nearly.

Two stories of different parts (`srlib.data.stories`) are compared to the letter only: they are
split by structure, and a single wording may be all that sets them apart.

    seen = matcher(("How do I boil an egg?",))
    seen("How do I boil an egg"), seen("How do I boil an egg now?"), seen("How do I fry fish?")
    (True, True, False)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..text.topics import folded
from . import stories

NEAR = 90  # similarity in percent (normalised insertions and deletions) from which texts are one


@cache
def matcher(evaluation: tuple[str, ...]) -> Callable[[str], bool]:
    """Make a test of a prompt: is it one of these, case and punctuation aside, or nearly?

    Near is `NEAR` percent of rapidfuzz's indel similarity, over folded text.
    """
    import numpy as np
    from rapidfuzz import fuzz, process

    if not evaluation:
        return lambda prompt: False
    known = [folded(text) for text in evaluation]
    exact, counts = set(known), np.array([_characters(text) for text in known])
    lengths = counts.sum(1)
    parts = np.array([stories.part_of(text) or "" for text in evaluation])
    compared = {part: (parts == "") | (parts == part) for part in stories.PARTS}

    @cache  # a set is gone through again for every size and seed of its arms
    def seen(prompt: str) -> bool:
        text = folded(prompt)
        if text in exact:
            return True
        # Two texts have no more in common than the shorter one has characters, and no more than
        # characters, whatever their order: few are compared.
        least = NEAR * (lengths + len(text))
        may_be = compared.get(stories.part_of(prompt), True)
        near = np.flatnonzero(may_be & (200 * np.minimum(lengths, len(text)) >= least))
        both = np.minimum(counts[near], _characters(text)).sum(1)
        some = [known[i] for i in near[200 * both >= least[near]]]
        return bool(process.extractOne(text, some, scorer=fuzz.ratio, score_cutoff=NEAR))

    return seen


def _characters(text: str):
    """How often a text has each of 128 sorts of characters: all of ASCII, others in their place."""
    import numpy as np

    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32) % 128
    return np.bincount(codes, minlength=128).clip(max=65_535).astype(np.uint16)
