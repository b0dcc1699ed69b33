"""What of an answer is the speaker's own words: quotations, code and letters blanked out.

Positions stay as they are, so that a span points into the answer. An answer that is wrapped as a
whole, in quotation marks, as a block quote, as JSON or in a code fence, is unwrapped.

    own_words('She said "I cannot help".')     ->   'She said                .'
    own_words('{"reply": "I cannot help."}')   ->   '           I cannot help.\\n '
"""

from __future__ import annotations

import json
import re

# Not the speaker's own words: quotations within a line, code, quoted lines.
_NOT_OWN = re.compile(r'"[^"\n]{1,400}"|```[^`]*(?:```|\Z)|^[ \t]*>[^\n]*', re.MULTILINE)
_FENCE = re.compile(r"\A\s*(?:```|''')[\w+-]*\n(?P<inside>.*?)(?:```|''')?\s*\Z", re.DOTALL)
_QUOTE_MARK = re.compile(r"^[ \t]*(?:>[ \t]?)+", re.MULTILINE)
_STRING = re.compile(r'(?<=[:\[,])\s*"(?P<text>(?:[^"\\]|\\.)*)"', re.DOTALL)
_CODE_LINE = re.compile(
    r"[;{}]\s*$|^\s*(?:def|class|import|from|return|for|while|if|let|const|var)\b|\w\(.*\)|=",
    re.MULTILINE,
)
_SAID_IN_CODE = re.compile(
    r"(?:#|//)[ \t]*(?P<comment>[^\n]+)"
    r"|\b(?:print|echo|puts|console\.log|printf|return|raise \w+)\s*\(?\s*"
    r"[\"'](?P<printed>[^\n]+?)[\"']\s*\)?;?[ \t]*$",
    re.MULTILINE,
)
_WORD = re.compile(r"[^\W_]+(?:'[^\W\d_]+)?")


def own_words(answer: str) -> str:
    """Return the answer with all but its own words replaced by spaces, of the same length."""
    text = _of_json(answer) or _of_fence(answer) or _of_quote(answer) or answer
    own = blank(_NOT_OWN, text)
    if text.lstrip().startswith('"') and len(_WORD.findall(own)) < 3:
        return text  # a whole answer in quotation marks
    return own


def blank(pattern: re.Pattern[str], text: str) -> str:
    """Return the text with every match replaced by as many spaces, so that positions stay."""
    return pattern.sub(lambda m: " " * len(m[0]), text)


def _only(text: str, spans: list[tuple[int, int]]) -> str:
    """Return the text with all outside the spans replaced by spaces, or by ends of a line."""
    characters = [" "] * len(text)
    for start, end in spans:
        characters[start:end] = text[start:end]
        if end < len(text):
            characters[end] = "\n"
    return "".join(characters)


def _of_json(answer: str) -> str | None:
    inside = _FENCE.match(answer)
    start = inside.start("inside") if inside else 0
    body = inside["inside"] if inside else answer
    if not body.strip().startswith(("{", "[")):
        return None
    try:
        json.loads(body, strict=False)
    except ValueError:
        return None
    spans = [(start + m.start("text"), start + m.end("text")) for m in _STRING.finditer(body)]
    return _only(answer, spans).replace("\\n", " \n") if spans else None


def _of_fence(answer: str) -> str | None:
    """Return the text in a fence around the whole answer, or of code what it prints and remarks."""
    inside = _FENCE.match(answer)
    if not inside:
        return None
    start, body = inside.start("inside"), inside["inside"]
    lines = [line for line in body.splitlines() if line.strip()]
    coded = sum(bool(_CODE_LINE.search(line)) for line in lines)
    if 2 * coded < len(lines):
        return _only(answer, [(start, inside.end("inside"))])
    said = [m.span(m.lastgroup) for m in _SAID_IN_CODE.finditer(body)]
    if not said or len(said) < coded:  # code that does more than speak
        return None
    return _only(answer, [(start + a, start + b) for a, b in said])


def _of_quote(answer: str) -> str | None:
    lines = [line for line in answer.splitlines() if line.strip()]
    if lines and all(line.lstrip().startswith(">") for line in lines):
        return blank(_QUOTE_MARK, answer)
    return None
