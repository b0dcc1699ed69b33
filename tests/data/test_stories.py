"""The stories are right (by a reader of our own), distinct, varied, stable, kept apart."""

import re
from collections import Counter
from itertools import accumulate, pairwise

import pytest

from srlib import answers
from srlib.data import stories
from srlib.data.stories import CHANGES, LONG, make, part_of, skeleton
from srlib.data.stories_telling import bank, numbered, sentences
from srlib.errors import UserError

# Words that make it less, whatever is counted, and phrases with them that do not; all else is more.
LESS = re.compile(
    r"\b(?:away|off|home|out|down|back|lower|colder|of|done|gone|woman buys"
    r"|(?:lose|sell|spend|pay|lend|eat|drink|read|clear|borrow|drop|cost|take|spill|cook|use|break"
    r"|leave|fall)s?|finishes|disappears?|gives \d|into a (?:well|bag)|to the kitchen|carries \d)\b"
    r"|\bgo\."
)
NOT_LESS = re.compile(
    r"\bcups? of water|out of the oven|(?:brings|sets) out|(?:brings|brought) back|comes? back"
    r"|goe?s? back into|drops (?:it|them) into|leaves? (?:it|them|her|their)|falls? from the tree"
    r"|carries \d chairs? into"
)
EQUATION = re.compile(r"(\d+) ([+-]) (\d+) = (\d+)")


@pytest.fixture(scope="module")
def some():
    return make(600, seed=1) + make(600, seed=1, part="eval")


@pytest.fixture(scope="module")
def far():
    return make(150, seed=1, part="eval", changes=LONG)


def numbers(text):
    return [int(n) for n in re.findall(r"\d+", text)]


def told(question):
    """The sentences of a story, without the one that asks."""
    return re.split(r"(?<=[.?]) ", question)[:-1]


def read(question):
    """Start and signed changes, from the words of the text alone."""
    start, *changes = told(question)
    signed = [-1 if LESS.search(NOT_LESS.sub("", c)) else 1 for c in changes]
    return numbers(start)[0], [s * numbers(c)[0] for s, c in zip(signed, changes, strict=True)]


def equations(text):
    found = [(int(a), op, int(b), int(c)) for a, op, b, c in EQUATION.findall(text)]
    assert all(a + b == c if op == "+" else a - b == c for a, op, b, c in found), text
    return found


def steps(story):
    values = accumulate(story.changes, initial=story.start)
    return [(a, "+" if c > a else "-", abs(c - a), c) for a, c in pairwise(values)]


def test_an_independent_reader_agrees(some, far):
    for s in some + far:
        start, changes = read(s.question)
        assert (start, changes) == (s.start, [*s.changes]), s.question
        assert start + sum(changes) == int(s.answer)


def test_numbers_stay_small(some, far):
    for s in some + far:
        assert 2 <= s.start <= 9 and all(1 <= abs(c) <= 9 for c in s.changes)
        assert all(0 <= v <= 15 for v in accumulate(s.changes, initial=s.start)), s
        assert len(numbers(s.question)) == 1 + len(s.changes)  # and nothing else is said


def test_short_solutions_have_one_sentence_a_change(some, far):
    for s in some + far:
        assert equations(s.short) == steps(s)
        assert s.short.count(". ") == len(s.changes) and s.short.endswith(f" {s.direct}")
        assert s.direct == f"The answer is {s.answer}."


def test_thoughts_go_through_the_changes_and_check(some, far):
    again = Counter()
    for s in some + far:
        found, k = equations(s.thought), len(s.changes)
        first = [e for e in found if e in steps(s)]
        assert [*dict.fromkeys(first)] == [*dict.fromkeys(steps(s))], s.thought
        row = ", ".join(map(str, accumulate(s.changes, initial=s.start)))
        checks = {"row": row in s.thought}
        checks["again"] = len(found) >= 2 * k and found[-k:] == steps(s)
        assert any(checks.values()), s.thought
        again[next(c for c, there in checks.items() if there)] += 1
        assert numbers(s.thought)[-1] == int(s.answer) and s.thought[-1] == "."
        assert "answer" not in s.thought
        if s in some:
            assert 35 <= len(s.thought.split()) <= 110, s.thought
    assert min(again.values()) > 200 and len(again) == 2


def test_every_change_of_a_thought_says_which_way_it_goes():
    up = r"\b(?:up|add|more|higher|warmer)\b"
    down = r"\b(?:down|take away|fewer|less|lower|colder)\b"
    for s in make(300, seed=8):
        pieces = EQUATION.split(s.thought)[::5][: len(s.changes)]
        for piece, change in zip(pieces, s.changes, strict=True):
            assert re.search(up if change > 0 else down, piece, re.IGNORECASE), (piece, s.thought)


def test_solutions_are_graded_right(some):
    for s in some[::3]:
        thinking = f"<think>\n{s.thought}\n</think>\n\n{s.final}"
        for text in (s.direct, s.short, s.final, thinking):
            assert answers.exact_match(text, s.answer) and numbers(text)[-1] == int(s.answer)
            assert not answers.exact_match(text, str(int(s.answer) + 1))


def test_texts_read_well(some, far):
    plural = r"\b1 (?:more |new )?(?!has\b|is\b)[a-z]+s\b"
    for s in some + far:
        assert s.question.endswith("?") and " now" in s.question.rsplit(". ", 1)[1]
        for text in (s.question, s.short, s.thought, s.final):
            assert not re.search(r"[{}\[\]|]|  |\bNone\b|\ba [aeiou]|\.\.|, ,", text), text
            assert all(x[0].isupper() or x[0].isdigit() for x in re.split(r"(?<=[.?]) ", text))
        assert not re.search(plural, s.question), s.question
        person = re.search(r"\b(?:he|his|him|she|her)\b(?! bike)", s.question)
        assert not person or re.search(names(), s.question[: person.start()]), s.question


def names():
    return rf"\b(?:{'|'.join(n for some in bank()['names'].values() for n in some)})\b"


def test_prefix_ids_and_seeds():
    few, many = make(30, seed=3, changes=(2, 4)), make(120, seed=3, changes=(2, 4))
    assert many[:30] == few and [len(s.changes) for s in few] == [2, 4] * 15
    assert [s.id for s in make(13, part="eval")][12] == "story-eval-0-00012"
    assert len({s.question for s in many} & {s.question for s in make(120, seed=4)}) < 3


def test_no_skeleton_is_in_both_parts():
    shapes = {
        part: {
            skeleton(s.question)
            for seed in (0, 1)
            for changes in (CHANGES, LONG)
            for s in make(250, seed, part, changes)
        }
        for part in stories.PARTS
    }
    assert None not in shapes["train"] | shapes["eval"]
    assert not shapes["train"] & shapes["eval"]
    assert all(part_of(s.question) == part for part in shapes for s in make(60, 5, part))


def test_a_skeleton_masks_all_but_the_wordings():
    one = "5 people are on the bus. Then 1 person gets on. 3 people get off. How many are left now?"
    two = "7 people are on the bus. 4 people get on. Later, 1 person gets off. What now?"
    assert skeleton(one) == skeleton(two) != skeleton(one.replace("get off", "get on"))
    other = "7 people are on the bus. 4 people get off. 1 person gets on. What now?"
    assert skeleton(other) != skeleton(one)
    mine = "Maya has 5 coins. On Monday, she finds 1 coin on the street. Maya loses 2 coins. How?"
    his = "Ben has 9 coins. Ben finds 3 coins on the street. Next, he loses 1 coin. How?"
    assert skeleton(mine) == skeleton(his) == "_ has # coins. _ finds # coins on the street. _ " \
        "loses # coins."  # fmt: skip
    for other in ("", "?", "5 people are on the bus. How many are there?", "How do I boil an egg?",
                  one.replace("Then 1 person gets on.", "It rains.")):  # fmt: skip
        assert skeleton(other) is None and part_of(other) is None


def test_answers_are_spread_and_no_shortcut_is_right(some):
    held = make(1500, seed=2, part="eval")
    for found in (held, some, *([s for s in held if len(s.changes) == k] for k in CHANGES)):
        counts = Counter(int(s.answer) for s in found)
        assert set(counts) == set(range(16))
        assert counts.most_common(1)[0][1] < 0.15 * len(found)
        shortcuts = {
            "last number": [numbers(s.question)[-1] for s in found],
            "start": [s.start for s in found],
            "sum of all": [sum(numbers(s.question)) for s in found],
            "start and last change": [s.start + s.changes[-1] for s in found],
            "start plus last number": [s.start + abs(s.changes[-1]) for s in found],
            "start and first change": [s.start + s.changes[0] for s in found],
            "largest number": [max(numbers(s.question)) for s in found],
        }
        for name, said in shortcuts.items():
            right = sum(v == int(s.answer) for v, s in zip(said, found, strict=True))
            assert right < 0.2 * len(found), (name, right / len(found))


def test_variety():
    many = make(1000, seed=5)
    assert len({s.question for s in many}) == 1000
    assert len({told(s.question)[0] for s in many}) > 600
    assert len({skeleton(s.question) for s in many}) > 950
    scenes = Counter(s.scene for s in many)
    assert len(scenes) >= 24 and max(scenes.values()) - min(scenes.values()) <= 1
    sizes = Counter(len(s.changes) for s in many)
    assert max(sizes.values()) - min(sizes.values()) <= 1
    assert len({s.thought[:25] for s in many}) > 60


def test_the_bank_keeps_its_rules():
    small = {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "half", "both"}
    starts = Counter()
    for name, scene in bank()["scenes"].items():
        assert len(scene["starts"]) >= 4 and len(scene["asks"]) >= 4, name
        assert len(scene["ups"]) >= 5 and len(scene["downs"]) >= 5, name
        starts.update(mask(t, 2) for t in scene["starts"])
        pairs = scene["ups"] + scene["downs"]
        assert len({mask(text, 2) for text, _ in pairs}) == len(pairs), name
        for text in [*scene["starts"], *scene["asks"], *(t for pair in pairs for t in pair)]:
            assert not re.search(r"\d", text) and text == text.strip(), text
            assert not {*re.findall(r"[a-z]+", text)} & small, text
            assert text.count("{n}") == (text not in scene["asks"])
        for text in scene["starts"] + [text for text, _ in pairs]:
            assert text.endswith(".") and text.count(".") == 1, text
    assert set(starts.values()) == {1}  # a story's first sentence tells its scene


def mask(template, n):
    return stories._masked(sentences(numbered(template, n), "Maya", "she"))


def test_a_person_is_named_first_and_where_another_was_spoken_of():
    told = "{Ss} cup is here. {S} fills it. a friend takes {So} home. {S} thanks. then {S} goes."
    assert sentences(told, "Maya", "she") == (
        "Maya's cup is here. She fills it. A friend takes her home. Maya thanks. Then she goes."
    )
    assert numbered("{n} [man goes|men go]", 1) == "1 man goes"
    assert numbered("{n} [man goes|men go]", 0) == "0 men go"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"n": 0}, "at least 1"),
        ({"n": 3, "part": "test"}, "unknown part 'test'"),
        ({"n": 3, "changes": (1, 2)}, r"changes is \(1, 2\): give one or more of 2, 3"),
        ({"n": 3, "changes": (8,)}, "changes"),
        ({"n": 3, "changes": ()}, "changes"),
    ],
)
def test_errors(arguments, word):
    with pytest.raises(UserError, match=word):
        make(**arguments)


def test_more_errors(monkeypatch):
    monkeypatch.setattr(stories, "_draw", lambda *_: None)
    with pytest.raises(UserError, match="found only 0 distinct stories"):
        make(2)
    monkeypatch.undo()
    monkeypatch.setattr("srlib.data.stories_telling.THOUGHT", (500, 600))
    with pytest.raises(UserError, match="gives no thought of 500 to 600 words"):
        make(1)
