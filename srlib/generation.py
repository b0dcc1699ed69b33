"""Prompts in, completions out, on this machine (or, for a `served.Served` model, through a server).

`complete` is the only way a completion is made. It looks up what is there already, plans the rest
in batches of prompts of similar length, computes the prefix that all prompts share (system prompt,
demonstrations) once, and appends each batch's records to a JSONL file before it starts the next.

Batches are planned from the whole list and a batch that is half there is redone whole: in bfloat16
a completion depends on its batch, so this is what makes a killed and resumed run end with the same
bytes as an uninterrupted one. An example record is in `srlib.store`.
"""

from __future__ import annotations

import datetime
import os
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from . import kept, memory, store, thoughts
from .errors import UserError
from .models import LM

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

    `batch_size` 0 is chosen from memory (`srlib.memory`): the key of a completion then holds the 0,
    its record the size that was chosen. A server batches as it likes: 0 there, too.
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


def key(request: Request, lm: LM, settings: Settings, read: str | list | None = None) -> str:
    """What a completion is found by: the model (its `mark`), the settings, and what it reads."""
    return kept.mark(lm.mark, asdict(settings), read or reads(lm, request))


def reads(lm: LM, request: Request) -> str | list[dict]:
    """What is put to the model: the text in its chat template; to a server the messages."""
    from . import served

    return served.put(lm, request) if isinstance(lm, served.Served) else written(lm, request)


def complete(
    lm: LM, requests: list[Request], settings: Settings, path: Path, label: str = ""
) -> list[dict]:
    """The completion record of every request, in order; made where it is not in `path` yet.

    Raises UserError where a prompt leaves no room in the model's context for `max_new_tokens`, and
    for a served model as `served.make` does.
    """
    from . import served

    read = [reads(lm, r) for r in requests]
    keys = [key(r, lm, settings, text) for r, text in zip(requests, read, strict=True)]
    store.ask(path, keys)
    with store.lock(path):
        made = {record["key"]: record for record in store.read(path)}
        if any(k not in made for k in keys):
            told = keys, settings, path, made, label
            if isinstance(lm, served.Served):
                served.make(lm, requests, *told)
            else:
                _make(lm, requests, read, *told)
    return [made[k] for k in keys]


def _make(lm, requests, texts, keys, settings, path, made, label) -> None:
    from .decoding import Prefix

    ids = _tokenize(lm, requests, settings, texts)
    settings = replace(settings, batch_size=_batch_size(lm, ids, keys, settings, made))
    batches = plan([len(i) for i in ids], settings.batch_size)
    todo = [batch for batch in batches if any(keys[i] not in made for i in batch)]
    with memory.enough(settings.batch_size), progress(sum(map(len, todo)), label) as bar:
        prefix = Prefix(lm.model, ids)
        for batch in todo:
            outputs = _generate(lm, [ids[i] for i in batch], prefix, settings)
            fresh = []
            for i, new in zip(batch, outputs, strict=True):
                if keys[i] in made:
                    continue
                made[keys[i]] = _record(lm, requests[i], keys[i], settings, len(ids[i]), new)
                fresh.append(made[keys[i]])
            store.append(path, fresh)
            bar.update(len(batch))


def _batch_size(lm: LM, ids, keys, settings: Settings, made) -> int:
    """The batch size asked for; where it is 0, that of completions which are there already (so that
    a run resumed on another machine plans the same batches), else one chosen from memory."""
    from .decoding import common, plain_attention

    if settings.batch_size:
        return settings.batch_size
    for k in keys:
        if k in made:
            return made[k]["settings"]["batch_size"]
    longest = max(map(len, ids))
    own = longest - (common(ids) if plain_attention(lm.model) else 0)
    return memory.batch(lm.model, lm.device, own, longest, settings.max_new_tokens)


def plan(lengths: list[int], batch_size: int) -> list[list[int]]:
    """Indices in batches of at most `batch_size`, prompts of similar length together."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def _tokenize(lm: LM, requests, settings: Settings, texts=None) -> list[list[int]]:
    ids, window = _ids(lm, requests, texts), lm.window
    longest = max(map(len, ids)) + settings.max_new_tokens
    if window and longest > window:
        raise UserError(
            f"the longest prompt with max_new_tokens needs {longest} tokens, but {lm.name} reads "
            f"{window}: use fewer demonstrations or a smaller max_new_tokens"
        )
    return ids


def written(lm: LM, request: Request) -> str:
    """What the model reads: the messages in its chat template, and what the reply begins with."""
    text = _asked(lm, request)
    opened = thoughts.opens(text)
    if opened and thoughts.begun(request.prefill, opened, True) == request.prefill != "":
        text = text.rstrip().removesuffix(opened)  # the reply brings its own
    return text + request.prefill


def opens(lm: LM, request: Request) -> str:
    """The tag with which the chat template opens a thought at the end of the prompt, or ""."""
    return thoughts.opens(_asked(lm, request))


def _asked(lm: LM, request: Request) -> str:
    how = {"tokenize": False, "add_generation_prompt": True}
    template = lm.tokenizer.chat_template
    if "strftime_now" in str(template):  # it tells the model the date
        how["chat_template"] = _DATE.sub(lambda call: repr(TODAY.strftime(call[2])), template)
    return lm.tokenizer.apply_chat_template(request.messages, **how)


def _ids(lm: LM, requests: list[Request], texts: list[str] | None = None) -> list[list[int]]:
    texts = texts or [written(lm, r) for r in requests]
    return lm.tokenizer(texts, add_special_tokens=False)["input_ids"]


def fitting(lm: LM, requests: list[Request], settings: Settings) -> list[int]:
    """Which of the requests leave room in the model's context for `max_new_tokens`: indices."""
    room = (lm.window or float("inf")) - settings.max_new_tokens
    return [i for i, ids in enumerate(_ids(lm, requests)) if len(ids) <= room] if requests else []


def _generate(lm: LM, prompts: list[list[int]], prefix, settings: Settings) -> list[list[int]]:
    import torch
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    from .decoding import decode

    random = torch.Generator(lm.device).manual_seed(settings.seed)

    def pick(logits):
        if not settings.temperature:
            return logits.float().argmax(-1)  # on a CPU five times faster than in bfloat16
        logits = TemperatureLogitsWarper(settings.temperature)(None, logits.float())
        if settings.top_p < 1:
            logits = TopPLogitsWarper(settings.top_p)(None, logits)
        return torch.multinomial(logits.softmax(-1), 1, generator=random)[:, 0]

    def stopped(new: list[int]) -> bool:
        text = lm.tokenizer.decode(new[-24:]) if settings.stop else ""
        return any(stop in text for stop in settings.stop)

    pad, limit = lm.tokenizer.pad_token_id, settings.max_new_tokens
    return decode(lm.model, prompts, prefix, ends_of(lm), pad, limit, pick, stopped)


def ends_of(lm: LM) -> set[int]:
    ends = lm.model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return {e for e in [*ends, lm.tokenizer.eos_token_id] if e is not None}


def _record(lm: LM, request: Request, found_by: str, settings: Settings, length: int, new) -> dict:
    stopped = len(new) < settings.max_new_tokens or (new and new[-1] in ends_of(lm))
    told = text_of(lm, new), length, len(new), "stop" if stopped else "length"
    return record(request, found_by, settings, *told, lm.card(), opens(lm, request))


def record(
    request: Request, found_by: str, settings: Settings, text: str, prompt_tokens: int,
    new_tokens: int, finish: str, model: dict, opened: str = "",
) -> dict:  # fmt: skip
    """A completion's record; `text` is what is new, and ends before the first stop string. The tag
    that `opened` a thought in the prompt is put before what goes on with the thought."""
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


def text_of(lm: LM, new: list[int]) -> str:
    """The text of new tokens without special ones, unless they are what opens or closes a thought
    (s1 marks its parts with the turn's own mark)."""
    plain = lm.tokenizer.decode(new, skip_special_tokens=True)
    whole = lm.tokenizer.decode([i for i in new if i not in ends_of(lm)])
    return whole if thoughts.tagged(whole) and not thoughts.tagged(plain) else plain


def progress(total: int, label: str):
    """A progress bar: in a terminal or notebook as text, under the runner into its status file."""
    from tqdm import tqdm

    status = os.environ.get("SRLIB_STATUS")
    stream = Path(status).open("a") if status else None  # noqa: SIM115
    return tqdm(
        total=total, desc=label or "generating", file=stream, mininterval=1 if status else 5,
        leave=False, ncols=80, delay=0 if status else 3,
    )  # fmt: skip
