"""Near matches are what a comparison with each prompt says, but for stories of two parts."""

import random
from itertools import product

from rapidfuzz import fuzz

from srlib.data import stories, wordproblems
from srlib.data.near import NEAR, matcher
from srlib.text import topics


def near(text, known):
    return [k for k in known if fuzz.ratio(topics.folded(text), topics.folded(k)) >= NEAR]


def questions(n, seed, part):
    return [s.question for s in stories.make(n, seed, part)]


def test_stories_of_different_parts_are_split_by_structure_and_so_never_near():
    ways = ["3 people get on.", "3 more people step on.", "3 people get on with shopping bags."]
    told = [
        f"5 people are on the bus. {' '.join(w)} How many now?" for w in product(ways, repeat=3)
    ]
    parts = {part: [x for x in told if stories.part_of(x) == part] for part in stories.PARTS}
    seen = matcher(tuple(parts["eval"]))
    assert sum(map(bool, (near(x, parts["eval"]) for x in parts["train"]))) > 5
    assert not any(map(seen, parts["train"])) and all(map(seen, parts["eval"]))
    held = tuple(questions(60, 0, "eval"))
    assert not any(map(matcher(held), questions(60, 0, "train")))
    assert matcher(held)(held[0].upper()) and matcher(held)(f"  «{held[1]}» ")


def test_a_story_is_near_others_of_its_part_and_all_that_is_no_story():
    held = questions(40, 0, "eval")
    digits = "0123456789"
    for text in held[:8]:
        other = text.translate(str.maketrans(digits, digits[1:] + "1"))
        assert other != text and stories.part_of(other) == "eval"
        assert near(other, held) and matcher(tuple(held))(other)
        asked = text.replace("now?", "by now?")  # still a story
        assert matcher((text,))(asked)
        strange = text.replace(". ", ". Well, ", 1)  # no longer one of ours
        assert stories.part_of(strange) is None and matcher((text,))(strange)
    trained = questions(1, 0, "train")[0]
    strange = trained.replace(". ", ". Well, ", 1)
    assert matcher((strange,))(trained) and matcher((trained,))(strange)


def test_near_is_what_a_comparison_with_each_evaluation_prompt_says():
    rng = random.Random(0)
    known = [p.question for p in wordproblems.make(40, 0, "eval", (1, 2))]
    known += ["Wie groß?", "答えは？"]
    seen, found = matcher(tuple(known)), []
    for text in known * 5:
        told = list(text)
        for _ in range(rng.randrange(len(text) // 4 + 2)):
            told[rng.randrange(len(told))] = rng.choice("aeo ßé答")
        told = "".join(told)
        near = [fuzz.ratio(topics.folded(told), topics.folded(k)) >= NEAR for k in known]
        assert seen(told) == any(near), (text, told)
        found.append(any(near))
    assert 0.2 < sum(found) / len(found) < 0.8
    assert not matcher(())("anything")
