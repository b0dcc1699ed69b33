"""Splitting a completion into thought and answer."""

from __future__ import annotations

import dataclasses

import pytest

from srlib.errors import UserError
from srlib.thoughts import DIALECTS, Split, begun, beside, closes, join, opens, split

CASES = [
    # tags of words, of pipes, of ChatML
    ("<think>a</think>b", "a", "b", "ok"),
    ("<think>\n a \n</think>\n\n b \n", "a", "b", "ok"),
    ("a</think>b", "a", "b", "ok"),
    ("<THINK>a</Think>b", "a", "b", "ok"),
    ("<Thought>a</Thought><Output>b</Output>", "a", "b", "ok"),
    ("<Thought>a</Thought>\n<Output>\nb", "a", "b", "ok"),
    ("<Thought>a<Output>b</Output>", "a", "b", "ok"),
    (
        "<|begin_of_thought|>a<|end_of_thought|>\n\n<|begin_of_solution|>b<|end_of_solution|>",
        "a",
        "b",
        "ok",
    ),
    ("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>b", "a", "b", "ok"),
    ("<|im_start|>think\na\n<|im_start|>answer\nb<|im_end|>", "a", "b", "ok"),
    ("[THINK]a[/THINK]b", "a", "b", "ok"),
    ("<thinking>\na\n</thinking>\n\nb", "a", "b", "ok"),
    ("<reasoning>a</reasoning>\n<answer>\nb\n</answer>\n", "a", "b", "ok"),
    ("<think>a</think><answer>b</answer><|im_end|>", "a", "b", "ok"),
    ("<think>\na\n</think>\n\n<response>\nb", "a", "b", "ok"),
    ("<think>a\n<answer>b</answer>", "a", "b", "ok"),
    ("<seed:think>a</seed:think>b", "a", "b", "ok"),
    (
        "a <seed:cot_budget_reflect>9 used</seed:cot_budget_reflect> c</seed:think>b",
        "a  9 used  c",
        "b",
        "ok",
    ),
    ("<mm:think>a</mm:think>b", "a", "b", "ok"),
    ("<think effort='low'>a</think>b", "a", "b", "ok"),
    ("◁think▷a◁/think▷b", "a", "b", "ok"),
    ("a◁/think▷b", "a", "b", "ok"),
    (
        "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>",
        "a",
        "b",
        "ok",
    ),
    ("<|inner_prefix|>a<|inner_suffix|>b", "a", "b", "ok"),
    ("<unused94>thought\na<unused95>b", "a", "b", "ok"),
    # channels
    (
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>c"
        "<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>",
        "a\nc",
        "b",
        "ok",
    ),
    ("<|channel|>analysis<|message|>a", "a", "", "unclosed_thought"),
    ("<|channel|>analysis<|message|>a<|end|>", "a", "", "empty_answer"),
    ("<|channel|>final<|message|>b<|return|>", "", "b", "ok"),
    ("analysisIt asks for b.assistantfinalHere is b.", "It asks for b.", "Here is b.", "ok"),
    ("<|channel>thought\na<channel|>b<turn|>", "a", "b", "ok"),
    ("<|channel>thought\na", "a", "", "unclosed_thought"),
    # words
    ("Here is my thought process: a\n\nHere is my response: b", "a", "b", "ok"),
    ("**Here's my thought process:**\na\n**Here's my response:**\nb", "a", "b", "ok"),
    ("Here is my thought process: it asks", "it asks", "", "unclosed_thought"),
    (
        "Here is my thought process: I add. It is 7.",
        "",
        "Here is my thought process: I add. It is 7.",
        "no_tags",
    ),
    ("## Thinking\n\na\n\n## Final Response\n\nb", "a", "b", "ok"),
    # no tags, nothing
    (" plain text ", "", "plain text", "no_tags"),
    ("1 < 2 and think > 3", "", "1 < 2 and think > 3", "no_tags"),
    ("Use <output>5</output>.", "", "Use <output>5</output>.", "no_tags"),
    ("<Output>b</Output>", "", "b", "ok"),
    ("", "", "", "empty_answer"),
    # cut while thinking
    ("<think>a", "a", "", "unclosed_thought"),
    ("before <think>a", "a", "", "unclosed_thought"),
    ("<Thought>a", "a", "", "unclosed_thought"),
    ("<|begin_of_thought|>a", "a", "", "unclosed_thought"),
    ("<|im_start|>think a", "a", "", "unclosed_thought"),
    # thought closed, no answer
    ("<think>a</think>", "a", "", "empty_answer"),
    ("<think></think>", "", "", "empty_answer"),
    ("<Thought>a</Thought><Output></Output>", "a", "", "empty_answer"),
    # what a user would see is answer
    ("Well. <think>a</think>b", "a", "Well.\nb", "ok"),
    ("<think>a</think>b<think>c</think>d", "a\nc", "b\nd", "ok"),
    ("<think>a</think>b<think>c", "a\nc", "b", "ok"),
    ("<think>the tag <think> opens</think>b", "the tag <think> opens", "b", "ok"),
    ("<think></think>b", "", "b", "ok"),
    ("<think>a</think>b</think>", "a", "b", "ok"),
    (
        "<think>I put it in\n<answer>here</answer>.</think><answer>b</answer>",
        "I put it in\n<answer>here</answer>.",
        "b",
        "ok",
    ),
    ("<think>a</think>Use <output>5</output>.", "a", "Use <output>5</output>.", "ok"),
    ("<answer>b</answer>", "", "b", "ok"),
    # quoted
    ("So:\n```\n<think>\n```\nis first.", "", "So:\n```\n<think>\n```\nis first.", "no_tags"),
    ("Type `<think>a</think>`.", "", "Type `<think>a</think>`.", "no_tags"),
    ('The "<think>" mark is first.', "", 'The "<think>" mark is first.', "no_tags"),
    ("The <think> tag is first.", "", "The <think> tag is first.", "no_tags"),
    ("<think>It ends in `</think>`.</think>b", "It ends in `</think>`.", "b", "ok"),
    ("<think>It ends in `</think>` and", "It ends in `</think>` and", "", "unclosed_thought"),
    ("<think>a</think>b:\n```\n</think>\n```", "a", "b:\n```\n</think>\n```", "ok"),
    ("<think>\n```\na\n</think>\nSo:\n```\nb\n```", "```\na", "So:\n```\nb\n```", "ok"),
    # cut tags, end marks
    ("</Output", "", "", "empty_answer"),
    ("<|im_e", "", "", "empty_answer"),
    ("b</thin", "", "b", "no_tags"),
    ("b <|end_of_solu", "", "b", "no_tags"),
    ("<Thought>a</Thought><Output>b</Ou", "a", "b", "ok"),
    ("[THINK]a[/THI", "a", "", "unclosed_thought"),
    ("b<|im_end|>", "", "b", "no_tags"),
    ("1 < 2", "", "1 < 2", "no_tags"),
    ("if a <", "", "if a <", "no_tags"),
    ("<p>b</p", "", "<p>b</p", "no_tags"),
    ("<think>a</think><table><th>b</th", "a", "<table><th>b</th", "ok"),
    ("```html\n<output>b</outp", "", "```html\n<output>b</outp", "no_tags"),
    # no tag, as the prompt opened the thought
    ("Okay, 4 and 5 are 9. Let me see", "Okay, 4 and 5 are 9. Let me see", "", "unclosed_thought"),
    ("Okay, 4 and 5 are 9. Let me see!", "", "Okay, 4 and 5 are 9. Let me see!", "no_tags"),
    ("Okay, I can do that: first the flour", "", "Okay, I can do that: first the flour", "no_tags"),
    ("So it is 9. But the answer is 8", "", "So it is 9. But the answer is 8", "no_tags"),
]


@pytest.mark.parametrize(("text", "thought", "answer", "status"), CASES)
def test_split(text, thought, answer, status):
    assert split(text) == Split(thought, answer, status)


def test_a_split_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        split("a").answer = "b"


TEXTS = [
    ("3 + 4 = 7", "The answer is 7."),
    ("Wait.\n\nIs 1 < 2? Yes,\u2028and 3 > 2.", "```python\nprint(1 < 2)\n```\n\n- done"),
    ("Who could be hurt?", "I can't help with that."),
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("thought", "answer"), TEXTS)
def test_join_puts_together_what_split_takes_apart(thought, answer, dialect):
    text = join(thought, answer, dialect)
    assert split(text) == Split(thought, answer, "ok")
    assert [text.count(tag) for tag in DIALECTS[dialect] if tag] == [1] * sum(
        bool(tag) for tag in DIALECTS[dialect]
    )


def test_the_joined_text_to_the_letter():
    assert join("a", "b") == "<think>\na\n</think>\n\nb"
    assert join("a", "b", "openo1") == "<Thought>\na\n</Thought>\n\n<Output>\nb\n</Output>"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_without_a_thought_the_answer_stands_alone(dialect):
    assert join("", "b", dialect) == "b"
    assert split(join("", "b", dialect)) == Split("", "b", "no_tags")


@pytest.mark.parametrize("thought", ["a", ""])
def test_join_names_an_unknown_dialect(thought):
    with pytest.raises(UserError, match="unknown dialect 'qwen': choose one of think, openo1, sky"):
        join(thought, "b", "qwen")


@pytest.mark.parametrize(
    ("prompt", "tag"),
    [
        ("<|Assistant|><think>\n", "<think>"),
        ("<|turn>model\n<|channel>thought\n", "<|channel>thought"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
        ("Put it in <think> tags.<|im_start|>assistant\n", ""),
    ],
)
def test_a_prompt_that_opens_a_thought(prompt, tag):
    assert opens(prompt) == tag


@pytest.mark.parametrize(
    ("text", "cut", "expected"),
    [
        ("a</think>b", False, Split("a", "b", "ok")),
        ("a", True, Split("a", "", "unclosed_thought")),
        ("a", False, Split("", "a", "no_tags")),  # it answered at once
        ("<think>a</think>b", False, Split("a", "b", "ok")),
        ("<think>a", True, Split("a", "", "unclosed_thought")),
    ],
)
def test_a_completion_that_begins_inside_its_thought(text, cut, expected):
    assert split(begun(text, "<think>", cut)) == expected
    assert begun(text, "", cut) == text
    assert closes(text) == text.startswith("a<")


@pytest.mark.parametrize(
    ("thought", "text", "expected"),
    [
        ("", "<think>a</think>b", Split("a", "b", "ok")),
        ("a", "b", Split("a", "b", "ok")),
        ("a", "<think>a</think>b", Split("a", "b", "ok")),
        ("[THINK]a[/THINK]", "b", Split("a", "b", "ok")),
        ("<think>a", "b", Split("a", "b", "ok")),
        ("a, and", "so on</think>b", Split("a, and\nso on", "b", "ok")),
        ("a</think>b", "c", Split("a", "b\nc", "ok")),
        ("a", "<think>a", Split("a", "", "unclosed_thought")),
        ("Okay, a. Let me see", "b", Split("Okay, a. Let me see", "b", "ok")),
        ("a", "", Split("a", "", "empty_answer")),
    ],
)
def test_a_thought_in_a_column_of_its_own(thought, text, expected):
    assert beside(thought, text) == expected
