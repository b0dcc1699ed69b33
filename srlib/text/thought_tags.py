"""Where a completion's tags are: those that open or close a thought, or begin or end the answer.

    find("<think>3+4</think>7")   ->   [("open", 0, 7), ("close", 10, 18)]

A kind is one of open, close, output (the answer begins), end (it ends), stop (either ends). Which
dialects there are, and what counts as a tag, says `srlib.thoughts`.
"""

from __future__ import annotations

import re
from bisect import bisect

_I = re.IGNORECASE
_NAME = r"(?:think(?:ing)?|thoughts?|reasoning|scratchpad)(?:_process)?"
_THINK = rf"(?:\w{{1,12}}[:|_-])?{_NAME}"
_SAY = r"(?:final[_-]?)?(?:answer|output|response|solution)"
_MORE = r"""(?:\s+[\w:-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[\w.-]+))*\s*"""  # attributes
# `<think>`, said of by name ("the <think> tag"), is no tag.
_NAMED = r"(?!\s+(?:tag|token|element|marker)s?\b)"
_CHANNEL = r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*"
_MESSAGE = r"\b[^<\n]{0,60}(?:<\|constrain\|>[^<\n]{0,20})?(?:<\|message\|>)?"
_TAG = re.compile(
    r"(?=[<\[◁])(?:"  # a quick look first
    rf"(?P<open><\s*{_THINK}{_MORE}>{_NAMED}|\[\s*think(?:ing)?\s*\](?!\()|◁\s*think\s*▷"
    rf"|<[|｜](?:(?:(?:start|begin)[_▁](?:of[_▁])?)?{_NAME}|{_NAME}[_▁](?:start|begin)|inner_prefix)[|｜]>"
    rf"|<\|im_start\|>\s*think(?:ing)?\b|{_CHANNEL}(?:analysis|commentary){_MESSAGE}"
    r"|<\|channel>(?!\s*final)(?:\s*(?:thought|thinking|analysis)\b)?"
    r"|<unused94>(?:\s*thought\b)?|\[unused16\]|<seed:cot_budget_reflect>)"
    rf"|(?P<close><\s*/\s*{_THINK}\s*>{_NAMED}|\[\s*/\s*think(?:ing)?\s*\]|◁\s*/\s*think\s*▷"
    rf"|<[|｜](?:end[_▁](?:of[_▁])?{_NAME}|{_NAME}[_▁]end|/{_NAME}|inner_suffix)[|｜]>"
    r"|<channel\|>|<unused95>|\[unused17\])"
    rf"|(?P<output><\s*{_SAY}\s*>|<[|｜](?:start|begin)[_▁](?:of[_▁])?{_SAY}[|｜]>|<\|(?:START_TEXT|content)\|>"
    rf"|<\|im_start\|>\s*answer\b|{_CHANNEL}final{_MESSAGE}|<\|channel>\s*final\b)"
    rf"|(?P<end><\s*/\s*{_SAY}\s*>|<[|｜]end[_▁](?:of[_▁])?{_SAY}[|｜]>|<\|END_TEXT\|>)"
    r"|(?P<stop><\|(?:end|return|call)\|>))",
    _I,
)
_OPENO1 = re.compile(r"<\s*/?\s*thought\b", _I)
_XML = re.compile(rf"<\s*/?\s*({_SAY})\s*>", _I)
_THOUGHT = {"open", "close"}
# What opens a thought in words, at the very start, and what then begins the answer.
_SPOKEN = [
    (re.compile(opened), re.compile(begun, re.MULTILINE))
    for opened, begun in (
        (
            r"(?i)\A[\s*_]*here(?: i|['’])s my (?:thought|thinking)(?: process)?\s*:[*_]*",
            r"(?i)[*_]*\bhere(?: i|['’])s my (?:final )?(?:response|answer)\s*:[*_]*",
        ),
        (r"\A\s*(?:assistant)?analysis(?=[A-Z\"'“])", r"assistant(?:commentary)?final"),
        (r"(?i)\A\s*#+\s*Thinking[ \t]*\n", r"(?i)^#+\s*Final (?:Response|Answer)[ \t]*$"),
    )
]
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^\n`]*)$", re.MULTILINE)
_INLINE = re.compile(r"(?<!`)(`{1,2})(?![`\s])[^`\n]{1,200}(?<!\s)\1(?!`)")
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»"}
# The beginning of a tag, at the very end. Of `</p` or `a <b` none is.
_CUT = re.compile(
    r"<[|｜][/\w▁]{2,}[|｜]?\Z|◁/?\w*\Z|(?-i:\[/?(?:THINK?|THI|INST?))\Z"
    r"|<\s*/?\s*(?:\w{1,12}:)?(?P<name>[a-z]+)\s*\Z|(?P<bare><[|｜/]?\w?)\Z",
    _I,
)
_CUT_NAMES = ("thinking", "thought", "reasoning", "answer", "output", "response", "solution")
_FINISHED = re.compile(r"(?:[.!?…。！？:;%)\]}`$|>\d]|\*\*)[\"'”’»)\]*_`~\s]*\Z")


def finished(text: str) -> bool:
    """Return whether a text ends as sentences, sums or code do, not in the midst of words."""
    return bool(_FINISHED.search(text[-40:]))


def whole(text: str) -> str:
    """Return the text without a tag that was cut off at its end."""
    text = text.rstrip()
    cut = _CUT.search(text, max(0, len(text) - 60))
    if not cut or len(_FENCE.findall(text)) % 2:
        return text
    cleaned, alone = text[: cut.start()].rstrip(), not text[: cut.start()].strip()
    if name := (cut["name"] or "").lower():
        least = 3 if "/" in cut[0] else 4
        begun = [] if name == "th" else [n for n in _CUT_NAMES if f"<{n}" in text.lower()]
        names = _CUT_NAMES if len(name) >= least else begun
        return cleaned if any(n.startswith(name) for n in names) or alone else text
    tagged = len(cut[0]) > 1 and _TAG.search(text)
    return cleaned if not cut["bare"] or alone or tagged else text


def _quoted(text: str, fences: bool) -> list[tuple[int, int]]:
    """Return the spans of code, fenced and inline, in order; none lies in another."""
    spans, opened = [], None
    for line in _FENCE.finditer(text) if fences else ():
        if opened is None:
            opened = line
        elif line[1].startswith(opened[1]) and not line[2].strip():
            spans.append((opened.start(), line.end()))
            opened = None
    spans, last = sorted(spans + [m.span() for m in _INLINE.finditer(text)]), -1
    return [(a, last := b) for a, b in spans if a >= last]


def find(text: str, fences: bool = True) -> list[tuple[str, int, int]]:
    """Return the tags in order, as (kind, start, end); those that are quoted are left out."""
    spans = _quoted(text, fences) if "`" in text or "~~~" in text else []
    matches = []
    for match in _TAG.finditer(text):
        start, end = match.span()
        marks = text[start - 1 : start], text[end : end + 1]
        code = bisect(spans, (start, end))
        in_code = code and end <= spans[code - 1][1]
        if not in_code and _QUOTES.get(marks[0]) != marks[1]:
            matches.append(match)
    return _meant(text, matches) or _spoken(text)


def _spoken(text: str) -> list[tuple[str, int, int]]:
    """Return tags in words. One that no answer follows counts where the text is cut off."""
    for opening, answering in _SPOKEN:
        if opened := opening.match(text):
            begun = answering.search(text, opened.end())
            tags = [("open", *opened.span())] + ([("output", *begun.span())] if begun else [])
            return tags if begun or not finished(text) else []
    return []


def _meant(text: str, found: list[re.Match]) -> list[tuple[str, int, int]]:
    """Return the matches that are tags, as (kind, start, end): see `srlib.thoughts`."""
    if len(found) > 1:  # within a thought Seed-OSS counts its tokens; it opens none
        found = [m for m in found if "reflect" not in m[0].lower()] or found[:1]
    kinds = [m.lastgroup for m in found]
    following, then = [], ""  # of each tag, the thought's tag that comes after it
    for kind in reversed(kinds):
        following.append(then)
        then = kind if kind in _THOUGHT else then
    ended = kinds[-1:] == ["end"] and not text[found[-1].end() :].strip()
    channels = any("channel" in m[0] or m[0].lower() == "<|think|>" for m in found)
    thinks = bool(_THOUGHT & {*kinds})
    openo1 = any(_OPENO1.match(m[0]) for m in found)
    tags: list[tuple[str, int, int]] = []
    answering = False
    for kind, then, match in zip(kinds, reversed(following), found, strict=False):
        start, end = match.span()
        last, at = (tags[-1][0], tags[-1][2]) if tags else ("", 0)
        if kind == "stop" and not channels:
            continue
        if last == "open" and (kind == "end" or (kind == "output" and then == "close")):
            continue  # a thought that speaks of how to answer
        if xml := _XML.fullmatch(match[0]):
            head = not text[max(at, text.rfind("\n", at, start) + 1) : start].strip()
            if kind == "end":
                alone = match is found[-1] and ended
                fits = answering or (alone and not re.search(rf"<\s*{xml[1]}\b", text, _I))
            elif thinks:
                fits = head or openo1 or (last == "open" and ended)
            else:
                fits = match is found[0] and not text[:start].strip()
                fits = fits and (ended or "end" not in kinds)
            if not fits:
                continue
        answering = answering or kind == "output"
        tags.append((kind, start, end))
    return tags
