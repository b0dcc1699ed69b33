"""A model behind a server: asked like one loaded here, with the same records for its answers.

    lm = Served("aligned base", server.Server("http://127.0.0.1:8000/v1", "aligned-92ab…"), …)
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

from .. import store, thoughts
from ..errors import UserError
from ..models import loading
from ..progress import progress
from . import asking, replies, server

_HELLO = {"role": "user", "content": "Hello."}


@dataclass(frozen=True)
class Served:
    """A model behind a server, with what asking needs of a `loading.LM`. `said` is what the server
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
        return loading.tokenizer(self.source, self.outputs)

    @cached_property
    def opening(self) -> str | None:
        """Return the tag with which the template opens a thought in the prompt ("": it does not);
        None where the template is not to be had here."""
        try:
            return asking.opens(self, asking.Request("", "", [_HELLO]))
        except (UserError, OSError, ValueError):
            return None

    @cached_property
    def window(self) -> int | None:
        """Return the most tokens that the server takes, else that the model reads."""
        from transformers import AutoConfig

        if "max_model_len" in self.said:
            return int(self.said["max_model_len"])
        self.tokenizer  # noqa: B018 - unpacks the embedded model
        config = AutoConfig.from_pretrained(loading.resolve(self.source, self.outputs)[0])
        return getattr(config, "max_position_embeddings", None)

    def card(self) -> dict:
        return {
            "name": self.name, "fingerprint": self.fingerprint, "dtype": self.dtype,
            "served": self.said,
        }  # fmt: skip

    def put(self, request: asking.Request) -> list[dict] | str:
        """Return a request as it is sent: messages, or where the reply is begun the text that the
        model reads, without the mark that the server's tokenizer puts before every text."""
        if not request.prefill:
            return request.messages
        text, words = asking.written(self, request), self.tokenizer
        bos = words.bos_token
        adds = bos and words("a")["input_ids"][:1] == [words.bos_token_id]
        return text.removeprefix(bos) if adds else text

    def make(self, requests, keys, settings, path, made: dict, label: str) -> None:
        """Ask for completions that are not in `made`; keep each in `path` and `made` as it comes.

        Raises UserError as `server.ask` does, and at the end where requests failed for good: the
        next call asks for those alone. A completion counts as cut off where the server says so;
        some (`transformers serve`) say it of one whose very last token ends it, too. Where the
        template is not known here, what was cut off without a tag is kept last: it is an unclosed
        thought if the model's other completions close thoughts that they did not open.
        """
        todo = {k: r for k, r in zip(keys, requests, strict=True) if k not in made}
        prompts = [self.put(r) for r in todo.values()]
        sampling = {
            n: getattr(settings, n) for n in ("max_new_tokens", "temperature", "top_p", "seed")
        }
        failed, waiting = [], []

        def keep(key: str, reply: server.Reply, opened: str) -> None:
            answer = reply.text, reply.prompt_tokens, reply.new_tokens, reply.finish
            answered_by = {"answered_as": reply.model, "system_fingerprint": reply.system}
            card = self.card() | {"served": self.said | {k: v for k, v in answered_by.items() if v}}
            made[key] = asking.record(todo[key], key, settings, *answer, card, opened)
            store.append(path, [made[key]])

        with progress(len(todo), label) as bar:
            try:
                for index, reply in server.ask(self.where, prompts, stop=settings.stop, **sampling):
                    bar.update()
                    key = list(todo)[index]
                    if reply.error:
                        failed.append(reply.error)
                    elif self.opening is None and _cut_untagged(reply):
                        waiting.append((key, reply))
                    else:
                        keep(key, reply, self.opening or "")
            finally:
                closing = any(thoughts.closes(record["text"]) for record in made.values())
                for key, reply in waiting:
                    keep(key, reply, "<think>" if closing else "")
        if failed:
            raise UserError(
                f"{len(failed)} of {len(todo)} requests to {self.where.model!r} at "
                f"{self.where.address} failed ({failed[0]}); the others are kept: run again to "
                "ask for these anew"
            )


def _cut_untagged(reply: server.Reply) -> bool:
    return replies.finish(reply.finish) == "length" and not thoughts.tagged(reply.text)
