"""What a server's answer says: its text with the thought put back, and how it ended.

Servers and the proxies before them agree on little beyond the form of OpenAI's chat completion:

    content    "7", or parts: [{"type": "thinking", "thinking": "3+4"},
                               {"type": "text", "text": "7"}]
    thought    apart, in `reasoning_content`, `reasoning`, `reasoning_details`, …; or in content
    a cut      finish_reason length, max_tokens, MAX_TOKENS, max_output_tokens, model_length, …
    a filter   finish_reason content_filter, SAFETY, guardrail_intervened, …; or an error of one
               prompt: HTTP 400 with code content_filter, 403 with the words of a moderation, …

`read` gives the first two as one text, `<think>3+4</think>7`; `finish` and `filters` give the rest
two words: "length" and "filtered". An unfamiliar finish reason stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .. import thoughts

_CUT = re.compile(
    r"(max_?|model_?)?((new|output|completion)_?)?(length|tokens?)(_(limit|reached|exceeded))*"
    r"|incomplete|(token_)?limit(_reached)?|model_context_window_exceeded|error_limit"
)
_FILTER = re.compile(
    r"content_?(filter(?!s?_error)|policy|moderation|block)|moderat(ed|ion)|safety|recitation|spii"
    r"|prohibited|block(list|ed)|guardrail|flagged|sensitive|toxic|polic(y|ies)_?violation"
    r"|(usage|safety)_polic|responsible_?ai|data_inspection|model_armor|^filter(ed)?$"
    r"|block_?reason|exists_risk|risk_?detect|jailbreak"
)
_DONE = re.compile(r"stop(_sequence|ped)?|end_turn|eos(_token)?|complete(d)?|end|finish(ed)?")
_BROKEN = re.compile(
    r"(network_|server_|internal_)?error|abort(ed)?|cancell?ed|failed|time_?out"
    r"|insufficient_system_resource|overloaded|unavailable"
)
# The same in a host's sentences, for those that give no code.
_FILTER_WORDS = re.compile(
    r"content[\s_-]*(management|filter|safety|moderation|polic)|contentpolicyviolation"
    r"|\b(was|were|been|is|are) (filtered|flagged|moderated)\b|\bmoderat(ed|ion)\b|guardrail"
    r"|(usage|safety|acceptable use) (polic|guideline|system)|responsible ai|considered high risk"
    r"|(inappropriate|sensitive|unsafe|prohibited|harmful) content|content exists risk"
    r"|(prompt|output|response) blocked|敏感|不安全",
    re.IGNORECASE,
)
# Sentences about what every prompt would meet: an account, a parameter, the length of a context.
_EVERY = re.compile(
    r"\b(accounts?|api[ _]key|terminated|deactivated|suspended|billing|unrecogni[sz]ed|unknown"
    r"|unsupported|not (supported|permitted|found|enabled|allowed to)|does not exist|extra inputs"
    r"|(maximum )?context (length|window)|too (long|many))\b",
    re.IGNORECASE,
)
# Errors that say nothing of one prompt: a key, money, an address, time, load.
_GENERAL = (401, 402, 404, 405, 408, 409, 429)
_THOUGHTS = (
    "reasoning_content", "reasoning", "reasoning_details", "reasoning_text", "thinking",
    "thinking_blocks",
)  # fmt: skip


@dataclass(frozen=True)
class Reply:
    """What the server said. `finish` is "stop", "length" (cut off), "filtered" (a content filter of
    the host stopped prompt or reply) or another finish reason, `model` the name it gives itself,
    `system` its system_fingerprint; a request that failed for good has no text and one line of
    `error`."""

    text: str
    finish: str
    prompt_tokens: int
    new_tokens: int
    model: str
    error: str = ""
    system: str = ""


def finish(reason: object) -> str:
    """Return "length" for all that means a cut, "filtered" for a host's filter; else the reason."""
    word = re.sub(r"[^a-z]+", "_", str(reason).lower()).strip("_")
    word = re.sub(r"^finish_?reason_", "", word)
    if _CUT.fullmatch(word):
        return "length"
    if _FILTER.search(word):
        return "filtered"
    return "stop" if _DONE.fullmatch(word) else str(reason)


def filters(error: object, status: int = 0) -> bool:
    """Return whether an error's body (`{"message": …, "code": …}`) says that a content filter
    stopped this one prompt. Never so for server errors, and for what every prompt would meet."""
    error = error[0] if isinstance(error, list) and error else error
    error = error.get("error", error) if isinstance(error, dict) else error
    error = error if isinstance(error, dict) else {"message": str(error or "")}
    inner = error.get("innererror") or error.get("inner_error") or error.get("metadata") or {}
    inner = inner if isinstance(inner, dict) else {}
    said = [str(e.get(k) or "") for e in (error, inner) for k in ("code", "type", "status")]
    statuses = [status, *(int(word) for word in said if re.fullmatch(r"[45]\d\d", word))]
    if any(s >= 500 or s in _GENERAL for s in statuses):
        return False
    codes = [word for word in said if not re.search("access|account|user|region|key", word, re.I)]
    if any(finish(code) == "filtered" for code in codes) or inner.get("flagged_input"):
        return True
    about = re.split(r"\W", str(error.get("param") or "prompt"))[0]
    words = " ".join(
        str(e.get(k) or "") for e in (error, inner) for k in ("message", "detail", "raw")
    )
    own = about in ("prompt", "messages", "input") and not _EVERY.search(words)
    return own and bool(_FILTER_WORDS.search(words))


def read(answer, model: str) -> Reply:
    """Read a Reply from the client's ChatCompletion or Completion, whose fields it hardly checks.

    Raises ValueError (or AttributeError, TypeError) where there is no text: an error of its row.
    """
    model, system = (
        str(getattr(answer, name, None) or usual)
        for name, usual in (("model", model), ("system_fingerprint", ""))
    )
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list) or not choices:  # some send an error with status 200
        error, names = _extra(answer, "error"), ("prompt_feedback", "promptFeedback", "base_resp")
        feedback = " ".join(str(_extra(answer, name)).lower() for name in names)  # Gemini, MiniMax
        if (error and filters(error)) or _FILTER.search(feedback):
            return filtered(model)
        raise ValueError(f"no choices {error or ''}")
    choice = choices[0]
    ended = _ended(choice)
    message = getattr(choice, "message", None)
    thought, content = ("", _extra(choice, "text")) if message is None else _said(message)
    if not isinstance(content, str) and ended == "filtered":
        content = ""
    if not isinstance(content, str):
        raise ValueError("content that is not text")
    if ended == "refusal" and not content.strip():  # Claude's: the host's classifier, not its words
        ended = "filtered"
    text = _joined(thought, content, open_ended=ended in ("length", "filtered"))
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair, say
    used = getattr(answer, "usage", None)
    tokens = [int(getattr(used, n, 0) or 0) for n in ("prompt_tokens", "completion_tokens")]
    return Reply(text, ended, *tokens, model, system=system)


def filtered(model: str) -> Reply:
    """Return the reply to a prompt that a host's filter stopped."""
    return Reply("", "filtered", 0, 0, model)


def _ended(choice) -> str:
    """Return how a choice ended; ValueError where the server broke off: it is asked again."""
    error, native = _extra(choice, "error"), finish(_extra(choice, "native_finish_reason") or "")
    reason = finish(choice.finish_reason or "unknown")
    if "filtered" in (reason, native) or (error and filters(error)):
        return "filtered"
    if error or _BROKEN.fullmatch(reason.lower()):
        raise ValueError(f"the server broke off ({error or reason})")
    return native if reason == "unknown" and native else reason


def _extra(thing, name: str):
    """Return a field that OpenAI's own answers do not have; None where it is missing."""
    return getattr(thing, name, None)


def _said(message) -> tuple[str, str]:
    """Return (thought, content) of a message: fields of its own for the thought, and parts, as one
    each. Raises ValueError where there are parts, and none of them is one that can be read."""
    content = _extra(message, "content")
    parts = content if isinstance(content, list) else [content]
    pieces = [_part(part) for part in parts if part is not None]
    if pieces and not any(readable for *_, readable in pieces):
        raise ValueError("content that is not text")
    fields = (_words(_extra(message, name)) for name in _THOUGHTS)
    thought = next((words for words in fields if words.strip()), "")
    within = "\n\n".join(t for t, _, _ in pieces if t.strip())
    text = "".join(t for _, t, _ in pieces)
    return thought or within, text or _words(_extra(message, "refusal"))


def _part(part) -> tuple[str, str, bool]:
    """Return (thought, text, whether it could be read) of one part of a content."""
    if isinstance(part, str):
        return "", part, True
    kind = str(part.get("type", "text")) if isinstance(part, dict) else ""
    if re.search("think|reason|thought", kind):  # a redacted one has no words
        return _words(part), "", True
    words = _words(part) if re.search("text|refusal", kind) else ""
    return "", words, bool(re.search("text|refusal", kind)) and words is not None


def _words(value) -> str:
    """Return the text in a field: a string, list of pieces, or object that names it somehow."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return (
            "".join(map(_words, value))
            if _plain(value)
            else "\n\n".join(filter(str.strip, map(_words, value)))
        )
    if isinstance(value, dict):
        names = ("text", "thinking", "reasoning", "summary", "content", "value", "refusal")
        return next((w for w in (_words(value.get(n)) for n in names) if w), "")
    return ""


def _plain(values: list) -> bool:
    """Return whether pieces are cut out of one text, not paragraphs of their own."""
    return all(isinstance(v, str) or v.get("type") == "text" for v in values if v is not None)


def _joined(thought: str, content: str, open_ended: bool) -> str:
    """Return the text as the model wrote it, where a server took the thought out of it."""
    if not thought.strip() or thoughts.split(content).thought:  # some leave it there as well
        return content
    thought = re.sub(r"\A\s*<think>|</think>\s*\Z", "", thought)  # some leave the tags
    content = re.sub(r"\A\s*</think>", "", content)
    if not content.strip() and "</think>" in thought:  # and some take the answer along
        return f"<think>{thought}"
    cut = open_ended and not content.strip()
    return f"<think>{thought}{'' if cut else '</think>'}{content}"
