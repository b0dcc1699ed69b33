"""Whether a chat template writes training rows as they are, before anything is trained on them.

Some drop the thought of assistant turns (R1-Distill's), put an empty one before rows without one
(Qwen3's), open one in the prompt that such rows never close, or refuse a system prompt (Gemma's):
the model would learn another form than the rows have.

    check("long-think", tokenizer, rows)     # UserError: the chat template … drops the thought …
"""

from __future__ import annotations

from itertools import takewhile

from .. import thoughts
from ..errors import UserError
from ..text import thought_tags

_WAY_OUT = (
    "train another model, or save this one to a folder with a chat_template.jinja that writes "
    "messages as they are, and name that folder"
)


def check(name: str, tokenizer, rows: list[dict]) -> None:
    """Render the first row with a thought, and the first without, as training does.

    `rows` are in TRL's prompt–completion form. Raises UserError where the template takes from a
    row, adds a thought to it, or refuses it.
    """
    kinds: dict[tuple[bool, bool], dict] = {}
    for row in rows:
        thinks = bool(thoughts.split(row["completion"][0]["content"]).thought)
        kinds.setdefault((thinks, row["prompt"][0]["role"] == "system"), row)
    for row in kinds.values():
        if fault := _fault(tokenizer, row):
            raise UserError(
                f"arm {name!r} cannot be trained: the chat template {fault}; {_WAY_OUT}"
            )


def _fault(tokenizer, row: dict) -> str:
    """What the template does to a row; "" where it writes it as it is."""
    from jinja2 import TemplateError

    how = {"tokenize": False}
    try:
        asked = tokenizer.apply_chat_template(row["prompt"], **how)
        begun = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, **how)
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], **how)
    except TemplateError as error:
        return f"refuses the messages ({' '.join(str(error).split())[:80]})"
    parts = thoughts.split(row["completion"][0]["content"])
    same = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(asked, whole, strict=False))
    )
    said = whole[same:]
    if parts.thought and said.count(parts.thought) != 1:
        return "drops the thought" if parts.thought not in said else "writes the thought twice"
    if parts.answer not in said:
        return "changes the answer"
    before = thought_tags.find(said[: said.index(parts.answer)])
    if not parts.thought and any(kind in ("open", "close") for kind, *_ in before):
        return "puts an empty thought before rows without one"
    if not whole.startswith(begun.rstrip()):
        opened = " opens a thought in the prompt that the row does not go on with"
        return opened.strip() if thoughts.opens(begun) else "asks otherwise than it trains"
    return ""
