"""The one error type that is meant for the person at the keyboard."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can mend. The message is one line: what is wrong, and the way out."""


def meant(word: str, known: Iterable[str]) -> str:
    """Return a message's end, "; did you mean 'gsm8k'?", or "" where no known word is near."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
