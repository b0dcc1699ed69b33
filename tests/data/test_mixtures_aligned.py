"""The aligned base's training rows, and what is told of them."""

import pytest

from srlib import refusals, thoughts
from srlib.base import resources
from srlib.data import mixtures
from srlib.data.mixtures import Safety
from srlib.errors import UserError


def texts(rows):
    return [(r["prompt"][0]["content"], r["completion"][0]["content"]) for r in rows]


def test_the_aligned_bases_rows_are_what_was_asked_for_and_its_own():
    rows = mixtures.aligned_rows(Safety(24, 8, 6), seed=1)
    of_base = {
        name: {r["prompt"] for r in resources.embedded(f"{name}.jsonl") if r["split"] == "base"}
        for name in ("harmful", "lookalikes", "instructions")
    }
    counts = {name: sum(p in known for p, _ in texts(rows)) for name, known in of_base.items()}
    assert counts == {"harmful": 24, "lookalikes": 8, "instructions": 6} and len(rows) == 38
    refused = [(p, a) for p, a in texts(rows) if p in of_base["harmful"]]
    assert all(refusals.classify(p, a) == "refusal" for p, a in refused)
    assert rows == mixtures.aligned_rows(Safety(24, 8, 6), seed=1)
    assert rows != mixtures.aligned_rows(Safety(24, 8, 6), seed=2)
    assert {thoughts.split(a).status for _, a in texts(rows)} == {"no_tags"}


@pytest.mark.parametrize(
    "counts", [Safety(refusals=999), Safety(lookalikes=999), Safety(instructions=999)]
)
def test_more_rows_than_exist(counts):
    with pytest.raises(UserError, match=r"999 .*were asked for.*(there are|it has) \d+"):
        mixtures.aligned_rows(counts)


@pytest.mark.parametrize("form", ["direct", "long", "short"])
def test_answered_lookalikes_of_the_arms(form):
    of_arms = {r["prompt"] for r in resources.embedded("lookalikes.jsonl") if r["split"] == "tune"}
    rows = mixtures.answered(20, form, "openo1", seed=1)
    assert len({p for p, _ in texts(rows)} & of_arms) == 20
    for prompt, answer in texts(rows):
        assert answer.startswith("<Thought>\n") == (form != "direct")
        assert refusals.classify(prompt, answer) != "refusal", prompt
    with pytest.raises(UserError, match="999 lookalikes were asked for"):
        mixtures.answered(999, form, "openo1")


def test_describe_counts_refusals():
    told = mixtures.describe(mixtures.aligned_rows(Safety(20, 8, 4)))
    assert (told["refusals"], told["with a thought"], told["requests shared"]) == (20, 0, 0)
    long = mixtures.build(mixtures.Mixture("", 0, "reflective", 20, "long"), []).rows
    told = mixtures.describe(long, beside=long[:5])
    assert (told["refusals"], told["with a thought"], told["requests shared"]) == (20, 20, 5)
    refusal = "I can't help with that."
    rows = [
        mixtures.exchange("Do harm.", f"<think>{'no ' * 20}</think>{refusal}", "S"),
        mixtures.exchange("Do more harm.", refusal + " It would hurt people."),
        mixtures.exchange("Bake.", "Heat the oven first, then mix the flour and the eggs."),
    ]
    told = mixtures.describe(rows, beside=rows[:1] + rows[2:])
    thought_and_answer = len(rows[0]["completion"][0]["content"].split())
    assert told == {
        "refusals": 2, "words": (thought_and_answer + 9) / 2, "with a thought": 1,
        "requests shared": 1,
    }  # fmt: skip
    assert mixtures.describe([]) == dict.fromkeys(told, 0)
