"""Reflective safety rows from a teacher model: harmful requests in, thoughts and refusals out.

The teacher, behind an OpenAI-compatible server, is asked to think about who could be harmed and
then to refuse, revealing nothing; rules drop what falls short. The recipe is that of deliberative
alignment (Guan et al. 2024, arXiv 2412.16339), STAR-1 (UCSC-VLAA/STAR-1) and SafeChain
(UWNSL/SafeChain); the wording is `assets/teacher.yaml`, versioned. A row of the output:

    {"id": "h-002", "prompt": "Please plan …", "thought": "A fire would put the people …",
     "response": "I won't help with this …", "category": "violence", "teacher": "Qwen/Qwen3-8B"}

Every reply is kept in `<path>.replies.jsonl` as it comes and never asked for twice. The rows are in
the order of the prompts: killed and resumed or not, the same replies give the same bytes.

    python -m srlib.ops.teacher --address http://127.0.0.1:8000/v1 --model Qwen/Qwen3-8B \\
        --requests harmful --n 50 --out rows.jsonl
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import refusals, store, thoughts
from ..base import kept, resources
from ..data import evalsets
from ..errors import UserError
from ..generation import replies, server
from ..progress import progress

MAX_WORDS = 800  # of a thought; the template asks for 200
# Stems, one of which a thought that weighs harm will hold: no measure of how well it reasons.
_HARM = re.compile(
    r"\b(?:un|en|il|im|non)?(?:abus|consen|crime|crimin|cruel|damag|danger|deceiv|die\b|dignity|ethic"
    r"|exploit|fraud|harass|harm|hate|hurt|injur|kill|law|legal|lose|loss|malicious|mislead|moral|pain"
    r"|priva|protect|risk|safe|scam|steal|suffer|theft|threat|trauma|victim|violat|violen|wound|wrong)",
    re.IGNORECASE,
)
# What instructions look like. Rough on purpose: a good row dropped costs little.
_ITEM = re.compile(r"(?:^|(?<=\s))\(?\d\d?[.)]\s+\S|^\s*[-*•–]\s+\S|\bstep \d", re.I | re.M)
_STEP = re.compile(
    r"(?:^|(?<=[.!?;:\n]))\s*(?:(?:first|second|third|then|next|after that|now|finally)\b,?\s+)?"
    r"(?:you (?:(?:will|should|must|can|need to|have to) )?)?(?:add|apply|attach|break|build|buy"
    r"|click|combine|connect|copy|cut|dissolve|download|drill|enter|fill|gather|get|heat|insert"
    r"|install|lift|mix|open|place|pour|press|pull|push|put|remove|run|set|slide|take|turn|use)\b",
    re.IGNORECASE,
)
_AMOUNT = re.compile(
    r"\b(?:\d+(?:[.,]\d+)?|one|two|three|four|five|six|seven|eight|nine|ten|half an?)[\s-]?"
    r"(?:mg|g|kg|ml|l|oz|lbs?|cm|mm|psi|°\s?[CF]|(?:milli|kilo)?(?:grams?|lit(?:er|re)s?)|ounces?"
    r"|(?:tea|table)?(?:spoon|cup)s?|degrees|volts?|amps?|watts?|drops|pills|tablets)(?!\w)"
)


@dataclass(frozen=True)
class Report:
    """What became of the prompts. `asked`, `failed` and the tokens are of this call alone."""

    prompts: int
    accepted: int
    dropped: dict[str, int]  # reason -> rows
    asked: int
    failed: int
    prompt_tokens: int = 0
    new_tokens: int = 0
    error: str = ""  # of the first request that failed

    def __str__(self) -> str:
        parts = [f"{self.accepted} of {self.prompts} rows accepted"]
        parts += [f"{n} dropped: {reason}" for reason, n in self.dropped.items()]
        if self.failed:
            parts.append(f"{self.failed} failed (the first: {self.error})")
        used = f"{self.prompt_tokens:,} + {self.new_tokens:,} tokens"
        return "; ".join([*parts, f"{self.asked} asked, {used}"])


def template() -> dict:
    """Load the asset: {"version": 1, "source": …, "system": …, "user": …, "category": …}."""
    return resources.asset("teacher.yaml")


def messages(prompt: str, category: str = "") -> list[dict[str, str]]:
    """Return the chat messages that put a harmful request to the teacher."""
    kind = template()["category"].replace("{category}", category) if category else ""
    slots = {"{category}": kind, "{prompt}": prompt}
    asked = re.sub("|".join(slots), lambda slot: slots[slot[0]], template()["user"])
    system = {"role": "system", "content": template()["system"]}
    return [system, {"role": "user", "content": asked}]


def accept(prompt: str, text: str, finish: str = "stop", max_words: int = MAX_WORDS) -> str:
    """Give the first reason why a teacher's reply is no good training row, "" where it is one.

    "filtered": stopped by the host's content filter (`finish` says so). "truncated": cut at the
    token limit (`finish` is "length") or inside the thought. "no thought": no tags, or nothing in
    or after them. "does not reason about harm": no such word in the thought.
    "does not refuse": any class but `refusal` (srlib.refusals). "reveals": thought or answer looks
    like instructions, a heuristic: three list items, steps or sentences that tell one to take, mix,
    open …; a code block; an amount with its unit, not the prompt's own. "too long": the thought.
    """
    parts, finish = thoughts.split(text), replies.finish(finish)
    if finish == "filtered":
        return finish
    if finish == "length" or parts.status == "unclosed_thought":
        return "truncated"
    if parts.status != "ok" or not parts.thought:
        return "no thought"
    if not _HARM.search(parts.thought):
        return "does not reason about harm"
    if refusals.classify(prompt, text) != "refusal":
        return "does not refuse"
    if any(_reveals(prompt, part) for part in (parts.thought, parts.answer)):
        return "reveals"
    return "too long" if len(parts.thought.split()) > max_words else ""


def _reveals(prompt: str, text: str) -> bool:
    amounts = {m[0] for m in _AMOUNT.finditer(text)} - {m[0] for m in _AMOUNT.finditer(prompt)}
    steps = max(len(_ITEM.findall(text)), len(_STEP.findall(text)))
    return steps >= 3 or bool(amounts) or "```" in text


def build(
    prompts: Sequence[Any],
    teacher: server.Server,
    path: Path,
    n: int | None = None,
    *,
    max_new_tokens: int = 2048,
    temperature: float = 0.6,
    top_p: float = 0.95,
    seed: int = 0,
    max_words: int = MAX_WORDS,
) -> Report:
    """Ask the teacher about the first `n` prompts (None: all), write the accepted rows to `path`.

    Prompts are dicts or evalsets.Rows with `id`, `prompt`, perhaps `category`. What failed is asked
    again by the next call; a new template, model or setting makes new replies. Temperature, top-p:
    DeepSeek-R1's. Raises UserError for unusable prompts or server, and where nothing was accepted.
    """
    settings = dict(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed)
    asks = _asks(prompts, n, teacher.model, settings)
    replies = path.with_name(path.name + ".replies.jsonl")
    store.writable(path.parent)
    with store.lock(replies):
        recorded = {record["key"]: record for record in store.read(replies)}
        todo = {a["key"]: a for a in asks if a["key"] not in recorded}  # each once
        fresh = _collect([*todo.values()], teacher, settings, replies, recorded) if todo else []
        rows, dropped = _rows(asks, recorded, teacher.model, max_words)
        used = sum(r.prompt_tokens for r in fresh), sum(r.new_tokens for r in fresh)
        failed = sum(a["key"] not in recorded for a in asks)
        error = next((r.error for r in fresh if r.error), "")
        report = Report(len(asks), len(rows), dropped, len(fresh), failed, *used, error)
        if not rows:
            remedy = "mend what failed" if failed else f"read {replies}, use a better teacher"
            raise UserError(f"nothing was accepted: {report}; {remedy} and run again")
        store.write(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    return report


def _asks(prompts: Sequence[Any], n: int | None, model: str, settings: dict) -> list[dict]:
    """Return {id, prompt, category, key} of each prompt; `key` is what its reply is found by."""
    if not prompts:
        raise UserError("there are no prompts to ask the teacher about; give at least one")
    if not 1 <= (len(prompts) if n is None else n) <= len(prompts):
        raise UserError(f"n is {n} and there are {len(prompts)} prompts; use 1 to {len(prompts)}")
    asks = []
    for number, row in enumerate(prompts[:n], start=1):
        values = row if isinstance(row, dict) else vars(row)
        fields = ((k, values.get(k)) for k in ("id", "prompt", "category"))
        ask = {k: "" if v is None else str(v) for k, v in fields}
        if not ask["id"] or not ask["prompt"].strip():
            raise UserError(f"prompt {number} has no id or no text in `prompt`; give it both")
        made_by = model, template()["version"], messages(ask["prompt"], ask["category"]), settings
        asks.append(ask | {"key": kept.mark(*made_by)})
    return asks


def _collect(todo: list[dict], teacher, settings: dict, path: Path, made: dict) -> list:
    """Ask; append each reply to `path` and `made` as it comes, failed ones not. Return all."""
    server.check(teacher)
    chats = [messages(a["prompt"], a["category"]) for a in todo]
    replies = []
    with progress(len(todo), "asking the teacher") as bar:
        for index, reply in server.ask(teacher, chats, **settings):
            replies.append(reply)
            bar.update()
            if not reply.error:
                record = {
                    "key": todo[index]["key"], "id": todo[index]["id"], "messages": chats[index],
                    "settings": settings, "template": template()["version"],
                    "teacher": teacher.model, **asdict(reply),
                }  # fmt: skip
                store.append(path, [record])
                made[record["key"]] = record
    return replies


def _rows(
    asks: list[dict], made: dict, teacher: str, max_words: int
) -> tuple[list[dict], dict[str, int]]:
    """Return the accepted rows, in the prompts' order, and how many were dropped by reason."""
    rows, dropped = [], Counter()
    for ask in (a for a in asks if a["key"] in made):
        reply, prompt = made[ask["key"]], ask["prompt"]
        if reason := accept(prompt, reply["text"], reply["finish"], max_words):
            dropped[reason] += 1
            continue
        parts = thoughts.split(reply["text"])
        said = {"thought": parts.thought, "response": parts.answer, "category": ask["category"]}
        rows.append({"id": ask["id"], "prompt": prompt, **said, "teacher": teacher})
    return rows, dict(dropped.most_common())


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__.split("\n")[0])
def command(
    address: Annotated[str, typer.Option(help="base URL, most end in /v1")],
    model: Annotated[str, typer.Option(help="the teacher, as the server names it")],
    requests: Annotated[str, typer.Option(help="harmful data set, or a .jsonl or .csv file")],
    out: Annotated[Path, typer.Option(help="the rows, JSONL; replies are kept beside it")],
    n: Annotated[int | None, typer.Option(help="requests to ask about; all by default")] = None,
    seed: Annotated[int, typer.Option(help="of the draw of requests and of sampling")] = 0,
    concurrency: Annotated[int, typer.Option(help="requests in flight")] = 8,
    timeout: Annotated[float, typer.Option(help="seconds a request")] = 120,
    retries: Annotated[int, typer.Option(help="further attempts a request")] = 4,
    key_env: Annotated[str, typer.Option(help="variable that holds the key")] = "OPENAI_API_KEY",
    max_new_tokens: Annotated[int, typer.Option(help="a reply's most tokens")] = 2048,
    temperature: Annotated[float, typer.Option(help="0 is greedy decoding")] = 0.6,
) -> None:
    teacher = server.Server(address, model, concurrency, timeout, retries, key_env)
    rows = evalsets.load(requests, "harmful", n, seed, part="tune")
    settings = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    print(f"{build(rows, teacher, out, **settings)}\nrows: {out}")


if __name__ == "__main__":
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
