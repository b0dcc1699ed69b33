"""Chat templates that change training rows, or open a thought in the prompt."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from srlib import thoughts
from srlib.data import mixtures
from srlib.errors import UserError
from srlib.generation import asking
from srlib.models import loading
from srlib.training import finetune, templates

ASKED, THOUGHT, ANSWER = "What is 3 + 4?", "Three and four make seven.", "It is seven."
THINKS = [mixtures.exchange(ASKED, thoughts.join(THOUGHT, ANSWER))]
PLAIN = [mixtures.exchange(ASKED, ANSWER)]
SYSTEM = [mixtures.exchange(ASKED, ANSWER, "Be brief.")]


@pytest.fixture(scope="module")
def shipped():
    import trl

    return Path(trl.__file__).parent / "chat_templates"


@pytest.fixture
def words(tmp_path_factory):
    tokenizer = loading.tokenizer("embedded", tmp_path_factory.getbasetemp() / "templates")
    own = tokenizer.chat_template
    yield tokenizer
    tokenizer.chat_template = own


def fault(words, rows: list[dict]) -> str:
    try:
        templates.check("an arm", words, rows)
    except UserError as error:
        assert "\n" not in str(error) and "an arm" in str(error)
        return str(error)
    return ""


def test_the_embedded_template_writes_rows_as_they_are(words):
    assert not fault(words, [*THINKS, *PLAIN, *SYSTEM])


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("deepseek_r1_distill", THINKS, "drops the thought"),
        ("qwen3", PLAIN, "empty thought"),
        ("qwen3", THINKS, ""),
        ("gemma", SYSTEM, "refuses the messages"),
        ("llama3_1", [*THINKS, *PLAIN, *SYSTEM], ""),
        ("qwen2_5", [*THINKS, *PLAIN, *SYSTEM], ""),
    ],
)
def test_templates_that_are_published(words, shipped, name, rows, said):
    words.chat_template = (shipped / f"{name}.jinja").read_text("utf-8")
    found = fault(words, rows)
    assert said in found and bool(said) == bool(found)


def test_rows_are_looked_at_before_any_training(words, shipped):
    words.chat_template = (shipped / "deepseek_r1_distill.jinja").read_text("utf-8")
    with pytest.raises(UserError, match="drops the thought"):
        finetune.within("an arm", words, THINKS, finetune.Recipe())


def test_a_thought_that_the_prompt_opens_is_begun_in_the_record(words):
    lm = SimpleNamespace(tokenizer=words, name="m")
    request = asking.Request("1", "d", [{"role": "user", "content": ASKED}])
    assert asking.opens(lm, request) == ""
    words.chat_template = words.chat_template.replace(
        "<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n"
    )
    opened = asking.opens(lm, request)
    assert opened == "<think>"
    settings = asking.Settings()
    for text, finish, status in (
        ("3 + 4 = 7. Let me", "length", "unclosed_thought"),
        ("3 + 4 = 7.</think>It is 7.", "stop", "ok"),
        ("3 + 4 = 7.</think>It is", "length", "ok"),
        ("It is 7.", "stop", "no_tags"),
    ):
        record = asking.record(request, "k", settings, text, 1, 1, finish, {}, opened)
        assert thoughts.split(record["text"]).status == status
