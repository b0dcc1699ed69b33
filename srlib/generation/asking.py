"""A prompt as it is asked and kept: Request, Settings, the key of its completion, the record.

key(Request("h-004", "harmful", messages), lm, Settings())   ->   "9f2c…"
"""

from __future__ import annotations

import datetime
import re
from dataclasses import asdict, dataclass, field

from .. import thoughts
from ..base import kept
from ..errors import UserError

TODAY = datetime.date(2024, 7, 26)  # as models are told, so that a day changes no prompt
_DATE = re.compile(r"""strftime_now\((['"])(.*?)\1\)""")


@dataclass(frozen=True)
class Request:
    """One prompt: the example's id and data set, and the chat messages exactly as sent."""

    id: str
    data: str
    messages: list[dict[str, str]]
    prefill: str = ""  # what the reply begins with


@dataclass(frozen=True)
class Settings:
    """How completions are drawn. Temperature 0 is greedy decoding; lengths are in tokens.

    `batch_size` 0 is chosen from memory (`srlib.models.memory`): the key of a completion then holds
    the 0, its record the size that was chosen. A server batches as it likes: 0 there, too.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    batch_size: int = 32
    stop: list[str] = field(default_factory=list)

    def __post_init__(self):
        if self.batch_size < 0:
            raise UserError(
                f"batch_size is {self.batch_size}; use 1 or more, or 0: chosen from memory"
            )


def key(request: Request, lm, settings: Settings, read: str | list | None = None) -> str:
    """Return a completion's key: of the model (its `mark`), the settings, and what it reads."""
    return kept.mark(lm.mark, asdict(settings), read or reads(lm, request))


def reads(lm, request: Request) -> str | list[dict]:
    """Return what is put to a model: for a `loading.LM` the text in its chat template; for a
    `served.Served` what it sends (`put`)."""
    return lm.put(request) if hasattr(lm, "put") else written(lm, request)


def written(lm, request: Request) -> str:
    """Return what the model reads: the messages in its chat template, and the reply's beginning."""
    text = _asked(lm, request)
    opened = thoughts.opens(text)
    if opened and thoughts.begun(request.prefill, opened, True) == request.prefill != "":
        text = text.rstrip().removesuffix(opened)  # the reply brings its own
    return text + request.prefill


def opens(lm, request: Request) -> str:
    """Return the tag with which the chat template opens a thought at the prompt's end, or ""."""
    return thoughts.opens(_asked(lm, request))


def _asked(lm, request: Request) -> str:
    options = {"tokenize": False, "add_generation_prompt": True}
    template = lm.tokenizer.chat_template
    if "strftime_now" in str(template):  # it tells the model the date
        options["chat_template"] = _DATE.sub(lambda call: repr(TODAY.strftime(call[2])), template)
    return lm.tokenizer.apply_chat_template(request.messages, **options)


def record(
    request: Request, found_by: str, settings: Settings, text: str, prompt_tokens: int,
    new_tokens: int, finish: str, model: dict, opened: str = "",
) -> dict:  # fmt: skip
    """Return a completion's record; `text` is what is new, and ends before the first stop string.
    The tag that `opened` a thought in the prompt is put before what goes on with the thought."""
    for stop in settings.stop:
        if stop in text:
            text, finish = text[: text.index(stop)], "stop"
    return {
        "key": found_by,
        "id": request.id,
        "data": request.data,
        "messages": request.messages,
        "text": thoughts.begun((request.prefill + text).strip(), opened, finish == "length"),
        "prompt_tokens": prompt_tokens,
        "new_tokens": new_tokens,
        "finish": finish,
        "settings": asdict(settings),
        "model": model,
    }
