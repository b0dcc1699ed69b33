"""Chat completions from any OpenAI-compatible server: vLLM, SGLang, llama.cpp, hosted ones.

The `openai` client does the talking and the retrying (429, 5xx, time-outs and dropped connections,
with exponential back-off); this room keeps several requests in flight, and turns what fails for
good into a reply with an `error`, so that one bad row does not lose the others. A prompt that the
host's content filter stops did not fail: its reply has the finish "filtered"
(`srlib.generation.replies`).

    server = Server("http://127.0.0.1:8000/v1", "Qwen/Qwen3-8B")
    check(server)                                            # ["Qwen/Qwen3-8B"]
    for index, reply in ask(server, [[{"role": "user", "content": "Hi"}]], max_new_tokens=64):
        …                                                    # 0, Reply(text="Hello!", …)

A prompt that is a text, no list of messages, is put to `/completions` as it stands. Only widely
known fields are sent: `max_tokens`, `temperature`, and where they matter `top_p`, `seed`, `stop`.
The key is read from the environment when needed, and is never stored or shown.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue

from ..errors import UserError, meant
from . import replies
from .replies import Reply

# Wrong key, no money, wrong address or model: what one request meets, all others would meet.
# 403 is not among them: hosted servers give it to a single prompt that their filter dislikes, too.
_FATAL = (401, 402, 404)
_ADDRESS = re.compile(r"https?://(\[[\da-f:.]+\]|[^\s/@:]+)(:\d{1,5})?(/[^\s@?]*)?", re.I)
SAID = ("id", "root", "parent", "max_model_len")  # kept of what a server says of a model
_UNREACHABLE = ("ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol")


@dataclass(frozen=True)
class Server:
    """Where a model is served. Raises UserError for values that cannot be meant.

    `address` is the base URL, `concurrency` the most requests in flight, `timeout` is in seconds a
    request, `retries` the most further attempts, `key_env` names the environment variable that
    holds the key ("none" is sent where it is unset: local servers need no key).
    """

    address: str
    model: str
    concurrency: int = 8
    timeout: float = 120
    retries: int = 4
    key_env: str = "OPENAI_API_KEY"

    def __post_init__(self) -> None:
        if not _ADDRESS.fullmatch(self.address):  # nor with a password, which errors would show
            raise UserError("a server's address looks like http://127.0.0.1:8000/v1; correct it")
        if not self.model:
            raise UserError(f"no model is named for {self.address}; name one that it serves")
        for name, least in (("concurrency", 1), ("timeout", 0.01), ("retries", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; use {least} or more")
        if not re.fullmatch(r"[A-Za-z_]\w*", self.key_env, re.ASCII):
            raise UserError("key_env names an environment variable, it is not the key; name one")


def check(server: Server) -> list[str]:
    """Return the ids of the models that a server lists; [] where it keeps no list.

    Raises UserError as `cards` does, and where the server does not list `server.model`.
    """
    listed = cards(server)
    ids = list(listed or ())
    if listed is None or server.model in ids or by_folder(server):
        return ids
    raise UserError(
        f"{server.address} does not serve {server.model!r}"
        f"{meant(server.model, ids)} (it serves: {some(ids)}); name one of these"
    )


def by_folder(server: Server) -> bool:
    """Return whether the model is named by its folder: it need not be listed then, as
    `transformers serve` lists downloads only."""
    return Path(server.model).is_absolute() or Path(server.model).is_dir()


def some(ids: Iterable[str]) -> str:
    """Return the first of some names, for a message."""
    ids = list(ids)
    return (", ".join(ids[:8]) or "nothing") + (", …" if len(ids) > 8 else "")


def cards(server: Server) -> dict[str, dict] | None:
    """Return what a server says of each model that it lists, by id: id, and root, parent,
    max_model_len where it gives them (vLLM: folder or hub id, the model below an adapter, tokens).
    None where it keeps no list. Raises UserError where it cannot be reached or refuses the key."""
    import openai

    try:
        with _client(server, min(server.timeout, 10), min(server.retries, 1)) as client:
            models = [dict(model) for model in client.models.list().data]
            return {str(m["id"]): {k: m[k] for k in SAID if m.get(k) is not None} for m in models}
    except openai.APIStatusError as error:
        if error.status_code in (401, 403):
            raise _refused(server, error.status_code) from None
        if error.status_code in (404, 405, 501) or by_folder(server):
            return None
        raise UserError(
            f"{server.address} is not ready ({_line(server, error)}); wait, or see its own output"
        ) from None
    except openai.APIConnectionError as error:
        raise _unreachable(server, error) from None
    except (openai.OpenAIError, ValueError, AttributeError, TypeError, KeyError):
        what = f"{server.address} is no OpenAI-compatible server"
        raise UserError(f"{what}; correct the address (most end in /v1)") from None


def completes(server: Server) -> bool:
    """Return whether the server takes texts (`/completions`), too: an empty request is refused
    there, and not found elsewhere. Raises UserError where it cannot be reached."""
    import openai

    try:
        with _client(server, min(server.timeout, 10), 0) as client:
            client.post("/completions", body={}, cast_to=object)
    except openai.APIStatusError as error:
        return error.status_code not in (404, 405, 501)
    except openai.APIConnectionError as error:
        raise _unreachable(server, error) from None
    return True


def ask(
    server: Server,
    conversations: Iterable[list[dict] | str],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: Sequence[str] = (),
    form: dict | None = None,
) -> Iterator[tuple[int, Reply]]:
    """Yield (index of the conversation, Reply), each as soon as it is there, in order of arrival.

    A conversation is a list of chat messages, or a text to go on from; at most `server.concurrency`
    are in flight. `form` is a JSON schema that servers with structured output hold every reply to.
    Raises UserError for what every request would meet (server gone, key refused, model unknown),
    after yielding what was still under way.
    """
    settings = {"max_tokens": max_new_tokens, "temperature": temperature}
    settings |= {"top_p": top_p, "seed": seed} if temperature else {}
    settings |= {"stop": list(stop)} if stop else {}
    if form:
        named = {"name": form.get("title", "reply"), "schema": form, "strict": True}
        settings["response_format"] = {"type": "json_schema", "json_schema": named}
    jobs, out, halt = SimpleQueue(), SimpleQueue(), threading.Event()
    for job in enumerate(conversations):
        jobs.put(job)
    running = min(server.concurrency, jobs.qsize())
    with _client(server, server.timeout, server.retries) as client:
        work = (client, server, settings, jobs, out, halt)
        for _ in range(running):  # daemons: ctrl-C does not wait for a slow server
            threading.Thread(target=_work, args=work, daemon=True).start()
        try:
            yield from _arrivals(out, running)
        finally:
            halt.set()


def _work(client, server: Server, settings: dict, jobs, out, halt: threading.Event) -> None:
    """Do job after job in one thread, until there are no more or one was fatal."""
    try:
        while not halt.is_set():
            index, messages = jobs.get_nowait()
            out.put((index, _reply(client, server, messages, settings)))
    except Empty:
        pass
    except Exception as error:  # raised again by whoever reads the queue
        halt.set()
        out.put(error)
    out.put(None)


def _arrivals(out: SimpleQueue, running: int) -> Iterator[tuple[int, Reply]]:
    fatal = None
    while running:
        item = out.get()
        if item is None:
            running -= 1
        elif isinstance(item, Exception):
            fatal = fatal or item
        else:
            yield item
    if fatal:
        raise fatal


def _client(server: Server, timeout: float, retries: int):
    import openai

    key = os.environ.get(server.key_env, "").strip() or "none"
    if not re.fullmatch(r"[!-~]+", key):  # an error about the header would show it
        raise UserError(f"the key in {server.key_env} has spaces or odd characters; set it anew")
    limit = openai.Timeout(timeout, connect=min(timeout, 10))
    return openai.OpenAI(base_url=server.address, api_key=key, timeout=limit, max_retries=retries)


def _reply(client, server: Server, asked: list[dict] | str, settings: dict) -> Reply:
    import openai

    as_text = isinstance(asked, str)
    create = client.completions.create if as_text else client.chat.completions.create
    request = {"prompt" if as_text else "messages": asked, **settings}
    try:
        reply = _read(create(model=server.model, **request), server)
        cut = reply.finish == "unknown" and reply.new_tokens >= settings["max_tokens"]
        return replace(reply, finish="length") if cut else reply
    except openai.APIStatusError as error:
        if error.status_code == 401:
            raise _refused(server, 401) from None
        if error.status_code in _FATAL or error.code == "insufficient_quota":
            what = f"{server.address} will not serve {server.model!r} ({_line(server, error)})"
            raise UserError(f"{what}; check address (most end in /v1), model, account") from None
        if replies.filters(error.body or str(error), error.status_code):
            return replies.filtered(server.model)
        return _failed(server, _line(server, error))
    except openai.APIConnectionError as error:
        if type(error.__cause__).__name__ in _UNREACHABLE:
            raise _unreachable(server, error) from None
        return _failed(server, _line(server, error))
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
        return _failed(server, f"not a readable answer: {_line(server, error)}")


def _read(answer, server: Server) -> Reply:
    return replies.read(answer, server.model)


def _failed(server: Server, error: str) -> Reply:
    return Reply("", "error", 0, 0, server.model, error=error)


def _refused(server: Server, status: int) -> UserError:
    unset = "" if os.environ.get(server.key_env) else ", which is not set"
    where = f"the environment variable {server.key_env}{unset}"
    return UserError(
        f"{server.address} refuses the key (HTTP {status}); put a valid one in {where}"
    )


def _unreachable(server: Server, error: Exception) -> UserError:
    return UserError(
        f"no server answers at {server.address} ({_line(server, error.__cause__ or error)}); "
        "start it, or correct the address, and run again"
    )


def _line(server: Server, error: object) -> str:
    """Return an error as one short line, without the key, should the server repeat it."""
    text = " ".join(str(error).split())
    cause = getattr(error, "__cause__", None)
    text += f" ({type(cause).__name__})" if cause and len(text) < 40 else ""
    key = os.environ.get(server.key_env, "").strip()
    return (text.replace(key, "***") if key else text)[:200]
