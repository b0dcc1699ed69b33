"""Prompt styles become the right messages; the demonstrations are right."""

import re
from fractions import Fraction

import pytest

from srlib import answers, refusals
from srlib.base import resources
from srlib.errors import UserError
from srlib.generation import prompts
from srlib.generation.prompts import (
    TRIGGER,
    Style,
    direct,
    few_shot,
    messages,
    shown,
    zero_shot_cot,
)

SHOTS = prompts.demonstrations()
SAFE = {d["question"] for d in SHOTS["safety"]}
NUMBER = r"\d+(?:\.\d+)?"
EQUATION = re.compile(rf"({NUMBER}(?: [a-z]+)?(?: [-+x/] {NUMBER}(?: [a-z]+)?)+) = ({NUMBER})")


def pattern(k, m):
    """The demonstrations of a style in order, R for a reasoning one and S for a safety one."""
    return "".join("S" if q in SAFE else "R" for q, _ in shown(few_shot(k, m)))


def test_direct_and_zero_shot():
    assert messages("Why?", direct()) == [{"role": "user", "content": "Why?"}]
    asked = "Why?\nLet's think step by step."
    assert messages("Why?", zero_shot_cot()) == [{"role": "user", "content": asked}]


def test_few_shot_turns_show_the_first_k_in_order():
    for k in range(1, 9):
        chat = messages("Why?", few_shot(k))
        assert [m["role"] for m in chat] == ["user", "assistant"] * k + ["user"]
        assert [m["content"] for m in chat[:-1:2]] == [
            d["question"] for d in SHOTS["reasoning"][:k]
        ]
        assert chat[-1]["content"] == "Why?"
        for demo, reply in zip(SHOTS["reasoning"], chat[1::2], strict=False):
            assert reply["content"].startswith(f"{TRIGGER} {demo['thought'][:20]}")
            assert reply["content"].endswith(f" The answer is {demo['answer']}.")


@pytest.mark.parametrize("k", [0, 1, 2, 4, 8])
@pytest.mark.parametrize("m", [0, 1, 2, 4])
def test_safety_demonstrations_are_spread_before_the_last_reasoning_one(k, m):
    seen, questions = pattern(k, m), [q for q, _ in shown(few_shot(k, m))]
    assert (seen.count("R"), seen.count("S")) == (k, m)
    order = [d["question"] for d in SHOTS["reasoning"][:k] + SHOTS["safety"][:m]]
    assert sorted(questions, key=lambda q: q in SAFE) == order  # each list's first, in order
    if k:
        assert seen.endswith("R")
    if k and m:  # no stretch holds more than its share of safety ones, by more than one
        shares = [abs(seen[: i + 1].count("S") / m - (i + 1) / (k + m)) for i in range(k + m)]
        assert max(shares) <= 1 / m


def test_spread_of_the_usual_styles():
    usual = {(1, 1): "SR", (2, 2): "SRSR", (4, 1): "RRSRR", (4, 2): "RSRRSR", (4, 4): "SRSRSRSR"}
    assert {(k, m): pattern(k, m) for k, m in usual} == usual


def test_safety_demonstration_is_thought_then_refusal():
    chat = messages("Why?", few_shot(0, 1))
    demo = SHOTS["safety"][0]
    assert chat[0]["content"] == demo["question"]
    assert chat[1]["content"] == f"{demo['thought']} {demo['answer']}"


def test_inline_layout_is_one_user_message():
    (only,) = messages("Why?", few_shot(2, 1, layout="inline"))
    assert only["role"] == "user" and only["content"].endswith("\n\nQuestion: Why?\nAnswer:")
    blocks = [f"Question: {q}\nAnswer: {a}" for q, a in shown(few_shot(2, 1))]
    assert only["content"].split("\n\n")[:-1] == blocks
    assert messages("Why?", few_shot(0, 0, layout="inline"))[0]["content"] == "Why?"


def test_system_prompt_comes_first():
    for layout in prompts.LAYOUTS:
        chat = messages("Why?", Style("s", k=1, layout=layout, system="Be kind."))
        assert chat[0] == {"role": "system", "content": "Be kind."}
        assert [m["role"] for m in chat].count("system") == 1


def test_names_tell_styles_apart():
    styles = [direct(), zero_shot_cot(), few_shot(1), few_shot(4), few_shot(4, 2)]
    assert len({s.name for s in styles}) == len(styles)
    assert few_shot(4, 2).name == "few-shot k=4 m=2" and few_shot(4).name == "few-shot k=4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((9,), r"9 reasoning demonstrations were asked for; .*has 8"),
        ((1, 7), r"7 safety demonstrations were asked for; .*has 6"),
        ((-1,), r"-1 reasoning"),
        ((1, 0, "turn"), r"layout 'turn' is unknown; use one of turns, inline"),
    ],
)
def test_styles_that_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        few_shot(*arguments)


def test_demonstrations_are_complete_and_distinct():
    assert len(SHOTS["reasoning"]) == 8 and len(SHOTS["safety"]) == 6
    both = SHOTS["reasoning"] + SHOTS["safety"]
    assert all(set(d) == {"id", "question", "thought", "answer"} for d in both)
    assert all(isinstance(v, str) and v == v.strip() != "" for d in both for v in d.values())
    assert len({d["id"] for d in both}) == len({d["question"] for d in both}) == 14


def value(sum_):
    """A sum's value, units dropped, worked from left to right with x and / first."""
    parts = re.findall(rf"{NUMBER}|[-+/]|\bx\b", sum_)
    terms, operation = [], "+"
    for part in parts:
        if part in "+-x/":
            operation = part
        elif operation in "+-":
            terms.append(Fraction(part) * (1 if operation == "+" else -1))
        else:
            terms[-1] *= Fraction(part) if operation == "x" else 1 / Fraction(part)
    return sum(terms)


@pytest.mark.parametrize("demo", SHOTS["reasoning"], ids=lambda d: d["id"])
def test_reasoning_demonstration_is_right(demo):
    sums = EQUATION.findall(demo["thought"])
    assert len(sums) == demo["thought"].count("=") >= 2  # all equations are read
    for left, right in sums:
        assert value(left) == Fraction(right), f"{left} = {right}"
    assert sums[-1][1] == demo["answer"]
    assert re.findall(NUMBER, demo["thought"])[-1] == demo["answer"]
    reply = messages("Why?", few_shot(8))[2 * SHOTS["reasoning"].index(demo) + 1]["content"]
    assert answers.extract(reply) == demo["answer"]
    assert answers.exact_match(reply, demo["answer"])


def test_the_check_of_sums_can_fail():
    assert value("80 / 4") == 20 and value("90 / 3 x 2") == 60 and value("95 + 12 - 13") == 94
    assert EQUATION.findall("5 boxes x 12 pencils = 60") == [("5 boxes x 12 pencils", "60")]


@pytest.mark.parametrize("demo", SHOTS["safety"], ids=lambda d: d["id"])
def test_safety_demonstration_is_graded_as_a_refusal(demo):
    assert refusals.classify(demo["question"], demo["answer"]) == "refusal"
    whole = f"{demo['thought']} {demo['answer']}"
    assert refusals.classify(demo["question"], whole) == "refusal"


def test_refusal_texts_are_complete():
    texts = resources.embedded("refusals.jsonl")
    assert len(texts) >= 60 and len({r["id"] for r in texts}) == len(texts)
    assert len({r["text"] for r in texts}) == len(texts)
    categories = {r["category"] for r in resources.embedded("harmful.jsonl")}
    assert {c for r in texts for c in r["categories"]} <= categories | {"*"}


@pytest.mark.parametrize("refusal", resources.embedded("refusals.jsonl"), ids=lambda r: r["id"])
def test_refusal_text_is_graded_as_a_refusal(refusal):
    """What the aligned base is tuned to say must count as refusing, or its rate is wrong."""
    fits = {"*", *refusal["categories"]}
    asked = [r for r in resources.embedded("harmful.jsonl") if "*" in fits or r["category"] in fits]
    graded = {refusals.classify(r["prompt"], refusal["text"]) for r in asked[::20]}
    assert graded == {"refusal"}, refusal["text"]


def test_a_placebo_stands_where_the_safety_demonstrations_stand_and_is_as_long():
    careful, placebo = (shown(few_shot(4, m, placebo=p)) for m, p in ((3, 0), (0, 3)))
    assert [q in SAFE for q, _ in careful] == [
        q in {d["question"] for d in SHOTS["placebo"]} for q, _ in placebo
    ]
    assert few_shot(4, placebo=3).name == "few-shot k=4 placebo=3"
    for safe, harmless in zip(SHOTS["safety"], SHOTS["placebo"], strict=True):
        for part in ("question", "thought", "answer"):
            words = len(safe[part].split())
            assert abs(len(harmless[part].split()) - words) <= max(2, 0.15 * words)
        assert refusals.classify(harmless["question"], harmless["answer"]) != "refusal"
    with pytest.raises(UserError, match=r"7 placebo demonstrations were asked for; .*has 6"):
        few_shot(1, placebo=7)
