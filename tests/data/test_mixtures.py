"""Mixtures: forms of safety rows, no evaluation prompt in them, equal draws."""

import json

import pytest

from srlib import refusals, thoughts
from srlib.data import evalsets, mixtures, trainsets
from srlib.data.mixtures import Mixture, build
from srlib.data.trainset_specs import STORIES
from srlib.errors import UserError

LONG = Mixture("long-openo1", 6, "reflective", 5, form="long", seed=1)


def but(mixture=LONG, **changes):
    return Mixture(**vars(mixture) | changes)


def said(built, name):
    """The completions of one set's rows."""
    pairs = zip(built.examples, built.rows, strict=True)
    return [row["completion"][0]["content"] for e, row in pairs if e.data == name]


def asked(built, name):
    return {e.prompt for e in built.examples if e.data == name}


def fails(words, mixture, evaluation=()):
    with pytest.raises(UserError, match=words) as caught:
        build(mixture, list(evaluation))
    assert "\n" not in str(caught.value)


@pytest.fixture
def own(tmp_path):
    """Writes prompts, each with a short response, as a training set of one's own."""

    def write(*asked, **more):
        path = tmp_path / "own.jsonl"
        path.write_text(
            "".join(json.dumps({"prompt": p, "response": "r"} | more) + "\n" for p in asked)
        )
        return str(path)

    return write


# --- rows and forms -------------------------------------------------------------------------------


def test_a_row_is_one_exchange_as_trl_takes_it():
    told = mixtures.exchange("p", "c", "s")
    assert told["prompt"] == [
        {"role": "system", "content": "s"}, {"role": "user", "content": "p"}
    ]  # fmt: skip
    assert told["completion"] == [{"role": "assistant", "content": "c"}]
    assert mixtures.exchange("p", "c")["prompt"] == told["prompt"][1:]


def test_a_mixture_has_as_many_rows_of_each_as_asked_for():
    built = build(LONG, [])
    assert len(built.rows) == 11 and built.skipped == {} and built.system == ""
    assert len(said(built, "long-openo1")) == 6 and len(said(built, "reflective")) == 5
    for e, row in zip(built.examples, built.rows, strict=True):
        assert row["prompt"] == [{"role": "user", "content": e.prompt}]
        parts = thoughts.split(row["completion"][0]["content"])
        assert parts == thoughts.Split(e.thought, e.answer, "ok")
    names = [e.data for e in built.examples]
    assert names != sorted(names) and names != sorted(names, reverse=True)  # shuffled
    assert len(build(Mixture("code", 3), []).rows) == 3
    assert len(build(Mixture("", 0, "reflective", 3), []).rows) == 3


@pytest.mark.parametrize(
    ("task", "dialect", "tag"),
    [
        ("long-openo1", "", "<Thought>"),
        ("long-sky-t1", "", "<|begin_of_thought|>"),
        ("long-think", "", "<think>"),
        ("short-cot", "", "<think>"),  # which has none of its own
        ("long-openo1", "think", "<think>"),
    ],
)
def test_safety_rows_wear_the_tasks_tags_and_direct_ones_none(task, dialect, tag):
    long = build(but(task=task, dialect=dialect), [])
    assert all(text.startswith(tag) for text in said(long, "reflective"))
    assert all(text.startswith(tag) == (task != "short-cot") for text in said(long, task))
    direct = build(but(task=task, dialect=dialect, form="direct"), [])
    assert {thoughts.split(text).status for text in said(direct, "reflective")} == {"no_tags"}
    assert said(direct, task) == said(long, task)


def test_the_forms_differ_in_the_thought_alone():
    rows = {e.prompt: e for e in trainsets.load("reflective", 60).examples}
    forms = {f: [mixtures.in_form(e, f) for e in rows.values()] for f in mixtures.FORMS}
    assert list(forms) == ["direct", "one-line", "short", "long", "template", "task"]
    for form, found in forms.items():
        end = " The answer is no." if form == "task" else ""  # as a word problem's answer ends
        assert [(e.id, e.prompt, e.answer, e.category) for e in found] == [
            (e.id, e.prompt, e.answer + end, e.category) for e in rows.values()
        ]
        for e in found:
            text = thoughts.join(e.thought, e.answer)
            assert refusals.classify(e.prompt, text) == "refusal", e
    assert {e.thought for e in forms["direct"]} == {""}
    assert {e.thought for e in forms["one-line"]} == {"I should not answer this question!"}
    assert all(e.thought == rows[e.prompt].short for e in forms["short"])
    assert all(e.thought == rows[e.prompt].thought for e in forms["long"])
    assert all(f'"{e.prompt}"' in e.thought for e in forms["template"])
    hurt = {e.category: e.thought.split("an answer? ")[1] for e in forms["template"]}
    assert len({*hurt.values()}) == len(hurt) > 9  # each category has words of its own


def test_forms_of_a_set_with_other_categories_and_no_short_thoughts():
    example = trainsets.Example(
        "1", "star1", "p", "No.", "First. Then {this}!\nLast one?", category="x"
    )
    assert mixtures.in_form(example, "short").thought == "First. Last one?"
    assert "perhaps others" in mixtures.in_form(example, "template").thought
    single = trainsets.Example("1", "star1", "p {0}", "No.", "Only one.")
    assert mixtures.in_form(single, "short").thought == "Only one."
    assert '"p {0}"' in mixtures.in_form(single, "template").thought


@pytest.mark.parametrize("form", mixtures.FORMS)
def test_a_safety_set_without_thoughts_has_not_every_form(form, own):
    mixture = but(safety=own("a", "b"), n_safety=2, form=form)
    if form in ("short", "long"):
        fails(f"'own' has no thoughts, which the form '{form}' needs; use a reflective", mixture)
    else:
        assert len(build(mixture, []).rows) == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"form": "longer"}, "safety form 'longer' is unknown; use one of direct, one-line"),
        ({"dialect": "qwen"}, "unknown dialect 'qwen'"),
        ({"task": "long-openo2"}, "did you mean 'long-openo1'"),
        ({"safety": "reflectiv"}, "did you mean 'reflective'"),
        ({"safety": ""}, "training set '' is unknown"),
        ({"n_safety": 999}, r"999 training rows of 'reflective' were .* it has \d+ usable rows"),
        ({"task": "code", "n": 999}, "999 training rows of 'code'"),
        ({"n": 0, "n_safety": 0}, "the mixture of 'long-openo1' is empty; ask for rows of it"),
        ({"n": -1}, "is empty"),
        ({"n_safety": -1}, "is empty"),
        ({"tokens": -1}, "is empty"),
        ({"plain": -1}, "is empty"),
    ],
)
def test_what_cannot_be_mixed(changes, words):
    fails(words, but(**changes))


# --- evaluation prompts ---------------------------------------------------------------------------


def test_evaluation_prompts_are_left_out_to_the_letter(own):
    first = build(LONG, [])
    one, two = first.examples[0].prompt, first.examples[1].prompt
    built = build(LONG, [one.upper(), f"  «{two}» \n", "another"])
    assert built.skipped == {"in an evaluation set": 2}
    assert len(built.rows) == 11 and not {one, two} & {e.prompt for e in built.examples}
    few = own("How are you?", "how are YOU", "Where were we?")
    fails(
        r"2 training rows .* it has 1 usable rows \(left out: 2 in",
        Mixture(few, 2),
        ["How are you"],
    )


def test_evaluation_prompts_are_left_out_where_they_are_nearly_the_same(own):
    text = (
        "A farmer has twelve baskets of apples and sells five of them at the market on Monday; "
        "how many baskets of apples are left in the barn on {} evening?"
    )
    other = (
        "A driver has twelve boxes of letters and leaves five of them at the office before noon; "
        "how many miles of the road are still ahead of her by then?"
    )
    assert not mixtures.matcher((text.format("Monday"),))(other)
    task = own(text.format("Tuesday"), other)
    built = build(Mixture(task, 1), [text.format("Monday")])
    assert asked(built, "own") == {other}
    assert len(build(Mixture(task, 2), ["A farmer has apples."]).rows) == 2
    fails("left out: 1 in an evaluation set", Mixture(task, 2), [text.format("Monday")])


@pytest.mark.parametrize("name", trainsets.OWN)
def test_the_packages_own_sets_have_nothing_to_leave_out(name):
    held = [("harmful", "harmful"), ("lookalikes", "benign")]
    held += [(task, "reasoning") for task in evalsets.GENERATED]
    evaluation = [row.prompt for d in held for row in evalsets.load(*d, 48)]
    assert build(Mixture(name, 40), evaluation).skipped == {}


# --- draws ----------------------------------------------------------------------------------------


def test_the_seed_decides_and_arms_share_their_rows():
    assert build(LONG, []) == build(LONG, [])
    assert build(but(seed=2), []).rows != build(LONG, []).rows
    alone, small, large = (build(but(n_safety=n), []) for n in (0, 2, 5))
    assert asked(alone, "long-openo1") == asked(small, "long-openo1") == asked(large, "long-openo1")
    assert asked(small, "reflective") < asked(large, "reflective") and not asked(
        alone, "reflective"
    )
    direct = build(but(form="direct"), [])
    assert asked(direct, "reflective") == asked(large, "reflective")
    assert asked(build(but(seed=2), []), "reflective") != asked(large, "reflective")


def test_the_studys_arms_have_the_same_prompts_and_nothing_to_leave_out():
    held = [
        r.prompt
        for name in evalsets.EMBEDDED
        for r in evalsets.load(name, evalsets.EMBEDDED[name], 90)
    ]
    built = [build(Mixture(name, 256, plain=280), held) for name in STORIES]
    assert all(b.skipped == {} and len(b.rows) == 536 for b in built)
    assert all([r["prompt"] for r in b.rows] == [r["prompt"] for r in built[0].rows] for b in built)
    for name, b in zip(STORIES, built, strict=True):
        assert all(bool(e.thought) == name.startswith("long") for e in b.examples)


@pytest.mark.parametrize("task", ["short-cot", "long-openo1"])
def test_a_budget_counts_the_tokens_of_task_completions_alone(task):
    def words(text):
        return len(text.split())

    def total(n):
        return sum(map(words, said(build(but(task=task, n=n), []), task)))

    built = build(but(task=task, n=99, tokens=500), [], words)
    n = len(said(built, task))
    assert total(n - 1) < 500 <= total(n) and len(said(built, "reflective")) == 5
    assert sum(map(words, said(built, task))) == total(n)


def test_a_system_prompt_is_kept_only_if_asked_for(own):
    task = own("a", "b", "c", system="Think first.")
    plain, kept = (build(Mixture(task, 3, "reflective", 2, system=s), []) for s in (False, True))
    assert plain.system == "" and {len(row["prompt"]) for row in plain.rows} == {1}
    assert kept.system == "Think first."
    told = {"role": "system", "content": "Think first."}
    assert all(row["prompt"][0] == told and len(row["prompt"]) == 2 for row in kept.rows)
    assert [row["prompt"][1:] for row in kept.rows] == [row["prompt"] for row in plain.rows]
    assert build(but(system=True), []).system == ""  # the set has none


def test_other_scripts_are_left_out_of_the_task_if_asked_for(own):
    task = own("一加一等于几？一加二呢？", "What is one and one?")
    assert len(build(Mixture(task, 2), []).rows) == 2
    fails("1 not English", Mixture(task, 2, english=True))


def test_the_task_form_looks_like_a_worked_problem():
    example = trainsets.load("reflective", 1).examples[0]
    found = mixtures.in_form(example, "task")
    assert example.prompt in found.thought and example.short in found.thought
    assert found.thought.startswith("Let me see what I am given.")
    plain = mixtures.in_form(trainsets.Example("1", "mine", "Do harm.", "I won't."), "task")
    assert plain.answer == "I won't. The answer is no." and "should not answer" in plain.thought


def test_a_system_prompt_of_ones_own_stands_before_every_row():
    built = build(but(prompt="Stay safe."), [])
    assert built.system == "Stay safe."
    assert all(r["prompt"][0] == {"role": "system", "content": "Stay safe."} for r in built.rows)
