"""Arms: what two notebooks' parameters ask for, named once, in equal sizes, or a plain error."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from srlib import params
from srlib.errors import UserError
from srlib.experiment import arms

SMOKE = Path(__file__).parents[2] / "params" / "smoke"
MAKERS = {"02_long_cot_finetuning": arms.finetuning, "03_reflective_safety_data": arms.safety}


def values(notebook, **changes):
    (path,) = (p for p in params.profile_files(SMOKE, params.root()) if p.stem.startswith(notebook))
    told = params.load(path).values
    assert set(changes) <= set(told)
    return told | changes


def sizes(found):
    return {(a.mixture.task, a.mixture.n) for a in found}


def test_the_parameters_say_which_notebooks_arms():
    assert arms.of(values("01")) == [] == arms.of(values("00"))
    assert arms.of(values("02")) == arms.finetuning(values("02")) != []
    assert arms.of(values("03")) == arms.safety(values("03")) != []


@pytest.mark.parametrize("notebook", MAKERS)
def test_names_are_unique_and_say_what_differs(notebook):
    found = arms.of(values(notebook, train_seeds=[3, 4, 3]))
    assert max(Counter(a.name for a in found).values()) == 1
    assert len({(a.mixture, a.share) for a in found}) == len(found)
    once = arms.of(values(notebook, train_seeds=[3]))
    assert found[: len(once)] == once  # the first seed's are named as if it were alone
    more = [replace(a.mixture, seed=3) for a in found[len(once) :]]
    assert {*more} <= {a.mixture for a in once} and {a.seed for a in found[len(once) :]} == {4}


def test_every_set_has_equally_many_rows_and_growth_no_duplicates():
    told = values("02", n_train=4, growth=[8, 2, 4, 2], growth_sets=["short-cot", "long-openo1"])
    told |= {"dose": []}
    found = arms.finetuning(told)
    every = {*told["short_sets"], *told["long_sets"]}
    assert {a.mixture.task for a in found if a.mixture.n == 4} == every
    assert all(a.mixture.plain == told["n_plain"] * a.mixture.n // 4 for a in found)
    grown = {(name, n) for name in told["growth_sets"] for n in (2, 8)}
    assert sizes(found) == {(name, 4) for name in every} | grown
    assert len(found) == len(every) + len(grown)
    family = {a.mixture.task: a.family for a in found}
    assert family["short-cot"] == "short" and family["long-openo1"] == "long CoT"
    assert all(a.mixture.n_safety == 0 and a.columns()["form"] == "none" for a in found)
    none = arms.finetuning(told | {"growth": [], "growth_sets": []})
    assert sizes(none) == {(name, 4) for name in every}


def test_a_dose_is_a_part_of_the_same_training():
    told = values("02", n_train=8, n_plain=8, growth=[], dose=[0.125, 0.5])
    found = arms.finetuning(told)
    parts = [a for a in found if a.share < 1]
    assert [(a.mixture.task, a.share, a.columns()["rows"]) for a in parts] == [
        (name, share, rows) for share, rows in ((0.125, 2), (0.5, 8))
        for name in told["growth_sets"]
    ]  # fmt: skip
    for part in parts:
        assert arms.whole(part, told) in found and part.name != arms.whole(part, told).name
    for change, words in (
        ({"dose": [0.3]}, "dose holds 0.3; use some of 0.125, 0.25, 0.5"),
        ({"train_schedule": "cosine"}, "train_schedule constant, one epoch and LoRA"),
        ({"train_epochs": 2.0}, "train_schedule constant, one epoch and LoRA"),
        ({"train_method": "full"}, "train_schedule constant, one epoch and LoRA"),
    ):
        with pytest.raises(UserError, match=words):
            arms.finetuning(told | change)


def test_a_seed_covers_rows_and_base():
    told = values("02", train_seeds=[3, 4])
    assert {(a.seed, a.mixture.seed) for a in arms.of(told)} == {(3, 3), (4, 4)}
    assert arms.seeds(told) == [3, 4] and arms.of_seed(told, 3) == ""
    assert arms.of_seed(told, 4) == ", seed 4"
    assert arms.seeds(values("00", seed=7)) == [7]


def test_safety_rows_come_by_amount_and_form():
    told = values("03", safety_rows=[6, 2], more_forms=["template", "long", "one-line"])
    told |= {"safety_at": 4, "train_seeds": [0, 1]}
    found = arms.safety(told)
    assert len({(a.mixture.task, a.mixture.n) for a in found}) == 1
    got = [(a.seed, a.family, a.mixture.form, a.mixture.n_safety) for a in found]
    assert sorted(got) == [
        (0, "direct", "direct", 2), (0, "direct", "direct", 4), (0, "direct", "direct", 6),
        (0, "none", "direct", 0), (0, "one-line", "one-line", 4), (0, "reflective", "long", 2),
        (0, "reflective", "long", 4), (0, "reflective", "long", 6),
        (0, "template", "template", 4), (1, "direct", "direct", 4), (1, "none", "direct", 0),
        (1, "reflective", "long", 4),
    ]  # fmt: skip
    found = [a for a in found if a.seed == 0]
    alone = found[0]
    assert (alone.family, alone.mixture.n_safety, alone.columns()["form"]) == ("none", 0, "none")
    columns = found[-1].columns()
    assert (columns["amount"], columns["rows"]) == (4, alone.mixture.n + alone.mixture.plain)
    assert set(columns) == set(arms.BASE)


def test_direct_and_reflective_rows_may_be_of_two_sets():
    found = arms.safety(values("03", direct_data="safety-tuned-llamas", reflective_data="star1"))
    used = {(a.mixture.form == "direct", a.mixture.safety) for a in found if a.mixture.n_safety}
    assert used == {(True, "safety-tuned-llamas"), (False, "star1")}


@pytest.mark.parametrize("profile", ["smoke", "quick", "study"])
def test_the_long_arm_that_both_notebooks_ask_for_is_one(profile):
    found = {}
    for name in MAKERS:
        told = params.load(SMOKE.parent / profile / f"{name}.yaml").values
        for arm in arms.of(told):
            if arm.seed == 0:
                found.setdefault(arm.name, []).append((arm.mixture, arms.recipe(told, 0)))
    shared = {name: made for name, made in found.items() if len(made) > 1}
    assert len(shared) == 1
    ((one, other),) = shared.values()
    assert one == other and one[0].task == "long-openo1" and one[0].n_safety == 0


def test_a_token_budget_and_the_other_choices_reach_every_mixture():
    more = {"n_tokens": 400, "english": False, "train_system": True}
    for notebook in ("02", "03"):
        for arm in arms.of(values(notebook, **more)):
            m = arm.mixture
            assert (m.tokens > 0, m.english, m.system) == (True, False, True)
            assert m.tokens == 400 or m.n != values(notebook)["n_train"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"short_sets": []}, "short_sets or long_sets is empty"),
        ({"long_sets": []}, "short_sets or long_sets is empty"),
        ({"growth_sets": ["code"]}, "growth_sets names 'code', which is in neither"),
        ({"short_sets": ["long-think"]}, "'long-think' is no short training set; use one of instr"),
        ({"long_sets": ["long-openo1", "code"]}, "'code' is no long training set; use one of long"),
        ({"long_sets": ["reflective"]}, "'reflective' is no long training set"),
        ({"train_seeds": []}, "train_seeds is empty; name at least one seed"),
        ({"n_train": 0}, "n_train"),
        ({"growth": [0]}, "growth"),
        ({"n_tokens": -1}, "n_tokens"),
    ],
)
def test_what_finetuning_refuses(changes, words):
    told = values("02", **{"growth_sets": []} | changes)
    with pytest.raises(UserError, match=words) as caught:
        arms.of(told)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"safety_at": 0}, "safety_at or safety_rows holds an amount below 1"),
        ({"safety_rows": [4, 0]}, "safety_at or safety_rows holds an amount below 1"),
        ({"train_seeds": []}, "train_seeds is empty"),
        ({"reflective_form": "direct"}, "reflective_form is 'direct', what it is set against"),
    ],
)
def test_what_safety_refuses(changes, words):
    with pytest.raises(UserError, match=words) as caught:
        arms.of(values("03", **changes))
    assert "\n" not in str(caught.value)


def test_own_files_are_taken_for_either_sort():
    told = values("02", short_sets=["mine.jsonl"], long_sets=["ours.csv"], growth_sets=[])
    assert {a.mixture.task: a.family for a in arms.of(told)} == {
        "mine.jsonl": "short",
        "ours.csv": "long CoT",
    }


@pytest.mark.parametrize("notebook", MAKERS)
def test_the_recipe_is_the_notebooks(notebook):
    told = values(
        notebook, train_batch=8, train_micro_batch=4, lora_targets=["q_proj"], packing=True
    )
    recipe = arms.recipe(told, seed=7)
    assert (recipe.batch_size, recipe.micro_batch, recipe.seed) == (8, 4, 7)
    assert (recipe.lora_targets, recipe.packing) == (("q_proj",), True)
    assert (recipe.epochs, recipe.rate) == (told["train_epochs"], told["train_rate"])
    assert (recipe.max_length, recipe.lora_layers) == (
        told["train_max_length"],
        told["lora_layers"],
    )


def profile(name):
    return [params.load(path) for path in params.profile_files(name, SMOKE.parent.parent)]


SHIPPED = sorted(p.name for p in SMOKE.parent.iterdir() if (p / "profile.yaml").is_file())


@pytest.mark.parametrize("name", SHIPPED)
def test_the_notebooks_of_a_profile_agree_on_every_arm(name):
    arms.agree(profile(name))


def changed(files, number, **values):
    return [
        f._replace(values=f.values | values) if f.notebook.stem[:2] == number else f for f in files
    ]


@pytest.mark.parametrize(
    ("number", "values", "words"),
    [
        ("05", {"train_epochs": 3.0}, "arm 'long-openo1 ×536' in two ways: train_epochs is"),
        ("03", {"train_seeds": [1]}, "arm 'aligned' in two ways: seed is 0 in the first and 1 in"),
        ("04", {"english": False}, "english is True in the first and False in the second"),
        ("05", {"reflective_data": "mine.jsonl"}, "reflective_data is reflective in the first"),
        ("05", {"train_launch": "ddp"}, "train_launch is "),
        ("03", {"lora_targets": ["q_proj"]}, "lora_targets is "),
        ("01", {"tune_epochs": 1.0}, "arm 'aligned' in two ways: tune_epochs is 2.0"),
        ("02", {"dtype": "float32"}, "dtype is auto in the first and float32 in the second"),
        ("05", {"align": False}, "align is True in the first and False in the second"),
    ],
)
def test_notebooks_that_disagree_on_an_arm_are_told_the_files_and_the_key(number, values, words):
    files = changed(profile("quick"), number, **values)
    with pytest.raises(UserError, match=words) as caught:
        arms.agree(files)
    told = str(caught.value)
    assert told.count(".yaml") == 2 and "\n" not in told and f"{number}_" in told
    arms.agree(changed(files, number, profile="another"))  # nothing is shared, nothing disagrees


def test_what_makes_no_other_arm_may_differ():
    files = changed(profile("quick"), "05", n_harmful=5, batch_size=2, mitigations=[])
    arms.agree(files)
    full = changed(profile("paper"), "05", lora_r=64)  # all are trained in full
    assert {f.values.get("train_method", "full") for f in full} == {"full"}
    arms.agree(full)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_method": "dpo"}, "method is 'dpo'; use one of lora, full"),
        ({"over_length": "cut"}, "over_length is 'cut'; use one of error, drop"),
        (
            {"train_batch": 8, "train_micro_batch": 3},
            "batch_size 8 is no multiple of micro_batch 3",
        ),
        ({"lora_layers": 0.0}, "lora_layers is 0.0; give a share"),
    ],
)
def test_what_a_recipe_refuses(changes, words):
    with pytest.raises(UserError, match=words) as caught:
        arms.recipe(values("02", **changes), 0)
    assert "\n" not in str(caught.value)


def test_the_arms_of_the_mitigations():
    known = params.signature("03_reflective_safety_data")
    values = params.check({"n_train": 8}, known, "t")
    del values["safety_rows"]
    values |= {"data_forms": ["direct", "task"], "data_rows": 4, "ptst": True}
    plain, direct, task, prompted = arms.of(values)
    assert [a.family for a in (plain, direct, task, prompted)] == [
        "unprotected",
        "data",
        "data",
        "text",
    ]
    assert plain.name == arms.safety(values | {"safety_rows": [4]})[0].name  # found again
    assert direct in [a for a in _renamed(arms.safety(values | {"safety_rows": [4]}), "data")]
    assert (task.mixture.form, task.mixture.n_safety, task.mixture.n) == ("task", 4, 8)
    assert "Refuse such a request politely" in prompted.mixture.prompt and not plain.mixture.prompt
    assert len(arms.of(values | {"ptst": False, "data_forms": []})) == 1
    with pytest.raises(UserError, match="data_rows is 0"):
        arms.of(values | {"data_rows": 0})


def _renamed(found, family):
    return [replace(a, family=family) for a in found]
