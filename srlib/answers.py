r"""The final answer taken out of a completion, and exact match against the gold answer.

Three protocols:

- ``ours`` (default), for models that end in their own way: the last answer that is announced
  (``#### n``, ``answer is n``, ``Answer: n``, a heading with the answer under it, ``\boxed{n}``)
  before the text goes on to another question; else what the last sentence gives. Read by value and
  from the answer part only (``thoughts.split``);
  ``srlib.text.quantities`` has the ways to write it.
- ``lm-eval-strict`` and ``lm-eval-flexible``: the filters and the text comparison of
  lm-evaluation-harness, so that numbers compare with published ones (``srlib.text.harness``).

Example: ``6 apples at $3 make $18. The answer is $18.`` gives ``18``.
"""

from __future__ import annotations

import re
from itertools import islice

from . import thoughts
from .errors import UserError
from .text import harness, quantities

PROTOCOLS = ("ours", *harness.FILTERS)

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_VERB = r"\s+(?:is|was|will\s+be|would\s+be|should\s+be|must\s+be|equals|comes\s+(?:out\s+)?to)\b"
_ANNOUNCED = re.compile(
    rf"(?P<box>\\(?:boxed|fbox)\s*\{{)|(?P<mark>(?<!\#)\#\#\#\#(?!\#))|<answer>"
    rf"|\banswer(?:\s*,\s*\w+\s*,)?(?:{_VERB}|[ \t*_]*(?::|=|→|\s-\s))[ \t]*:?"
    rf"|^[ \t#*_>]*(?:the\s+)?(?:final\s+|correct\s+)?answer[ \t*_.]*$",
    re.IGNORECASE | re.MULTILINE,
)
_NO_ANSWER = re.compile(
    r"\W*(?:as\s+follows|below|above|found|obtained|given|calculated|not\b)", re.I
)
_COMMENT = re.compile(r"\W*(?:in)?(?:correct|right|wrong|valid|reasonable|consistent)\b", re.I)
_DIGIT = re.compile(r"\d")
_HEADING = re.compile(r"[ \t*]*\d+(?:\s*[.):]\s+[A-Za-z*]|\s+[-–—]\s+[A-Za-z]|(?:st|nd|rd|th)\b)")
_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bapprox)[.!?;](?=[\s*)\"”]|\Z)")
_LIST_MARK = re.compile(r"^[ \t]*(?:\d{1,3}[.)](?=\s|\Z)|[-*•](?=\s))", re.MULTILINE)
# Where a base model runs on into a further question: the harness's stop strings and chat roles.
_NEXT_TURN = re.compile(
    r"\n[ \t*#]*(?:(?:Question|Q|Human|User|Problem|Instruction)\s*(?:\d+\s*)?:"
    r"|(?:Example|Exercise|Problem|Question)\s+\d+\s*[.:])"
    r"|(?P<chat>\b(?:Human|User)\s*:|</s>|<\|im_(?:end|start)\|>|<\|e(?:ot_id|nd)[a-z_]*\|>)"
)
_CONCLUDES = re.compile(
    r"\b(?:so|therefore|thus|hence|total|altogether|in all|left)\b|=|\d\.?\s*\Z", re.I
)
_PREMISE = re.compile(r"\W*(?:given|we have|let|suppose|consider|step|first|here|to solve)\b", re.I)
_OPTION = re.compile(r"\W*(?:option|choice)?\W*[A-F]\W*", re.I)
_PROSE = re.compile(
    r"(?<![\\A-Za-z])(?!sqrt|frac)[A-Za-z]{2,}\s|\S\s*\n\s*\S|[\u0370-\U0001f000]{2}"
)
_DRESS = (
    (r"(?<!\d)\s+|\s+(?!\d)|[$*°]", ""),
    (r"\\[dt]frac", r"\\frac"),
    (r"\\frac(\d)(\d)", r"\\frac{\1}{\2}"),
    (r"\\sqrt(\d)", r"\\sqrt{\1}"),
    (r"([_^])\{(\w)\}", r"\1\2"),
    (r"^[a-z]\\in(?![a-z])", ""),
    (r"^(?:option|choice)?\(?([a-z])\)?$", r"\1"),
)
_EDGES = ".:,;`\"'"
_WINDOW = 300  # characters looked at after an announcement


def extract(text: str, protocol: str = "ours") -> str | None:
    """Return the final answer as a plain number ("1200", "-3.5", "1/2"), None where there is none.

    ``protocol`` is one of ``PROTOCOLS`` (see the module); those of the harness give its filters'
    match as it stands. A thought that was never closed has no answer. Raises ``UserError`` for an
    unknown protocol only.
    """
    if check(protocol) != "ours":
        return harness.extract(text or "", protocol)
    return _ours(thoughts.split(text).answer)[0] or None


def check(protocol: str) -> str:
    """Return the protocol, where it is a known one, else raise UserError."""
    if protocol not in PROTOCOLS:
        raise UserError(f"unknown protocol {protocol!r}: use one of {', '.join(PROTOCOLS)}")
    return protocol


def exact_match(text: str, gold: str, protocol: str = "ours") -> bool:
    """Return whether the completion's final answer equals the gold answer.

    ``gold`` is a plain answer ("42", "$1,200", "12 km/h") or a whole GSM8K solution that ends in
    ``#### n``. Numbers are compared by value (42 equals 42.0, 1/2 equals 0.5), units, currencies
    and % are ignored; a gold answer that is no number is compared as text, case and typesetting
    ignored, with what was announced, or the whole answer part.
    """
    gold = str(gold)
    if check(protocol) != "ours":
        return harness.exact_match(text or "", gold, protocol)
    wanted = _gold_number(gold)
    given, said = _ours(thoughts.split(text).answer)
    if wanted is not None:
        return bool(given) and quantities.same(given, wanted)
    bare = _bare(gold.rsplit("####", 1)[-1])
    return bool(bare) and bare in _wordings(said)


def _gold_number(gold: str) -> str | None:
    """Return the gold answer where it is a number: all but for a unit, or the announced one."""
    tail = gold.rsplit("####", 1)[-1].strip()
    if _ANNOUNCED.search(tail) or "\n" in tail:
        return _ours(tail)[0] or None
    phrase = quantities.plain(tail)
    read = quantities.read if "=" in phrase else quantities.whole
    return read(_spaced(phrase)) or None


def _ours(text: str) -> tuple[str | None, str]:
    """Return the number that is given ("" where an expression is), and the words that give it."""
    text = quantities.plain(text)
    head = _this_turn(text)
    words = ""
    for number, said in _announced(head):
        words = words or said
        if number is not None:
            return number, words
    if not _PROSE.search(head):
        number, said = quantities.read(_spaced(head)), head
    else:
        said = _last_sentence(head) or _last_sentence(text)
        number = quantities.concluded(said)
    return number, words or said or head.rsplit("\n", 1)[-1]


def _announced(text: str):
    """Yield each announced answer, the last one first: its number ("" for another answer, None for
    words that leave it open), and its words."""
    for match in reversed(list(_ANNOUNCED.finditer(text))):
        if match["box"]:
            said = _braced(text, match.end())
            number = None if said is None else quantities.read(_spaced(said)) or ""
        else:
            said = _after(text, match.end(), mark=bool(match["mark"]))
            phrase = re.sub(r"(?<=\d)[kK](?![\w$])", " thousand", _spaced(said or ""))
            number = quantities.read(phrase) or ""
            if not number and _DIGIT.search(text, match.end(), match.end() + 2000):
                number = "" if _DIGIT.search(said or "") else None
        if _OPTION.fullmatch(said or ""):
            number = None  # the letter of an option; its number may stand before
        if said and re.search(r"[\w\\]", said):
            yield number, said


def _spaced(phrase: str) -> str:
    """Take out the spaces between thousands, where the phrase states a number so spaced."""
    return re.sub(r"^([\s$:*\\(-]*\d{1,3})((?: \d{3})+)(?![\d/,.]*\d)", _joined, phrase)


def _joined(match: re.Match) -> str:
    return match[1] + match[2].replace(" ", "")


def _after(text: str, start: int, mark: bool) -> str | None:
    """Return the sentence after an announcement, on its line or, if empty, on the next."""
    window = text[start : start + _WINDOW]
    if mark and (
        _HEADING.match(window) or not re.match(r"[\s$*:({\[\\]*(?:-\s?)?\$?\.?\d", window)
    ):
        return None
    lines = [line for line in window.split("\n") if re.search(r"\w|\\", line)]
    if (
        not lines
        or _NO_ANSWER.match(lines[0])
        or _COMMENT.match(lines[0])
        or (mark and not window.split("\n")[0].strip())
    ):
        return None
    line = lines[0] if window.startswith(lines[0]) else re.sub(r"^\s*[-*]\s+", "", lines[0])
    box = _BOXED.search(line)
    line = line[: box.start()] if box else line
    return re.split(r"</answer>", _SENTENCE_END.split(line, maxsplit=1)[0])[0] or None


def _braced(text: str, start: int) -> str | None:
    """Return the text from ``start`` to its closing brace, None where ``_WINDOW`` has none."""
    depth = 1
    for end in range(start, min(len(text), start + _WINDOW)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end]
    return None


def _this_turn(text: str) -> str:
    """Return the text up to where it goes on to another question after an answer was given."""
    for turn in islice(_NEXT_TURN.finditer(text, 1), 20):
        head = text[: turn.start()]
        if not re.search(r"\w", head):
            continue
        if turn["chat"] or any(True for _ in _announced(head)):
            return head
        sentence = _last_sentence(head)
        if sentence and _CONCLUDES.search(sentence) and not _PREMISE.match(sentence):
            return head
    return text


def _last_sentence(text: str) -> str:
    """Return the last sentence with a number, a question only for want of others; "" for none."""
    text = _LIST_MARK.sub("", text)
    end, asked = len(text), ""
    stops = [m.end() for m in re.finditer(r"[.!?](?=[\s*)\"”]|\Z)|\n", text)]
    for stop in [*reversed(stops), 0]:
        sentence, end = text[stop:end].strip(), stop
        if re.search(r"\d", sentence):
            if not sentence.endswith("?"):
                return sentence
            asked = asked or sentence
    return asked


def _wordings(said: str) -> set[str]:
    """Return the ways in which an answer that is no number may be meant: all of it, its formula,
    what stands after an equals sign."""
    formulas = re.findall(r"\$([^$]+)\$", said)[-1:]
    sides = [part.rsplit("=", 1)[-1] for part in (said, *formulas)]
    return {_bare(part) for part in (said, *formulas, *sides)}


def _bare(answer: str) -> str:
    """Strip case and typesetting from an answer that is no number."""
    answer = quantities.plain(answer).casefold()
    for pattern, to in _DRESS:
        answer = re.sub(pattern, to, answer.strip(_EDGES))
    return answer.strip(_EDGES)
