"""A record of one question and one answer, in whichever form such files have, as plain columns.

    {"conversations": [{"from": "human", "value": "3+4?"}, {"from": "gpt", "value": "7"}]}  ShareGPT
    {"messages": [{"role": "user", "content": "3+4?"}, {"role": "assistant", "content": "7"}]}
    {"prompt": [{"role": "user", …}], "completion": [{"role": "assistant", …}]}             TRL
    {"instruction": "Add.", "input": "3+4", "output": "7"}                                Alpaca

    plain(record)   ->   {"prompt": "3+4?", "response": "7"}, and system, thought where it has them

A conversation of several exchanges is none of these: which of its answers is meant is not said.
"""

from __future__ import annotations

from typing import Any

TURNS = ("conversations", "conversation", "messages")
_ROLES = {name: "user" for name in ("user", "human", "prompter")}
_ROLES |= {name: "assistant" for name in ("assistant", "gpt", "chatgpt", "model", "bot", "ai")}
_ROLES |= {name: "system" for name in ("system", "developer")}


class NotOneExchangeError(ValueError):
    """A conversation that is not one question and one answer; the message says so."""


def columns(records: list[dict]) -> tuple[str, ...]:
    """The columns that a file of such records cannot do without, by its first record that has any
    of a form's; prompt and response where none has."""
    for record in records:
        for name in TURNS:
            if isinstance(record.get(name), list):
                return (name,)
        if "prompt" in record and {"response", "completion"} & set(record):
            return ("prompt", "response" if "response" in record else "completion")
        if {"instruction", "output"} <= set(record):
            return ("instruction", "output")
    return ("prompt", "response")


def plain(record: dict) -> dict:
    """The record with its question as `prompt` and its answer as `response`; other columns stay.

    Raises NotOneExchangeError for a conversation of more, or less, than one question and one answer
    (with a system prompt or without), and where one holds more than text.
    """
    turns = next((record[name] for name in TURNS if isinstance(record.get(name), list)), None)
    answer = record.get("response", record.get("completion"))
    if turns is None and isinstance(record.get("prompt"), list):
        turns = record["prompt"] + (answer if isinstance(answer, list) else [answer])
    if turns is not None:
        rest = {k: v for k, v in record.items() if k not in (*TURNS, "prompt", "completion")}
        return rest | _exchange(turns)
    if "prompt" not in record and {"instruction", "output"} <= set(record):
        asked = [record["instruction"], record.get("input")]
        asked = [part for part in asked if isinstance(part, str) and part.strip()]
        return record | {"prompt": "\n\n".join(asked), "response": record["output"]}
    return record if answer is None else record | {"response": answer}


def _exchange(turns: list) -> dict:
    said = [_turn(turn) for turn in turns]
    roles = [role for role, _, _ in said]
    if [role for role in roles if role != "system"] != ["user", "assistant"] or (
        "system" in roles[1:]
    ):
        raise NotOneExchangeError("not one question and one answer")
    found = {"prompt": said[-2][1], "response": said[-1][1]}
    if len(said) == 3:
        found["system"] = said[0][1]
    return found | ({"thought": said[-1][2]} if said[-1][2] else {})


def _turn(turn: Any) -> tuple[str, str, str]:
    """Who speaks, what is said, and the thought where a server gave it apart."""
    if isinstance(turn, str):  # the answer alone, beside a list of messages
        return "assistant", turn, ""
    if not isinstance(turn, dict):
        raise NotOneExchangeError("not one question and one answer")
    who = str(turn.get("role") or turn.get("from") or "").strip().lower()
    thought = turn.get("reasoning_content") or turn.get("reasoning") or turn.get("thinking")
    said = turn["content"] if "content" in turn else turn.get("value")
    return _ROLES.get(who, who), _text(said), thought if isinstance(thought, str) else ""


def _text(content: Any) -> str:
    """What a message says: text, or the texts of its parts."""
    if content is None:
        return ""
    parts = content if isinstance(content, list) else [content]
    texts = [p.get("text") if isinstance(p, dict) else p for p in parts]
    if not all(isinstance(t, str) for t in texts):
        raise NotOneExchangeError("not text alone")
    return "".join(texts)
