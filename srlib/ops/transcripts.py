"""What a model said, shown in a notebook: escaped, redacted, foldable.

A completion is text from outside: nothing in it may run, format or typeset itself in the reader's
notebook. And a notebook gets projected on walls: what a model said to a harmful request, other than
no, is cut to its first words, and the rest is in neither form of the output. Inline styles only, as
JupyterLab strips <style> from a notebook that another process ran. Source: this project. A record:

    {"arm": "direct", "data": "advbench", "kind": "harmful", "prompt": "Tell me how to …",
     "thought": "", "answer": "I can't help with that.", "label": "refusal"}
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_SHORT, _LONG = 120, 1200  # characters shown of a summary's prompt, and of everything else
_BEGIN, _END = "\ue000", "\ue001"  # around a highlighted passage, until it is drawn
# C0 and C1 controls (a terminal obeys them), bidirectional overrides, lone surrogates, and ours.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ue000\ue001]"
)
# White text on these reads well, and they read well on a light or a dark page.
_COLOURS = {
    "refusal": "#0b5fa5",
    "partial_refusal": "#8a5a00",
    "compliance": "#b2182b",
    "incoherent": "#6a4c93",
    "off_topic": "#8f3f71",
    "right": "#1b7837",
    "wrong": "#b2182b",
    "answered": "#1b7837",
    "over-refusal": "#b2182b",
}
# On a harmless request the same classes mean the opposite.
_BENIGN = {"compliance": "answered", "refusal": "over-refusal", "partial_refusal": "over-refusal"}
_MARK = "background-color:#ffe58a;color:#000000;padding:0 2px"  # reads on light and dark pages
_LINE = "1px solid rgba(128,128,128,0.4)"
_CHIP = (
    "color:#ffffff;border-radius:9px;padding:1px 8px;margin:0 4px;font-size:85%;background-color:"
)
_BLOCK = (
    "white-space:pre-wrap;overflow-wrap:anywhere;margin:2px 0 8px 0;padding:6px 8px;"
    "border-left:3px solid rgba(128,128,128,0.6);color:inherit;background-color:transparent"
)


def redact(text: str, words: int = 8) -> str:
    """Cut to the first `words` words (on average at most 8 characters each); count the hidden."""
    every = text.split()
    shown = " ".join(every[:words])[: 8 * words]  # some scripts, and code, have no spaces
    hidden = len(every) - len(shown.split())
    if not hidden and len(shown) == len(" ".join(every)):
        return shown
    count = f"{max(hidden, 1)} word{'s' if hidden > 1 else ''}"
    return f"{shown} ▮▮▮ [{count} hidden; reveal=True shows them]"


class Transcript:
    """Records as a foldable list; made by `show`, drawn by Jupyter or as plain text by print."""

    def __init__(self, records: list[dict[str, Any]], left_out: int, title: str) -> None:
        self.records, self.title = records, _clean(title)
        self.note = f"{len(records)} of {len(records) + left_out} records" if left_out else ""
        if not records:
            self.note = "no records"

    def _repr_html_(self) -> str:
        head = " · ".join(_escape(t) for t in (self.title, self.note) if t)
        items = "".join(_details(r) for r in self.records)
        style = f"max-width:60em;border-bottom:{_LINE};line-height:1.5"
        # The two classes keep MathJax (3 and 2) from reading a price as a formula.
        classes = "srlib-transcript tex2jax_ignore mathjax_ignore"
        head = f"<div><b>{head}</b></div>" if head else ""
        return f'<div class="{classes}" style="{style}">{head}{items}</div>'

    def __repr__(self) -> str:
        head = " · ".join(t for t in (self.title, self.note) if t)
        blocks = [_plain(i, r) for i, r in enumerate(self.records, 1)]
        return "\n\n".join(t for t in (head, *blocks) if t)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


def show(
    records: list[dict[str, Any]] | pd.DataFrame,
    reveal: bool = False,
    n: int | None = None,
    title: str = "",
) -> Transcript:
    """Return the first `n` records (all for None) as a transcript to end a notebook's cell with.

    A record has `prompt`, `answer` (or `text`), and may have `thought`, `label`, `arm`, `data`,
    `kind`, `correct`, `truncated`, and `thought_label` where the thought has a grade of its own.
    An answer and its thought are redacted where the label is not "refusal", unless the kind is
    "benign" or "reasoning"; a thought also where its own label is no refusal. `reveal` shows all.
    Further fields: `note`, a word or two beside the label; `passage`, the words that made it,
    highlighted where they are shown in full, else given apart, redacted as its answer is.
    """
    if hasattr(records, "to_dict"):
        records = records.astype(object).where(records.notna(), None).to_dict("records")
    records = list(records)
    if not all(isinstance(r, Mapping) for r in records):
        raise UserError("show takes a list of records or a DataFrame: wrap a single record in [ ]")
    if n is not None and n < 0:
        raise UserError(f"n is {n}: give the number of records to show, or None for all")
    shown = [_view(r, reveal) for r in records[:n]]
    return Transcript(shown, len(records) - len(shown), title)


def _view(record: Mapping[str, Any], reveal: bool) -> dict[str, Any]:
    """Return what may be seen of a record: what is hidden is not kept, so it cannot leak."""
    missing = ("None", "nan", "<NA>")  # as values; a model may well answer with such a word
    given = {k: v for k, v in record.items() if isinstance(v, str) or str(v) not in missing}
    r = {k: _clean(v) for k, v in given.items()}
    label, thought_label = r.get("label", ""), r.get("thought_label", "refusal")
    risky = r.get("kind") not in ("benign", "reasoning")  # no kind given: to be on the safe side
    cut = (lambda text, grade: text) if reveal or not risky else _cut
    named = _BENIGN.get(label, label) if r.get("kind") == "benign" else label
    chips = [named] if label else []
    if "correct" in r:
        chips.append("right" if given["correct"] else "wrong")
    if given.get("truncated"):
        chips.append("truncated")
    chips += [r["note"]] if r.get("note") else []
    prompt = r.get("prompt", "")
    long = len(prompt) > _SHORT
    parts = {"prompt": prompt} if long and not risky else {}
    worst = label if thought_label == "refusal" else thought_label
    parts["thought"] = cut(r.get("thought", ""), worst)
    parts["answer"] = cut(r.get("answer", r.get("text", "")), label)
    parts = {k: _shorten(v, _LONG) for k, v in parts.items() if v or k == "answer"}
    if passage := r.get("passage", "").strip():
        marked = {k: v.replace(passage, f"{_BEGIN}{passage}{_END}", 1) for k, v in parts.items()}
        if marked == parts:
            marked["what made the label"] = cut(passage, worst)
        parts = marked
    return {
        "where": [r[k] for k in ("arm", "data") if r.get(k)],
        "chips": chips or [f"no label: {r['reason']}" if r.get("reason") else "no label"],
        "prompt": " ".join(prompt[:_SHORT].split()) + "…" * long,
        "parts": parts,
    }


def _cut(text: str, grade: str) -> str:
    return text if grade == "refusal" else redact(text)


def _clean(value: Any) -> str:
    return _CONTROL.sub("\ufffd", str(value).replace("\r\n", "\n"))


def _shorten(text: str, limit: int) -> str:
    excess = len(text) - limit
    return text if excess <= 0 else f"{text[:limit]}… [{excess:,} more characters]"


def _escape(text: str) -> str:
    text = html.escape(text).replace("$", "&#36;")
    return text.replace(_BEGIN, f'<mark style="{_MARK}">').replace(_END, "</mark>")


def _details(view: dict[str, Any]) -> str:
    """Return a record's folded HTML: arm, data set, chips, prompt in the line, the texts inside."""
    chips = "".join(
        f'<span style="{_CHIP}{_COLOURS.get(c, "#5f5f5f")}">{_escape(c)}</span>'
        for c in view["chips"]
    )
    line = f"{_escape(' · '.join(view['where']))} {chips} {_escape(view['prompt'])}"
    parts = "".join(
        f'<div style="font-size:85%;font-weight:bold">{name}</div>'
        f'<pre style="{_BLOCK}">{_escape(text or "(empty)")}</pre>'
        for name, text in view["parts"].items()
    )
    style = f"border-top:{_LINE};padding:4px 0;overflow-wrap:anywhere"
    summary = f'<summary style="cursor:pointer">{line}</summary>'
    body = f'<div style="padding:6px 0 0 16px">{parts}</div>'
    return f'<details style="{style}">{summary}{body}</details>'


def _plainly(parts: dict[str, str]) -> list[tuple[str, str]]:
    return [(k, v.replace(_BEGIN, ">>>").replace(_END, "<<<")) for k, v in parts.items()]


def _plain(number: int, view: dict[str, Any]) -> str:
    line = " · ".join([*view["where"], *view["chips"], view["prompt"]])
    parts = [
        f"    {name}:\n{textwrap.indent(text or '(empty)', ' ' * 8)}"
        for name, text in _plainly(view["parts"])
    ]
    return "\n".join([f"[{number}] {line}", *parts])
