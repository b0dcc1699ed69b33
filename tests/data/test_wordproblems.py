"""The word problems are right (by a parser of our own), distinct, varied, stable, kept apart."""

import os
import re
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest

from srlib.data import wordproblems
from srlib.data.wordproblems import long_solution, make, part_of, skeleton
from srlib.errors import UserError
from srlib.thoughts import DIALECTS

EQUATION = re.compile(
    r"(?P<a>\d+)(?P<percent>%)? (?P<op>\+|-|x|/|of) (?P<b>\d+) = (?P<c>\d+)"
    r"(?: remainder (?P<rest>\d+))?(?P<slip>\.\.\.)?"
)
VALUES = {
    "+": lambda a, b: (a + b, 0),
    "-": lambda a, b: (a - b, 0),
    "x": lambda a, b: (a * b, 0),
    "/": divmod,
    "of": lambda a, b: divmod(a * b, 100),
}


@pytest.fixture(scope="module")
def problems():
    return make(1000, seed=1) + make(600, seed=1, part="eval")


def holds(match):
    a, b, c = (int(match[k]) for k in "abc")
    return VALUES[match["op"]](a, b) == (c, int(match["rest"] or 0))


def numbers(text):
    return [int(n) for n in re.findall(r"\d+", text)]


def test_every_equation_is_true_and_leads_to_the_answer(problems):
    for p in problems:
        found = list(EQUATION.finditer(p.short))
        assert len(found) == p.steps, p
        assert all(holds(m) for m in found), p
        last = found[-1]
        assert int(p.answer) in (int(last["c"]), int(last["rest"] or -1)), p
        assert p.short.endswith(f"The answer is {p.answer}.")
        assert p.direct == f"The answer is {p.answer}."
        assert 2 <= int(p.answer) <= 1000


def test_steps_use_the_question_and_each_other(problems):
    """Operands come from the question or a step before; nothing is left unused."""
    for p in problems:
        asked = set(numbers(p.question))
        known, used, open_results = set(asked), set(), []
        for m in EQUATION.finditer(p.short):
            assert {int(m["a"]), int(m["b"])} <= known | {2}, p  # 2: "half", "doubles"
            used |= {int(m["a"]), int(m["b"])}
            open_results = [r for r in open_results if r not in used] + [int(m["c"])]
            known.add(int(m["c"]))
        assert len(open_results) == 1, p
        for before, pair in pairwise(EQUATION.finditer(p.short)):
            # two people of a chain: the one before and the one after the last relation
            if re.search(r"\w+ and \w+ (together \w+|have) $", p.short[: pair.start()]):
                assert (pair["a"], pair["b"]) == (before["a"], before["c"]), p
        assert len(asked - used) == (1 if p.distractor else 0), p


def test_thoughts_are_true_but_for_marked_slips(problems):
    slips = 0
    for p in problems:
        assert 80 <= len(p.thought.split()) <= 200, p.thought
        found = list(EQUATION.finditer(p.thought))
        assert len(found) >= 2 * p.steps, p
        for m in found:
            assert holds(m) != bool(m["slip"]), (m[0], p)
        slips += any(m["slip"] for m in found)
        for wrong, right in pairwise(found):
            if wrong["slip"]:
                assert wrong["a"] == right["a"] and wrong["b"] == right["b"]
    assert 0.2 < slips / len(problems) < 0.45


# what a sentence about ages says: first = times * second + plus
RELATIONS = [
    (r"(\w+) is (\d+) years older than (\w+)", lambda n: (1, n)),
    (r"(\w+) is (\d+) years younger than (\w+)", lambda n: (1, -n)),
    (r"When (\w+) was born, (?=\w+ was exactly (\d+))(\w+)", lambda n: (1, -n)),
    (r"(\w+) is (\d+) times as old as (\w+)", lambda n: (n, 0)),
    (r"The age of (\w+) is (\d+) times the age of (\w+)", lambda n: (n, 0)),
    (r"(\w+) is (twice) as old as (\w+)", lambda n: (2, 0)),
    (r"(\w+) is (half) as old as (\w+)", lambda n: (Fraction(1, 2), 0)),
]


def read_ages(question):
    """Everybody's age, solved from the text alone."""
    stated = re.findall(r"(\w+)(?:, who)? (?:is|turns) (\d+)(?: years old\b|\.| and)", question)
    ages = {who: Fraction(n) for who, n in stated}
    for _ in range(5):
        for pattern, meaning in RELATIONS:
            for first, n, second in re.findall(pattern, question):
                times, plus = meaning(int(n) if n.isdigit() else 0)
                if second in ages:
                    assert ages.setdefault(first, times * ages[second] + plus) >= 2
                elif first in ages:
                    ages[second] = (ages[first] - plus) / times
    return ages


def test_an_independent_reader_agrees_on_ages():
    asks = r"(?:[Hh]ow old|What (?:is|will|was) the age of) (?:is |will |was )?(?!they)(\w+)"
    checked = Counter()
    for p in make(1600, seed=2):
        asked = re.search(asks, p.question)
        if p.family == "ages" and asked and not p.distractor:
            age = read_ages(p.question)[asked[1]]
            for n in re.findall(r"in (\d+) years|(\d+) years from", p.question):
                age += int("".join(n))
            for n in re.findall(r"(\d+) years ago", p.question):
                age -= int(n)
            assert age == int(p.answer), p
            checked[p.steps] += 1
    assert set(checked) == {1, 2, 3, 4} and checked.total() > 20


def test_questions_read_well(problems):
    for p in problems:
        assert 20 <= len(p.question.split()) <= 60
        for text in (p.question, p.short, p.thought, p.final):
            assert not re.search(r"[{}|]|  |\bNone\b", text), text
            assert not re.search(r"\ba [aeiou]|\ban [^aeiouh]|\b1 [a-z]", text), text
            assert all(
                s[0].isupper() or s[0].isdigit() for s in re.split(r"(?<=[a-z]\. )", text) if s
            )
        assert p.question[-1] in ".?"


@pytest.mark.parametrize("task", ["wordproblems", "stories"])
def test_deterministic_across_processes(task):
    code = (
        f"import hashlib; from srlib.data.{task} import make;"
        "print(hashlib.sha256(repr(make(80, 7, 'eval')).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "42")
    }
    assert len(digests) == 1


def test_prefix_ids_and_seeds():
    few, many = make(30, seed=3, steps=(2, 4)), make(90, seed=3, steps=(2, 4))
    assert many[:30] == few and {p.steps for p in few} == {2, 4}
    assert [p.id for p in make(13, part="eval")][12] == "wp-eval-0-00012"
    assert len({p.question for p in many} & {p.question for p in make(90, seed=4)}) < 10


def test_no_overlap_of_train_and_eval():
    questions = {
        part: {p.question for seed in seeds for p in make(1000, seed=seed, part=part)}
        for part, seeds in (("train", (0, 1)), ("eval", (0, 2)))
    }
    assert not questions["train"] & questions["eval"]
    shapes = {part: {skeleton(q) for q in qs} for part, qs in questions.items()}
    assert not shapes["train"] & shapes["eval"]
    assert all(part_of(q) == part for part, qs in questions.items() for q in qs)


def test_skeleton_masks_numbers_names_and_nouns():
    one = "Maya buys 12 pens. She gives an eraser to Tariq."
    two = "Kofi buys 7 candles. He gives a light bulb to Priya."
    assert skeleton(one) == skeleton(two) == "_ buys # _. _ gives _ to _."
    assert skeleton(one) != skeleton("Maya sells 12 pens. She gives an eraser to Tariq.")


def test_balance_and_variety():
    many = make(1000, seed=5)
    assert len({p.question for p in many}) == 1000
    assert set(Counter(p.steps for p in many).values()) == {250}
    families = Counter(p.family for p in many)
    assert len(families) >= 12 and max(families.values()) - min(families.values()) <= 8
    assert len({skeleton(p.question) for p in many}) >= 900
    assert 0.1 < sum(p.distractor for p in many) / 1000 < 0.3
    for family in families:
        short = " ".join(p.short for p in many if p.family == family)
        assert {m["op"] for m in EQUATION.finditer(short)} >= set("+-x/"), family
    assert Counter(p.answer for p in many).most_common(1)[0][1] < 60


def test_numbers_are_mostly_small(problems):
    values = [int(m["c"]) for p in problems for m in EQUATION.finditer(p.short)]
    assert sum(v < 100 for v in values) / len(values) > 0.85


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects(dialect):
    for p in make(8, seed=6):
        text = long_solution(p, dialect)
        for tag in DIALECTS[dialect]:
            assert text.count(tag) == 1 or not tag
        assert text.startswith(DIALECTS[dialect][0] + "\n" + p.thought)
        assert f"The answer is {p.answer}." in text.split(p.thought)[1]
        assert numbers(text)[-1] == int(p.answer)


def test_dialect_tags_are_the_published_ones():
    p = make(1)[0]
    assert long_solution(p) == f"<think>\n{p.thought}\n</think>\n\n{p.final}"
    assert DIALECTS["openo1"] == ("<Thought>", "</Thought>", "<Output>", "</Output>")
    sky = long_solution(p, "sky-t1")
    order = ["<|begin_of_thought|>", "<|end_of_thought|>"]
    order += ["<|begin_of_solution|>", "<|end_of_solution|>"]
    assert re.findall(r"<\|\w+\|>", sky) == order
    assert long_solution(p, "s1").split("\n")[0] == "<|im_start|>think"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"n": 0}, "at least 1"),
        ({"n": 3, "part": "test"}, "unknown part 'test'"),
        ({"n": 3, "steps": (1, 5)}, "steps"),
        ({"n": 3, "steps": ()}, "steps"),
    ],
)
def test_errors(arguments, word):
    with pytest.raises(UserError, match=word):
        make(**arguments)


def test_more_errors(monkeypatch):
    with pytest.raises(UserError, match="unknown dialect 'qwen'"):
        long_solution(make(1)[0], "qwen")
    same = make(1)[0]
    monkeypatch.setattr(wordproblems, "_draw", lambda *_: same)
    with pytest.raises(UserError, match="found only 1 distinct"):
        make(2)
