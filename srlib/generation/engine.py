"""Prompts in, completions out, on this machine (or, for a `served.Served` model, through a server).

`complete` is the only way a completion is made. It looks up what is there already, plans the rest
in batches of prompts of similar length, computes the prefix that all prompts share (system prompt,
demonstrations) once, and appends each batch's records to a JSONL file before it starts the next.

Batches are planned from the whole list and a batch that is half there is redone whole: in bfloat16
a completion depends on its batch, so this is what makes a killed and resumed run end with the same
bytes as an uninterrupted one. An example record is in `srlib.store`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from .. import store, thoughts
from ..errors import UserError
from ..models import memory
from ..models.loading import LM
from ..progress import progress
from .asking import Request, Settings, key, opens, reads, record, written


def complete(
    lm: LM, requests: list[Request], settings: Settings, path: Path, label: str = ""
) -> list[dict]:
    """Return the completion record of every request, in order; made where it is not in `path` yet.

    Raises UserError where a prompt leaves no room in the model's context for `max_new_tokens`, and
    for a served model as `served.Served.make` does.
    """
    inputs = [reads(lm, r) for r in requests]
    keys = [key(r, lm, settings, text) for r, text in zip(requests, inputs, strict=True)]
    store.ask(path, keys)
    with store.lock(path):
        records = {record["key"]: record for record in store.read(path)}
        if any(k not in records for k in keys):
            make = getattr(lm, "make", partial(_make, lm, inputs))  # a server's model makes its own
            make(requests, keys, settings, path, records, label)
    return [records[k] for k in keys]


def _make(lm, texts, requests, keys, settings, path, made, label) -> None:
    from .decoding import Prefix  # torch

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
    """Return the batch size asked for; where it is 0, that of completions which are there already
    (so that a run resumed on another machine plans the same batches), else one chosen from
    memory."""
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
    """Return indices in batches of at most `batch_size`, prompts of similar length together."""
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


def _ids(lm: LM, requests: list[Request], texts: list[str] | None = None) -> list[list[int]]:
    texts = texts or [written(lm, r) for r in requests]
    return lm.tokenizer(texts, add_special_tokens=False)["input_ids"]


def fitting(lm: LM, requests: list[Request], settings: Settings) -> list[int]:
    """Return indices of the requests that leave `max_new_tokens` room in the model's context."""
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
    completion = text_of(lm, new), length, len(new), "stop" if stopped else "length"
    return record(request, found_by, settings, *completion, lm.card(), opens(lm, request))


def text_of(lm: LM, new: list[int]) -> str:
    """Return the text of new tokens without special ones, unless they are what opens or closes a
    thought (s1 marks its parts with the turn's own mark)."""
    plain = lm.tokenizer.decode(new, skip_special_tokens=True)
    whole = lm.tokenizer.decode([i for i in new if i not in ends_of(lm)])
    return whole if thoughts.tagged(whole) and not thoughts.tagged(plain) else plain
