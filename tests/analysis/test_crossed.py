"""crossed: prompts × trainings by simulation and by hand; copies of a prompt; planning."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import t

from srlib.analysis import crossed
from srlib.base import contrasts
from srlib.errors import UserError

PROMPTS, RUNS = 48, 12_000


def drawn(trainings, shift, prompts=PROMPTS, runs=RUNS, seed=0):
    """Differences of answers, runs × trainings × prompts: random prompts (1.5 logits) and trainings
    (0.5 logits, drawn apart for the two conditions), the second condition `shift` logits above."""
    draw = np.random.default_rng([seed, trainings, prompts])
    prompt = draw.normal(0, crossed.SPREAD[0], (runs, 1, prompts))
    before, after = draw.normal(0, crossed.SPREAD[1], (2, runs, trainings, 1))
    answers = draw.random((2, runs, trainings, prompts))
    first, second = answers[0] < expit(prompt + before), answers[1] < expit(prompt + shift + after)
    return second.astype(float) - first


def p_crossed(differences):
    effect, se, df = crossed.two_way([differences])
    return 2 * t.sf(np.abs(effect) / se, df)


def p_naive(differences):
    """Seeds averaged within a prompt, then a t test over prompts."""
    means = differences.mean(axis=1)
    error = means.std(axis=1, ddof=1) / np.sqrt(means.shape[1])
    return 2 * t.sf(np.abs(means.mean(axis=1)) / error, means.shape[1] - 1)


@pytest.mark.parametrize("trainings", [3, 5, 8])
def test_a_true_null_is_rejected_as_often_as_it_may_be(trainings):
    null = drawn(trainings, 0)
    assert 0.02 < (p_crossed(null) < 0.05).mean() < 0.05
    assert (p_crossed(null) < 0.01).mean() < 0.015
    assert 0.19 < (p_naive(null) < 0.05).mean() < 0.5  # this is what must not be done


@pytest.mark.parametrize(("trainings", "power"), [(3, 0.2), (5, 0.5), (8, 0.79)])
def test_power_for_a_shift_of_one_logit(trainings, power):
    found = (p_crossed(drawn(trainings, 1)) < 0.05).mean()
    assert found == pytest.approx(power, abs=0.04)
    rate = float(expit(1 + np.add.outer(*normal_grid())).mean())
    planned = crossed.power([PROMPTS], trainings, [(0.5, rate)], smallest=0)
    assert planned == pytest.approx(found, abs=0.05)


def normal_grid():
    from scipy.stats import norm

    deviates = norm.ppf((np.arange(199) + 0.5) / 199)
    return crossed.SPREAD[0] * deviates, crossed.SPREAD[1] * deviates


def test_trainings_that_do_not_differ_are_no_licence_to_reject():
    draw = np.random.default_rng(1)
    prompt = draw.normal(0, 1.5, (RUNS, 1, PROMPTS))
    answers = draw.random((2, RUNS, 5, PROMPTS)) < expit(prompt)
    assert (p_crossed(answers[1].astype(float) - answers[0]) < 0.05).mean() < 0.05


# --- the two-way test by hand ---------------------------------------------------------------------


def test_two_way_by_hand():
    # means: trainings 1, 0.5, 0; prompts 1/3, 2/3; whole 1/2
    differences = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    of_trainings = 2 * np.var([1, 0.5, 0], ddof=1)
    of_prompts = 3 * np.var([1 / 3, 2 / 3], ddof=1)
    rest = (((differences - 0.5) ** 2).sum() - 2 * of_trainings - of_prompts) / 2
    whole = of_trainings + of_prompts - rest
    df = whole**2 / (of_trainings**2 / 2 + of_prompts**2 / 1 + rest**2 / 2)
    effect, se, found = crossed.two_way([differences])
    assert effect == 0.5
    least = 2 / (2 + 2) ** 2  # the variance of two prompts that agree, one gain and one loss added
    assert se**2 == pytest.approx(max(whole / 6, least))
    assert found == pytest.approx(max(df, 2))


def test_mean_squares_are_those_of_an_analysis_of_variance():
    import statsmodels.api as sm
    from statsmodels.formula.api import ols

    differences = drawn(5, 1, runs=1)[0]
    table = pd.DataFrame(differences).melt(ignore_index=False).reset_index()
    table.columns = ["training", "prompt", "difference"]
    fit = ols("difference ~ C(training) + C(prompt)", table).fit()
    squares = sm.stats.anova_lm(fit)
    squares = squares["sum_sq"] / squares["df"]
    whole = squares["C(training)"] + squares["C(prompt)"] - squares["Residual"]
    df = whole**2 / (
        squares["C(training)"] ** 2 / 4
        + squares["C(prompt)"] ** 2 / 47
        + squares["Residual"] ** 2 / 188
    )
    _, se, found = crossed.two_way([differences])
    assert (se**2, found) == pytest.approx((whole / differences.size, df))


def test_answers_that_all_agree_leave_an_error():
    for value in (-1.0, 0.0):
        effect, se, df = crossed.two_way([np.full((5, 48), value)])
        assert (effect, se, df) == pytest.approx((value, np.sqrt(2) / 50, 4))


def test_a_sum_of_parts_adds_up_its_variances():
    one, two = (drawn(5, shift, prompts, 1)[0] for shift, prompts in ((1, 300), (0, 200)))
    effect, se, _ = crossed.two_way([one, two])
    assert effect == pytest.approx(one.mean() + two.mean())
    totals = (one.mean(axis=1) + two.mean(axis=1)).var(ddof=1) / 5
    alone = [
        crossed.two_way([part])[1] ** 2 - part.mean(axis=1).var(ddof=1) / 5 for part in (one, two)
    ]
    assert se**2 == pytest.approx(totals + sum(alone))


# --- compare --------------------------------------------------------------------------------------


def side(**words):
    """Answers by seed: side(s0="110", s3="100"), a digit a prompt."""
    cells = {
        (int(seed[1:]), f"p{i}"): digit == "1"
        for seed, digits in words.items()
        for i, digit in enumerate(digits)
    }
    return pd.Series(cells).rename_axis(["seed", "prompt"])


def test_trainings_are_paired_by_their_seed():
    before = side(s0="1111", s1="1110", s7="0000")
    after = side(s1="1000", s0="1100", s5="1111")
    got = crossed.compare(before, after)
    assert (got.trainings, got.n) == (2, 4)
    assert (got.before_rate, got.after_rate) == (7 / 8, 3 / 8)
    assert got.effect == pytest.approx(-1 / 2)
    other = crossed.compare(after, before)
    assert (other.effect, other.low, other.p) == pytest.approx((-got.effect, -got.high, got.p))


def test_interval_and_p_agree_at_every_level():
    for seed in range(40):
        differences = drawn(5, 1, runs=1, seed=seed)[0]
        cells = pd.DataFrame(differences).stack()
        got = crossed.compare(0 * cells, cells)
        for level in (0.05, 0.01, 0.0033):
            at = got.at(level)
            assert (at.low > 0 or at.high < 0) == (got.p < level)


def test_one_training_is_the_exact_test_and_a_fixed_base_stands_for_all():
    before, after = side(s0="111111"), side(s0="100000")
    one = crossed.compare(before, after)
    assert one == contrasts.paired(before.droplevel(0), after.droplevel(0))
    assert (one.trainings, one.p) == (1, 2 / 2**5)
    fixed = before.rename({0: crossed.FIXED}, level=0)
    three = crossed.compare(fixed, side(s0="100000", s1="110000", s4="000000"))
    assert (three.trainings, three.before_rate, three.after_rate) == (3, 1, pytest.approx(1 / 6))
    with pytest.raises(UserError, match="share no training seed"):
        crossed.compare(before, side(s1="100000"))
    with pytest.raises(UserError, match="share no prompt id"):
        crossed.compare(before, after.rename(lambda name: f"other {name}", level=1))


def test_a_prompt_that_a_training_was_not_asked_is_left_out():
    after = side(s0="1111", s1="1010").drop((1, "p3"))
    got = crossed.compare(side(s0="0000", s1="0000"), after)
    assert (got.n, got.trainings) == (3, 2)


def rows(prompts, **more):
    ids = [str(i) for i in range(len(prompts))]
    return pd.DataFrame({"arm": "a", "id": ids, "prompt": prompts} | more)


def test_copies_of_a_prompt_count_once():
    plain = rows(["How to pick a lock?", "Who was Ada?"])
    copied = rows(["How to pick a lock?", "Who was Ada?", "how to pick a  LOCK", "Who was Ada"])
    assert len(crossed.units(copied).unique()) == 2
    few = [pd.Series(answers, crossed.units(plain)) for answers in ([True, True], [False, True])]
    many = [
        pd.Series(answers, crossed.units(copied))
        for answers in ([True] * 4, [False, True, False, True])
    ]
    assert crossed.compare(*many) == crossed.compare(*few)
    unequal = pd.Series([False, True, True, True], crossed.units(copied))  # copies that differ
    assert crossed.compare(many[0], unequal).effect == pytest.approx(-1 / 4)


def test_seeds_and_ids_stand_in_where_the_table_says_no_more():
    table = rows(["", "", None])
    assert crossed.units(table).tolist() == [(0, "0"), (0, "1"), (0, "2")]
    seeded = crossed.units(table.assign(seed=[3, 3, 4], family="long CoT"))
    assert seeded.get_level_values("seed").tolist() == [3, 3, 4]
    base = crossed.units(table.assign(seed=0, family="base"))
    assert set(base.get_level_values("seed")) == {crossed.FIXED}
    lines = crossed.units(table.assign(seed=[0, 1, 2], family="base"))  # trained anew each time
    assert lines.get_level_values("seed").tolist() == [0, 1, 2]


def test_a_sum_of_rates_by_hand():
    harm = side(s0="0011", s1="0111"), side(s0="1111", s1="1111")
    over = side(s0="00", s1="00"), side(s0="10", s1="10")
    got = crossed.compare_sum([harm, over], [1, -1])
    assert got.effect == pytest.approx(3 / 8 - 1 / 2) and (got.n, got.trainings) == (6, 2)
    assert (got.before_rate, got.after_rate) == pytest.approx((5 / 8, 1 - 1 / 2))
    assert got.span == 2 and got.discordant is None
    alone = crossed.compare_sum([tuple(s.loc[[0]] for s in pair) for pair in (harm, over)], [1, -1])
    assert alone.trainings == 1 and alone.effect == pytest.approx(1 / 2 - 1 / 2)
    parts = [np.array([1.0, 1, 0, 0]), np.array([-1.0, 0])]
    assert alone.se == pytest.approx(np.hypot(*map(contrasts.padded_error, parts)))


# --- planning -------------------------------------------------------------------------------------


def test_power_grows_with_prompts_trainings_and_the_change():
    def power(n=48, s=5, after=0.6, level=0.05):
        return crossed.power([n], s, [(0.9, after)], 0.05, level)

    assert power(24) < power(48) < power(96) and power(s=5) < power(s=8)
    assert power(after=0.7) < power(after=0.6) and power(level=0.01) < power(level=0.05)
    assert crossed.power([48], 5, [(0.6, 0.9)], 0.05) == pytest.approx(
        crossed.power([48], 5, [(0.4, 0.1)], 0.05), abs=1e-6
    )


def test_power_on_one_model_is_that_of_simulated_answers():
    draw = np.random.default_rng(2)
    prompt = draw.normal(0, crossed.SPREAD[0], (600, 60))
    answers = draw.random((2, 600, 60))
    before, after = answers[0] < expit(prompt + 1.0), answers[1] < expit(prompt - 0.5)
    low = [
        contrasts.paired(pd.Series(a), pd.Series(b), level=0.02).low
        for a, b in zip(after, before, strict=True)
    ]
    rates = [
        (float(expit(1 + normal_grid()[0]).mean()), float(expit(normal_grid()[0] - 0.5).mean()))
    ]
    planned = crossed.power([60], 0, rates, 0.05, 0.02)
    assert planned == pytest.approx(np.mean(np.array(low) > 0.05), abs=0.07)


def test_power_to_find_no_effect():
    few, many = (crossed.power([n], 0, [(0.5, 0.4)], 0.05, planned=False) for n in (48, 4000))
    assert few == 0 and many > 0.95
    assert crossed.power([10_000], 5, [(0.5, 0.4)], 0.05, planned=False) < 0.1  # trainings differ


def test_what_is_needed_gives_the_power_and_less_does_not():
    rates = [(0.5, 0.33)]
    n = crossed.needed(0, rates, 0.05, 0.02)
    assert n % 10 == 0
    assert crossed.power([n], 0, rates, 0.05, 0.02) >= crossed.ENOUGH
    assert crossed.power([n - 10], 0, rates, 0.05, 0.02) < crossed.ENOUGH
    assert crossed.needed(5, [(0.5, 0.52)], 0.05, 0.02) is None  # smaller than what counts


def test_hopeless_says_what_could_decide():
    def said(n, trainings, *measures, level=0.0125):
        return crossed.hopeless("C5", "questions", [n], trainings, measures, 0.05, level)

    n = crossed.needed(0, [(0.5, 0.33)], 0.05, 0.0125)
    few = said(24, None, [(0.5, 0.33)])
    assert few == f"C5 cannot be decided with these numbers; {n} questions could"
    assert said(n, None, [(0.5, 0.33)]) == ""
    one = said(64, 1, [(0.9, 0.4)])
    assert one == "C5 cannot be decided with these numbers; 5 trainings of each condition could"
    assert said(64, 5, [(0.9, 0.4)]) == ""
    both = said(64, 5, [(0.9, 0.4)], [(0.4, 0.55)])  # the weaker measure decides
    assert "trainings of each condition could" in both
    assert said(12, 1, [(0.5, 0.2)]).endswith("trainings of each condition could")
    assert said(4000, None, [(0.5, 0.5)]) == ""  # no effect would be seen
    assert said(24, None, [(0.5, 0.53)]).endswith("no number of them could")
