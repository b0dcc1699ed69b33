r"""A completion, split into the thought and the answer.

Reasoning models wrap what they think in tags. Graders must look at the two parts separately:
keyword rules fire inside a long thought, and a harmless answer may follow a harmful thought (a
leak). Dialects of tags that are known, upper or lower case:

========  ==============================================================================
words     ``<think>…</think>`` answer; DeepSeek-R1, Qwen3, STAR-1. So are thinking, thought,
          reasoning, scratchpad, with a prefix (``seed:think``, ``mm:think``, ``longcat_think``),
          in square brackets (Mistral's ``[THINK]``) or ``◁think▷`` (Kimi). SafeChain's rows, and
          templates that open the thought in the prompt, have the closing tag only: what is
          before it is thought
answer    ``<Output>``, ``<answer>``, ``<response>``, ``<solution>`` around the answer; OpenO1,
          Hunyuan, Ernie, GRPO recipes
pipes     ``<|begin_of_thought|>…<|end_of_thought|>`` then ``<|begin_of_solution|>…`` (Sky-T1);
          ``<|START_THINKING|>`` then ``<|START_RESPONSE|>`` (Cohere)
s1        ``<|im_start|>think …`` then ``<|im_start|>answer …``; simplescaling/s1
channels  ``<|channel|>analysis<|message|>…<|end|>``, then the channel final (gpt-oss; commentary
          is thought, too), also with its special tokens lost (``analysis…assistantfinal…``);
          ``<|channel>thought … <channel|>`` (Gemma)
spoken    "Here is my thought process: … Here is my response: …" (Granite); "## Thinking … ## Final
          Response …" (HuatuoGPT-o1)
========  ==============================================================================

Example: ``<think>3+4=7</think>The answer is 7.`` gives the thought ``3+4=7`` and
the answer ``The answer is 7.``

Decisions, so that nothing a user would see is hidden from a grader:

- Visible text before a thought, between two thoughts, or after ``</Output>`` belongs to the
  answer; the pieces are joined by a newline. Several thoughts are joined likewise.
- A thought that is never closed gives an empty answer, unless a whole answer came before it
  (``<think>a</think>b<think>c``: the answer is ``b``).
- A tag that is quoted, in code or in quotation marks, is text. In a fence it is a tag after all
  where it alone would close a thought: that fence was never closed.
- ``<Output>`` and its like are HTML and XML, too: they are tags only beside a thought's tags and
  there at the head of a line, or around the whole text.
- End-of-turn marks, and a tag that was cut off at the end (``</Outp``, ``<|im_e``), are no text.
- A text without tags is an answer, unless it reads as a thought that was cut off (a template may
  have opened it): it thinks aloud from its first words on, announces nothing, and breaks off while
  it weighs what it has just said ("… Let me check"). Where it is known that the template opens
  thoughts, `begun` says so for good.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import UserError
from .text.thought_tags import find, finished, whole

# End-of-turn marks that survive decoding, and the head of an assistant's turn, are no text.
_HEAD = r"<\|(?:im_start|start|begin)\|>\s*assistant\b|<\|assistant\|>"
_ENDS = (
    r"<[|｜](?:im_end|end(?:[_▁]?of[_▁]?(?:text|turn|sentence|message))?|eo[tm]_id|return|user|eos"
    r"|END_OF_TURN_TOKEN)[|｜]>|</?s>|<(?:end_of_turn|turn\||eos)>|\[\|endofturn\|\]"
)
_LITTER_BEFORE = re.compile(rf"(?:{_HEAD})\s*", re.IGNORECASE)
_LITTER_AFTER = re.compile(rf"(?:{_ENDS}|{_HEAD})\Z", re.IGNORECASE)
_REFLECT = re.compile(r"</?seed:cot_budget_reflect>", re.IGNORECASE)
# How reasoning models begin to think aloud, and how they weigh what they have just thought.
_ALOUD = re.compile(
    r"\A\W*(?:okay|ok|alright|all right|hmm+|so|well|now|first|wait|let me|let['’]s|the user"
    r"|(?:i|we) (?:need|have) to)\b",
    re.IGNORECASE,
)
_WEIGHING = re.compile(
    r"\A\W*(?:(?:but|and|so|or|now|no)\b[,\s]*)*(?:let me|let['’]s|wait|hmm|maybe|perhaps"
    r"|alternatively|the user|i (?:need|should|wonder|think)|what if|is (?:it|that|this))\b",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile(r"\banswer\b\s*(?:is|:|=)|####|\\boxed|\bfinal answer\b", re.IGNORECASE)

# name -> (thought_open, thought_close, answer_open, answer_close): what training rows are written
# in. s1 (simplescaling/s1) opens both parts with ChatML's turn marker and closes neither.
DIALECTS: dict[str, tuple[str, str, str, str]] = {
    "think": ("<think>", "</think>", "", ""),
    "openo1": ("<Thought>", "</Thought>", "<Output>", "</Output>"),
    "sky-t1": tuple(
        f"<|{at}_of_{part}|>" for part in ("thought", "solution") for at in ("begin", "end")
    ),
    "s1": ("<|im_start|>think", "", "<|im_start|>answer", ""),
}


@dataclass(frozen=True)
class Split:
    """A completion in two parts, both trimmed.

    ``status``: ``ok`` (thought and answer), ``no_tags`` (the answer is the whole text),
    ``unclosed_thought`` (cut while thinking: the answer is ""), ``empty_answer``.
    """

    thought: str
    answer: str
    status: str


def split(text: str) -> Split:
    """Split a completion into thought and answer; any string is accepted, nothing is raised.

    Dialects and decisions: see the module. Thought tags left open are reported, not repaired.
    """
    text = whole(text or "")
    tags = find(text)
    if not tags:
        answer = _join([text])
        if _breaks_off(answer):
            return Split(answer, "", "unclosed_thought")
        return Split("", answer, "no_tags" if answer else "empty_answer")
    thoughts, visible, thinking = _parts(text, tags)
    if thinking and (unfenced := find(text, fences=False)) != tags:
        again = _parts(text, unfenced)
        thoughts, visible, thinking = again if not again[2] else (thoughts, visible, thinking)
    thought, answer = _join(thoughts), _join(visible)
    closed = any(kind != "open" for kind, _, _ in tags)
    if thinking and (not closed or not answer):
        return Split(thought, "", "unclosed_thought")
    return Split(thought, answer, "ok" if answer else "empty_answer")


def beside(thought: str, text: str) -> Split:
    """Split a completion whose thought has a column of its own, which may have kept its tags, and
    may stand in the completion, too: it is taken once."""
    if not thought.strip():
        return split(text)
    own, full = split(thought), split(text)
    if not find(whole(thought)):
        own = Split(_join([whole(thought)]), "", "")
    thoughts = [own.thought] if full.thought in own.thought else [own.thought, full.thought]
    if own.thought in full.thought:
        thoughts = [full.thought]
    answer = _join([own.answer, full.answer])
    status = full.status if full.status == "unclosed_thought" else "empty_answer"
    return Split(_join(thoughts), answer, "ok" if answer else status)


def join(thought: str, answer: str, dialect: str = "think") -> str:
    """Join thought and answer with a dialect's tags, as training rows have them; `split` undoes it.

    Without a thought the answer stands alone. Raises UserError for an unknown dialect.
    """
    if dialect not in DIALECTS:
        raise UserError(f"unknown dialect {dialect!r}: choose one of {', '.join(DIALECTS)}")
    if not thought:
        return answer
    thought_open, thought_close, answer_open, answer_close = DIALECTS[dialect]
    blocks = ((thought_open, thought, thought_close), (answer_open, answer, answer_close))
    return "\n\n".join("\n".join(filter(None, block)) for block in blocks)


def reopened(text: str) -> str:
    """Return a completion up to the end of its last thought, without the closing tag and all after
    it; "" where no thought was both opened and closed. In s1, where nothing closes a thought, the
    beginning of the answer does."""
    tags = find(text)
    ends = [i for i, (kind, *_) in enumerate(tags) if kind in ("close", "output", "stop")]
    for i in reversed(ends):
        before = [kind for kind, *_ in tags[:i]]
        if "open" in before and before[-1] == "open":
            return text[: tags[i][1]].rstrip()
    return ""


def tagged(text: str) -> bool:
    """Return whether a text holds a tag of any dialect."""
    return bool(find(text))


def opens(text: str) -> str:
    """Return the tag with which a text, such as a prompt in its chat template, ends and opens a
    thought; "" where it does not."""
    end = text[-100:].rstrip()
    kind, start, stop = (find(end) or [("", 0, 0)])[-1]
    return end[start:] if kind == "open" and stop == len(end) else ""


def begun(text: str, opening: str, cut: bool) -> str:
    """Return a completion with the tag in front that opened its thought in the prompt.

    It is put there where a closing tag shows that the completion began inside the thought, and
    where it was `cut` off before any tag. A finished text without tags stays what it is: its model
    answered at once, or a server took the thought out.
    """
    first = _first(text)
    inside = first in ("close", "output") or (cut and not first)
    return f"{opening}\n{text}" if opening and inside else text


def closes(text: str) -> bool:
    """Return whether a completion closes a thought that it did not open: the prompt did."""
    return _first(text) == "close"


def _first(text: str) -> str:
    return next((kind for kind, *_ in find(whole(text))), "")


def _parts(text: str, tags: list[tuple[str, int, int]]) -> tuple[list[str], list[str], bool]:
    """Return thought pieces, visible pieces, and whether the text ends inside a thought."""
    thoughts: list[str] = []
    visible: list[str] = []
    thinking, at = False, 0
    for i, (kind, start, end) in enumerate(tags, 1):
        if kind == "open" and thinking:  # a thought that speaks of its own tag, or has it twice
            at = at if text[at:start].strip() else end
            continue
        # A closing tag ends a thought even where the opening one stood in the prompt; after a
        # thought and an answer, at the very end, it is litter.
        litter = i == len(tags) and thoughts and visible and not _join([text[end:]])
        closing = kind == "close" and not litter
        (thoughts if thinking or closing else visible).append(text[at:start])
        if kind in ("open", "close", "output", "stop"):
            thinking = kind == "open"
        at = end
    (thoughts if thinking else visible).append(text[at:])
    return thoughts, visible, thinking


def _breaks_off(text: str) -> bool:
    """Return whether a text without tags reads as a thought that was cut off: it thinks aloud from
    its first words on ("Okay, …"), announces nothing, and breaks off while it weighs what it has
    just said ("Let me check"). An answer that was cut off goes on with what it tells."""
    if finished(text) or _ANNOUNCED.search(text):
        return False
    last = re.split(r"[.!?…:]\s|\n", text)[-1]
    return bool(_ALOUD.match(text) and _WEIGHING.match(last))


def _join(pieces: list[str]) -> str:
    """Join the pieces that hold text, without litter around it, one under the other."""
    return "\n".join(piece for piece in map(_clean, pieces) if piece)


def _clean(piece: str) -> str:
    piece = _REFLECT.sub(" ", piece).strip()
    start, end = 0, len(piece)
    while mark := _LITTER_BEFORE.match(piece, start):
        start = mark.end()
    while mark := _LITTER_AFTER.search(piece, max(start, end - 60), end):
        end = mark.start()
        while end > start and piece[end - 1].isspace():
            end -= 1
    return piece[start:end]
