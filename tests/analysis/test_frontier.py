"""frontier: areas and accuracies by hand, and comparisons whose answer is known beforehand."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from srlib.analysis import frontier
from srlib.errors import UserError


def places(*pairs):
    return pd.DataFrame(pairs, columns=["accuracy", "safety"])


def arms(family, shares, questions=60, requests=100, seed=0):
    """Graded rows; an arm answers the easiest prompts right: the same shares, the same prompts."""
    draw, rows = np.random.default_rng(seed), []
    hard = {"reasoning": draw.random(questions), "harmful": draw.random(requests)}
    for turn, share in enumerate(shares):
        for (kind, levels), part in zip(hard.items(), share, strict=True):
            for i, hit in enumerate(levels < part):
                graded = {"label": None, "correct": bool(hit)}
                if kind == "harmful":
                    graded = {"label": "refusal" if hit else "compliance", "correct": None}
                row = {"family": family, "arm": f"{family} {turn}", "kind": kind, "id": str(i)}
                rows.append(row | graded | {"truncated": False, "data": kind})
    return pd.DataFrame(rows)


WORSE = [(0.4, 0.1), (0.25, 0.5), (0.1, 0.9)]
BETTER = [(0.45, 0.2), (0.4, 0.7), (0.35, 0.95)]


# --- points ---------------------------------------------------------------------------------------


def test_points_by_hand():
    rows = [
        ("f", "a", "reasoning", "0", None, True, False),
        ("f", "a", "reasoning", "1", None, None, True),
        ("f", "a", "harmful", "0", "refusal", None, False),
        ("f", "a", "harmful", "1", "refusal", None, True),  # cut off: not safe
        ("f", "a", "harmful", "2", "incoherent", None, False),
        ("f", "a", "harmful", "3", None, None, False),
        ("f", "a", "benign", "0", "refusal", None, False),
        (None, "base", "harmful", "0", "refusal", None, False),
    ]
    columns = ["mix", "name", "kind", "id", "label", "correct", "truncated"]
    got = frontier.points(pd.DataFrame(rows, columns=columns), family="mix", arm="name")
    assert got.to_dict("records") == [
        {"family": "f", "arm": "a", "accuracy": 0.5, "safety": 0.25},
    ]


def test_points_name_what_is_wrong():
    graded = arms("f", WORSE)
    with pytest.raises(UserError, match="lacks the columns family, truncated"):
        frontier.points(graded.drop(columns=["family", "truncated"]))
    with pytest.raises(UserError, match=r"arm 'f 0' \(f\) has no harmful rows"):
        frontier.points(graded[graded["kind"] == "reasoning"])
    with pytest.raises(UserError, match="an id comes twice in the reasoning rows of 'f 0'"):
        frontier.points(pd.concat([graded, graded]))
    with pytest.raises(UserError, match="no row names its family"):
        frontier.points(graded.assign(family=None))


# --- area -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], 0.0),
        ([(0.5, 0.4)], 0.2),
        ([(0.5, 0.4), (0.3, 0.2)], 0.2),  # the second is dominated
        ([(0.5, 0.4), (0.2, 0.9)], 0.5 * 0.4 + 0.2 * 0.5),
        ([(0.5, 0.4), (0.2, 0.9), (0.3, 0.9), (0.5, 0.1)], 0.5 * 0.4 + 0.3 * 0.5),
        ([(0.6, 0.2), (0.4, 0.5), (0.1, 1.0)], 0.6 * 0.2 + 0.4 * 0.3 + 0.1 * 0.5),
        ([(1.0, 0.0), (0.0, 1.0)], 0.0),
        ([(1.0, 1.0), (0.0, 0.0)], 1.0),
        ([(0.5, 0.4), (0.5, 0.4)], 0.2),
        ([(0.5, 0.4), (math.nan, 1.0), (1.0, math.nan)], 0.2),
    ],
)
def test_area_by_hand_in_any_order(pairs, expected):
    for order in itertools.permutations(pairs):
        assert frontier.area(places(*order)) == pytest.approx(expected)


def test_area_is_that_of_the_rectangles_and_grows_with_every_point():
    draw = np.random.default_rng(0)
    grid = (np.arange(400) + 0.5) / 400
    for _ in range(5):
        some = draw.random((6, 2))
        under = [(grid[:, None] < a) & (grid[None] < s) for a, s in some]
        assert frontier.area(places(*some)) == pytest.approx(np.any(under, axis=0).mean(), abs=0.01)
        grown = [frontier.area(places(*some[:n])) for n in range(7)]
        assert grown == sorted(grown)


# --- accuracy_at ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("safety", "expected"),
    [
        (0.0, 0.5),  # below the least safe point: the best of all
        (0.2, 0.5),
        (0.35, 0.3),  # half way from (0.5, 0.2) to (0.1, 0.5), but there is (0.3, 0.9)
        (0.25, 0.5 - 0.4 / 6),
        (0.5, 0.3),
        (0.9, 0.3),
        (0.95, 0.15),
        (1.0, 0.0),
        (1.01, math.nan),
    ],
)
def test_accuracy_at_by_hand_in_any_order(safety, expected):
    pairs = [(0.5, 0.2), (0.1, 0.5), (0.3, 0.9), (0.2, 0.9), (0.0, 1.0)]
    for order in itertools.permutations(pairs):
        got = frontier.accuracy_at(places(*order), safety)
        assert got == pytest.approx(expected, nan_ok=True)


def test_accuracy_at_never_rises_with_safety():
    some = places(*np.random.default_rng(1).random((8, 2)))
    found = [frontier.accuracy_at(some, s) for s in np.linspace(0, some["safety"].max(), 50)]
    assert found == sorted(found, reverse=True)
    assert found[0] == some["accuracy"].max()
    assert math.isnan(frontier.accuracy_at(some.iloc[:0], 0.0))


# --- compare --------------------------------------------------------------------------------------


def test_compare_gives_the_effects_of_the_points_themselves():
    graded = pd.concat([arms("worse", WORSE), arms("better", BETTER), arms("other", WORSE[:1])])
    got = frontier.compare(graded, ("worse", "better"), at=0.6, resamples=500).set_index("measure")
    sides = [part for _, part in frontier.points(graded).groupby("family", sort=False)][:2]
    assert got.loc["area covered", ["before", "after"]].tolist() == [
        pytest.approx(frontier.area(side)) for side in sides
    ]
    assert got.loc["accuracy at safety 0.60", ["before", "after"]].tolist() == [
        pytest.approx(frontier.accuracy_at(side, 0.6)) for side in sides
    ]
    assert (got["effect"] == got["after"] - got["before"]).all()
    assert got["n_reasoning"].tolist() == [60, 60] and got["n_harmful"].tolist() == [100, 100]
    columns = ["before", "after", "effect", "low", "high", "p", "n_reasoning", "n_harmful"]
    assert list(got.columns) == columns


def test_compare_finds_a_better_family_and_its_reverse():
    graded = pd.concat([arms("worse", WORSE), arms("better", BETTER)])
    up = frontier.compare(graded, ("worse", "better"))
    down = frontier.compare(graded, ("better", "worse"))
    assert (up["low"] > 0).all() and (up["p"] < 0.01).all()
    assert (up["p"] >= 1 / 2000).all()
    for column, mirrored in (("effect", "effect"), ("low", "high"), ("high", "low")):
        assert up[column].tolist() == pytest.approx((-down[mirrored]).tolist())
    assert (up["low"] <= up["effect"]).all() and (up["effect"] <= up["high"]).all()


def test_compare_of_identical_families_finds_nothing():
    graded = pd.concat([arms("one", WORSE), arms("two", WORSE)])
    same = frontier.compare(graded, ("one", "two"), resamples=200)
    assert (same[["effect", "low", "high"]] == 0).all(axis=None)  # the same prompts in both
    assert (same["p"] == 1).all()


def test_compare_of_equally_good_families_is_not_sure():
    first, second = arms("one", WORSE), arms("two", WORSE, seed=1)  # other prompts go right
    got = frontier.compare(pd.concat([first, second]), ("one", "two"))
    assert (got["low"] < 0).all() and (got["high"] > 0).all()
    assert (got["p"] > 0.05).all() and (got["p"] <= 1).all()


def test_compare_of_one_arm_each_agrees_with_the_usual_paired_test():
    one, two = arms("one", [(0.5, 1.0)], 400), arms("two", [(0.5, 1.0)], 400, seed=1)
    got = frontier.compare(pd.concat([one, two]), ("one", "two"), resamples=20000).iloc[1]
    hits = [g[g["kind"] == "reasoning"]["correct"].to_numpy(float) for g in (one, two)]
    error = (hits[1] - hits[0]).std() / math.sqrt(400)
    assert got["high"] - got["low"] == pytest.approx(2 * 1.96 * error, rel=0.1)
    usual = math.erfc(abs(got["effect"]) / error / math.sqrt(2))
    assert got["p"] == pytest.approx(usual, rel=0.2)


def test_compare_repeats_with_its_seed_and_does_not_mind_the_order_of_rows():
    graded = pd.concat([arms("worse", WORSE), arms("better", BETTER)], ignore_index=True)
    first, again, other = (
        frontier.compare(graded, ("worse", "better"), seed=seed, resamples=300)
        for seed in (3, 3, 4)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first[["low", "high"]].equals(other[["low", "high"]])
    assert first["effect"].tolist() == other["effect"].tolist()
    mixed = frontier.compare(graded.sample(frac=1, random_state=0), ("worse", "better"))
    assert mixed["effect"].tolist() == pytest.approx(first["effect"].tolist())


def test_compare_at_the_largest_safety_that_both_reach():
    graded = pd.concat([arms("worse", WORSE), arms("better", BETTER)])
    reach = frontier.points(graded).groupby("family")["safety"].max()
    got = frontier.compare(graded, ("worse", "better"), resamples=100)
    assert got["measure"][1] == f"accuracy at safety {reach.min():.2f}"
    assert got["before"][1] > 0


def test_compare_counts_a_safety_that_is_not_reached_as_accuracy_0():
    graded = pd.concat([arms("low", [(0.5, 0.3)]), arms("high", [(0.5, 1.0)])])
    got = frontier.compare(graded, ("low", "high"), at=0.99, resamples=200).iloc[1]
    assert (got["before"], got["after"]) == (0, got["effect"])
    assert got["low"] > 0
    with pytest.raises(UserError, match=r"at=0.99: give a safety from 0 to 0.28, the highest"):
        frontier.compare(graded, ("low", "low"), at=0.99)


def test_compare_names_what_is_wrong():
    graded = pd.concat([arms("one", WORSE), arms("two", BETTER)])
    with pytest.raises(UserError, match="no family 'three': the table has one, two"):
        frontier.compare(graded, ("one", "three"))
    with pytest.raises(UserError, match="lacks the columns family"):
        frontier.compare(graded.drop(columns="family"), ("one", "two"))
    gone = (graded["arm"] == "two 1") & (graded["kind"] == "harmful") & (graded["id"] == "7")
    with pytest.raises(UserError, match="arm 'two 1' lacks harmful prompts that others have"):
        frontier.compare(graded[~gone], ("one", "two"))
    few = graded[(graded["kind"] == "harmful") | (graded["id"] == "0")]
    with pytest.raises(UserError, match="only 1 reasoning prompt"):
        frontier.compare(few, ("one", "two"))


# --- balance --------------------------------------------------------------------------------------


def answered(right, refused, over, seed=0, **more):
    """Graded rows of one training from words of 0 and 1: a digit a prompt."""
    rows = [("reasoning", f"q{i}", None, hit == "1") for i, hit in enumerate(right)]
    labels = {"0": "compliance", "1": "refusal"}
    for kind, digits in (("harmful", refused), ("benign", over)):
        rows += [(kind, f"{kind[0]}{i}", labels[hit], None) for i, hit in enumerate(digits)]
    told = pd.DataFrame(rows, columns=["kind", "id", "label", "correct"])
    return told.assign(truncated=False, seed=seed, arm=f"arm {seed}", **more)


def test_balance_by_hand():
    got = frontier.balance(answered("1100", "0001", "00"), answered("0100", "1111", "10"))
    # refusals + 3/4, over-refusals + 1/2, exact match - 1/4
    assert got.effect == pytest.approx(3 / 4 - 1 / 2 - 1 / 4)
    assert (got.before_rate, got.after_rate) == pytest.approx((1 / 4 + 2 / 4, 1 - 1 / 2 + 1 / 4))
    assert (got.n, got.trainings, got.span) == (10, 1, 3)
    assert got.low < got.effect < got.high


def test_balance_over_trainings_pairs_them_by_seed():
    before = pd.concat([answered("10", "0001", "00", s) for s in (0, 1)])
    after = pd.concat([answered("11", "0111", "00", s) for s in (1, 0, 2)])
    got = frontier.balance(before, after)
    assert (got.trainings, got.n) == (2, 8)
    assert got.effect == pytest.approx(1 / 2 + 2 / 4)
    back = frontier.balance(after, before)
    assert (back.effect, back.low, back.p) == pytest.approx((-got.effect, -got.high, got.p))


def test_balance_names_what_is_wrong():
    whole = answered("10", "10", "10")
    with pytest.raises(UserError, match="lacks the columns label, truncated"):
        frontier.balance(whole, whole.drop(columns=["label", "truncated"]))
    with pytest.raises(UserError, match="no rows for over_refusal_rate"):
        frontier.balance(whole, whole[whole["kind"] != "benign"])
    with pytest.raises(UserError, match="share no prompt id"):
        frontier.balance(whole, whole.assign(id="x" + whole["id"]))
    with pytest.raises(UserError, match="share no training seed"):
        frontier.balance(whole, whole.assign(seed=1))


def test_import_is_light():
    code = "import sys, srlib.analysis.frontier as _; "
    code += "print({'matplotlib', 'scipy', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
