"""Models behind a server: asked like those loaded here, with the same records for their answers.

With the parameter `backend: server` training stays here, and what is trained answers through an
OpenAI-compatible server at `address`. Who goes by which name there is in `served_as` (a name may be
followed by " @ address", for a server of its own); by default an arm goes by its folder's name,
which says what made it, and the model by its own id.

    lm = require(values, {"aligned base": Base("embedded", (A,))}, outputs, profile)["aligned base"]
    lm.card()   # {"name": "aligned base", "fingerprint": "3f0c…", "dtype": "as served",
                #  "served": {"id": "aligned-92ab…", "root": "/…/aligned-92ab…", "parent": "…"}}

A prompt goes out as chat messages, for the server to write in the model's template. One whose reply
is begun (`prefill`) goes out as text, in the template as it is here: no two servers go on from a
begun message in the same way, and the text is what a model loaded here reads. A completion's key
holds the arm's fingerprint here and what the server says of the model, and not its address.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import (
    arms,
    defences,
    export,
    generation,
    models,
    preferences,
    replies,
    server,
    store,
    thoughts,
)
from .errors import UserError, meant
from .finetune import Base

_HELLO = {"role": "user", "content": "Hello."}
WEIGHTS = ("safe_lora", "resta", "irr")  # notebook 05's methods that edit weights


@dataclass(frozen=True)
class Served:
    """A model behind a server, with what asking needs of a `models.LM`. `said` is what the server
    says of it; `fingerprint` names the weights here that it stands for ("" for a plain model)."""

    name: str
    where: server.Server
    said: dict
    fingerprint: str
    source: str
    outputs: Path
    dtype: str = "as served"

    @property
    def mark(self) -> list:
        return [self.fingerprint, self.said]

    @cached_property
    def tokenizer(self):
        return models.tokenizer(self.source, self.outputs)

    @cached_property
    def opening(self) -> str | None:
        """The tag with which the template opens a thought in the prompt ("": it does not); None
        where the template is not to be had here."""
        try:
            return generation.opens(self, generation.Request("", "", [_HELLO]))
        except (UserError, OSError, ValueError):
            return None

    @cached_property
    def window(self) -> int | None:
        """The most tokens that the server takes, else that the model reads."""
        from transformers import AutoConfig

        if "max_model_len" in self.said:
            return int(self.said["max_model_len"])
        self.tokenizer  # noqa: B018 - unpacks the embedded model
        config = AutoConfig.from_pretrained(models.resolve(self.source, self.outputs)[0])
        return getattr(config, "max_position_embeddings", None)

    def card(self) -> dict:
        return {
            "name": self.name, "fingerprint": self.fingerprint, "dtype": self.dtype,
            "served": self.said,
        }  # fmt: skip


def asked(values: dict) -> bool:
    """Whether completions are to come from a server."""
    return values.get("backend") == "server"


def trains(values: dict) -> bool:
    """Whether the model's weights are needed here, to train something of it or to name it."""
    return bool(values["align"] or arms.of(values) or values.get("more_arms"))


def preflight(values: dict, outputs: Path) -> None:
    """Check what can be checked of a server before anything is trained: the parameters, that it
    answers, that it has the model itself, that it can go on from a begun reply. Raises UserError.
    """
    if values["backend"] not in ("local", "server"):
        raise UserError(f"backend is {values['backend']!r}; use local or server")
    if not asked(values):
        return
    made = arms.of(values)
    known = ["aligned base", values["model"], *(a.name for a in made)]
    known += [preferences.name(made[0].name, method) for method in preferences.of(values)]
    known += values.get("more_arms", {})
    if stray := [name for name in values["served_as"] if name not in known]:
        hint = meant(stray[0], known) or f"; it may name {', '.join(known)}"
        raise UserError(f"served_as names {stray[0]!r}, which is no model of this run{hint}")
    if edits := [name for name in WEIGHTS if values.get(name)]:
        raise UserError(
            f"{', '.join(edits)} edit weights, which are then loaded here: with backend server set "
            f"{'them' if edits[1:] else 'it'} to [], or run them with backend local"
        )
    usual = export.name(Base(values["model"]), outputs)
    places = [_at(values, name, usual) for name in known]
    for place in {p.address: p for p in places}.values():
        server.cards(place)
    if as_it_comes(values):
        require(values, {values["model"]: Base(values["model"])}, outputs, outputs)
    begun = [name for name in values.get("protect", []) if name in defences.DECODING]
    lacks = [p.address for p in places if begun and not server.completes(p)]
    if lacks:
        raise UserError(
            f"{lacks[0]} has no /completions, without which no reply can be begun: take "
            f"{', '.join(begun)} out of `protect`, or use a server that has it (vLLM, SGLang, "
            "llama.cpp)"
        )


def as_it_comes(values: dict) -> bool:
    """Whether a notebook asks the model before its safety tuning, too: 00 and 04 do."""
    few = not {"layout", "n_train"} & set(values)
    return not values["align"] or few or "judges" in values


def _at(values: dict, name: str, usual: str) -> server.Server:
    """The server of a model, with the model's name there."""
    if not values["address"]:
        raise UserError("backend is server, but address is empty; name one that ends in /v1")
    told, own, address = values["served_as"].get(name, usual).partition(" @ ")
    place = address.strip() if own else values["address"]
    limits = values["concurrency"], values["timeout"], values["retries"]
    return server.Server(place, told.strip(), *limits)


def require(
    values: dict, wanted: dict[str, Base], outputs: Path, profile: Path
) -> dict[str, Served]:
    """The models, by name, as their servers know them.

    Raises UserError where one is lacking, which names all that are and how to serve them, and where
    a folder that a server names can be looked at and holds other weights.
    """
    listed, found, lacking = {}, {}, {}
    for name, base in wanted.items():
        where = _at(values, name, export.name(base, outputs))
        if where.address not in listed:
            listed[where.address] = server.cards(where)
        cards = listed[where.address]
        said = (cards or {}).get(where.model)
        if said is None and cards is not None and not server.by_folder(where):
            lacking[name] = where
            continue
        said = said or {"id": where.model}
        folder = Path(said.get("root") or said["id"])
        if export.others(folder, base, outputs, profile):
            raise UserError(
                f"{where.address} serves {folder} as {where.model!r}, which holds other weights "
                f"than {name} has now; serve {export.servable(base, outputs, profile)}"
            )
        own = base.adapters or base.model != values["model"]
        mark = base.fingerprint(outputs) if own else export.seen(folder)
        found[name] = Served(name, where, said, mark, values["model"], outputs)
    if lacking:
        raise _lacking(lacking, listed, wanted, outputs, profile)
    return found


def _lacking(lacking, listed, wanted, outputs, profile) -> UserError:
    first = next(iter(lacking.values()))
    names = ", ".join(f"{where.model!r} (for {name})" for name, where in lacking.items())
    has = server.some(listed[first.address] or ())
    return UserError(
        f"{first.address} does not serve {names}; it serves: {has}. Nothing is lost: start it so, "
        f"and run again: {export.command(wanted, outputs, profile)} (or say in served_as which of "
        "its names they are; for a server without adapters see `python -m srlib export --help`)"
    )


def make(lm: Served, requests, keys, settings, path, made: dict, label: str) -> None:
    """Ask for the completions that are not in `made`; keep each in `path` and `made` as it comes.

    Raises UserError as `server.ask` does, and at the end where requests failed for good: the next
    call asks for those alone. A completion counts as cut off where the server says so; some
    (`transformers serve`) say it of one whose very last token ends it, too. Where the template is
    not known here, what was cut off without a tag is kept last: it is an unclosed thought if the
    model's other completions close thoughts that they did not open.
    """
    todo = {k: r for k, r in zip(keys, requests, strict=True) if k not in made}
    prompts = [put(lm, r) for r in todo.values()]
    how = {n: getattr(settings, n) for n in ("max_new_tokens", "temperature", "top_p", "seed")}
    failed, waiting = [], []

    def keep(key: str, reply: server.Reply, opened: str) -> None:
        told = reply.text, reply.prompt_tokens, reply.new_tokens, reply.finish
        by = {"answered_as": reply.model, "system_fingerprint": reply.system}
        card = lm.card() | {"served": lm.said | {k: v for k, v in by.items() if v}}
        made[key] = generation.record(todo[key], key, settings, *told, card, opened)
        store.append(path, [made[key]])

    with generation.progress(len(todo), label) as bar:
        try:
            for index, reply in server.ask(lm.where, prompts, stop=settings.stop, **how):
                bar.update()
                key = list(todo)[index]
                if reply.error:
                    failed.append(reply.error)
                elif lm.opening is None and _cut_untagged(reply):
                    waiting.append((key, reply))
                else:
                    keep(key, reply, lm.opening or "")
        finally:
            closing = any(thoughts.closes(record["text"]) for record in made.values())
            for key, reply in waiting:
                keep(key, reply, "<think>" if closing else "")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(todo)} requests to {lm.where.model!r} at {lm.where.address} "
            f"failed ({failed[0]}); the others are kept: run again to ask for these anew"
        )


def _cut_untagged(reply: server.Reply) -> bool:
    return replies.finish(reply.finish) == "length" and not thoughts.tagged(reply.text)


def put(lm: Served, request: generation.Request) -> list[dict] | str:
    """A request as it is sent: messages, or where the reply is begun the text that the model reads,
    without the mark of a beginning that the server's tokenizer puts before every text."""
    if not request.prefill:
        return request.messages
    text, words = generation.written(lm, request), lm.tokenizer
    bos = words.bos_token
    adds = bos and words("a")["input_ids"][:1] == [words.bos_token_id]
    return text.removeprefix(bos) if adds else text
