"""contrasts: paired differences against published numbers; p and interval agree; coverage."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multinomial, norm

from srlib import metrics
from srlib.base import contrasts
from srlib.base.contrasts import Contrast
from srlib.errors import UserError


def sides(both, lost, gained, neither):
    before = [True] * (both + lost) + [False] * (gained + neither)
    after = [True] * both + [False] * lost + [True] * gained + [False] * neither
    return pd.Series(before), pd.Series(after)


def counts(gained, lost, n, level=0.05):
    return contrasts.paired(*sides(0, lost, gained, n - gained - lost), level=level)


# --- the interval ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gained", "lost", "n", "level", "low", "high"),
    [
        # Bentur et al. (2009) and Cavo et al. (2012), the examples of Fagerland, Lydersen & Laake;
        # limits by their R package contingencytables, and R's ratesci for the former
        (1, 7, 21, 0.05, -0.517, -0.026),
        (6, 16, 161, 0.05, -0.1240, -0.0054),
        (28, 25, 618, 0.10, -0.0148, 0.0247),  # R: PropCIs::scoreci.mp(25, 28, 618, 0.90)
    ],
)
def test_the_score_interval_is_the_published_one(gained, lost, n, level, low, high):
    got = contrasts.score_interval(gained, lost, n, level)
    assert got == pytest.approx((low, high), abs=5e-4)
    assert contrasts.score_interval(lost, gained, n, level) == pytest.approx((-got[1], -got[0]))


@pytest.mark.parametrize(("gained", "lost", "n"), [(1, 7, 21), (26, 4, 48), (5, 0, 30), (0, 0, 24)])
@pytest.mark.parametrize("level", [0.05, 0.0033])
def test_at_the_ends_of_the_score_interval_the_score_test_is_at_its_level(gained, lost, n, level):
    def score(difference):  # the restricted maximum of the likelihood, looked for on a grid
        losses = np.linspace(max(0, -difference), (1 - difference) / 2, 100_001)[1:-1]
        chances = np.stack([losses + difference, losses, 1 - 2 * losses - difference])
        seen = np.array([gained, lost, n - gained - lost])
        best = losses[np.argmax(seen @ np.log(chances))]
        return (gained - lost - n * difference) / math.sqrt(
            n * (2 * best + difference * (1 - difference))
        )

    ends = contrasts.score_interval(gained, lost, n, level)
    z = norm.isf(level / 2)
    assert [score(end) for end in ends] == pytest.approx([z, -z], abs=1e-3)


def test_zero_is_in_the_interval_exactly_where_the_exact_test_does_not_reject_it():
    for level in (0.05, 0.0125, 0.0033, 0.00051):  # at the last, the exact test is the sharper one
        for changed in [*range(0, 26), 60]:
            for gained in range(changed + 1):
                got = counts(gained, changed - gained, 64, level)
                assert (got.low > 0 or got.high < 0) == (got.p < level), (gained, changed, level)
                assert -1 <= got.low <= got.effect <= got.high <= 1


def test_the_interval_covers_what_it_should():
    # exactly, over all tables of 24 prompts: how often the true difference is inside
    n = 24
    tables = [(gained, lost) for gained in range(n + 1) for lost in range(n + 1 - gained)]
    cells = np.array([[gained, lost, n - gained - lost] for gained, lost in tables])
    for level, worst, mean in ((0.05, 0.94, 0.95), (0.01, 0.97, 0.99)):
        found = [counts(gained, lost, n, level) for gained, lost in tables]
        low, high = np.array([[c.low, c.high] for c in found]).T
        covered = []
        for changed in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95):
            for share in (-1, -0.5, 0, 0.3, 0.6, 0.9):
                true = changed * share
                chances = [(changed + true) / 2, (changed - true) / 2, 1 - changed]
                inside = (low <= true) & (true <= high)
                covered.append(multinomial.pmf(cells, n, chances)[inside].sum())
        assert min(covered) > worst
        assert np.mean(covered) >= mean


# --- paired ---------------------------------------------------------------------------------------


def test_paired_has_the_exact_mcnemar_p():
    # 1 against 7 of 8 discordant pairs: 2 (1 + 8) / 2^8; Bentur et al., as above
    got = contrasts.paired(*sides(both=1, lost=7, gained=1, neither=12))
    assert got.p == pytest.approx(18 / 256)
    assert (got.n, got.trainings, got.discordant) == (21, 1, 8)
    assert got.effect == pytest.approx(-6 / 21)
    assert (got.before_rate, got.after_rate) == pytest.approx((8 / 21, 2 / 21))
    assert got.low == pytest.approx(-0.517, abs=5e-4) and got.high == 0.0  # not rejected


def test_the_standard_error_is_the_one_of_bonett_and_price():
    # statpsych (Bonett), ci.prop.ps(.05, 12, 4, 26, 6): LL 0.2548067, UL 0.6251933
    got = contrasts.paired(*sides(both=6, lost=4, gained=26, neither=12))
    assert 2 * norm.isf(0.025) * got.se == pytest.approx(0.6251933 - 0.2548067, abs=1e-6)


def test_paired_without_a_difference_proves_little():
    got = contrasts.paired(*sides(both=5, lost=0, gained=0, neither=5))
    assert (got.effect, got.p) == (0, 1)
    assert got.low < -0.2 and got.high > 0.2


def test_paired_turns_round_and_stays_in_range():
    before, after = sides(both=0, lost=0, gained=3, neither=0)
    one, other = contrasts.paired(before, after), contrasts.paired(after, before)
    assert (one.effect, one.low, one.high) == pytest.approx((1, -other.high, -other.low))
    assert one.p == other.p
    assert -1 <= one.low <= one.high <= 1


def test_paired_joins_on_the_id_and_not_on_the_place():
    before = pd.Series([True, False, True], index=["a", "b", "x"])
    after = pd.Series([False, True, True], index=["b", "a", "y"])
    got = contrasts.paired(before, after)
    assert (got.n, got.effect) == (2, 0)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (pd.Series([True], ["a"]), pd.Series([True], ["b"]), "share no prompt id"),
        (pd.Series([True, True], ["a", "a"]), pd.Series([True], ["a"]), "an id comes twice"),
        (pd.Series([True], ["a"]), pd.Series([None], ["a"]), "after has missing values"),
        (pd.Series([3], ["a"]), pd.Series([True], ["a"]), "before holds '3'"),
    ],
)
def test_paired_names_what_is_wrong(before, after, words):
    with pytest.raises(UserError, match=words):
        contrasts.paired(before, after)


def test_another_level_changes_the_interval_alone():
    got = counts(20, 4, 48)
    wide = got.at(0.001)
    assert wide.low < got.low < got.high < wide.high and wide.level == 0.001
    assert (wide.effect, wide.p, wide.se) == (got.effect, got.p, got.se)
    assert wide.at(0.05) == got
    assert math.isnan(contrasts.NOT_MEASURED.at(0.01).low)


# --- paired_means ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("both", "lost", "gained", "neither"),
    [(6, 4, 26, 12), (1, 7, 1, 12), (5, 0, 0, 5), (0, 0, 3, 0), (3, 1, 4, 2), (0, 9, 0, 40)],
)
def test_paired_means_of_one_arm_a_side_has_the_effect_and_error_of_paired(
    both, lost, gained, neither
):
    before, after = sides(both, lost, gained, neither)
    one, other = contrasts.paired(before, after), contrasts.paired_means(before, after)
    assert (other.n, other.effect, other.se) == pytest.approx((one.n, one.effect, one.se))
    assert (other.before_rate, other.after_rate) == (one.before_rate, one.after_rate)
    assert other.discordant is None


def test_paired_means_by_hand():
    before = pd.Series([True, False, False, False, True], list("aabbx"))
    after = pd.Series([True, True, True, False, True, True], list("aabbcb"))
    got = contrasts.paired_means(before, after)  # a: 1/2 to 1, b: 0 to 2/3
    assert (got.n, got.before_rate, got.after_rate) == (2, 0.25, pytest.approx(5 / 6))
    assert got.effect == pytest.approx(7 / 12)
    middle = (1 / 2 + 2 / 3) / 4  # +1 and -1 added
    error = math.sqrt(((1 / 2) ** 2 + (2 / 3) ** 2 + 2) / 4 - middle**2) / math.sqrt(4)
    assert got.se == pytest.approx(error)
    assert (got.low, got.high) == (-1, 1)  # t with one degree of freedom, cut
    assert got.p == pytest.approx(1 - 2 / math.pi * math.atan(7 / 12 / error))  # Cauchy
    assert contrasts.paired_means(after, before).effect == pytest.approx(-7 / 12)


def test_the_interval_of_means_leaves_out_zero_exactly_where_p_is_below_the_level():
    draw = np.random.default_rng(0)
    for _ in range(200):
        before, after = (
            pd.Series(draw.random(24) < p, [*range(12)] * 2) for p in (0.4, draw.uniform(0.3, 1))
        )
        got = contrasts.paired_means(before, after)
        for level in (0.05, 0.01):
            at = got.at(level)
            assert (at.low > 0 or at.high < 0) == (got.p < level)


def test_more_seeds_of_the_same_answers_are_no_more_prompts():
    before, after = sides(both=6, lost=4, gained=16, neither=12)
    thrice = contrasts.paired_means(pd.concat([before] * 3), pd.concat([after] * 3))
    assert thrice == contrasts.paired_means(before, after)
    assert contrasts.compare(pd.concat([before] * 3), pd.concat([after] * 3)) == thrice
    assert contrasts.compare(before, after) == contrasts.paired(before, after)


def test_paired_means_tells_prompts_apart_by_the_whole_index():
    ids = pd.MultiIndex.from_product([["harmful", "reasoning"], list("abc")])
    before, after = pd.Series([True] * 2 + [False] * 4, ids), pd.Series([True] * 6, ids)
    assert contrasts.paired_means(before, after).n == 6


def test_paired_means_without_a_shared_prompt():
    with pytest.raises(UserError, match="the two groups share no prompt id"):
        contrasts.paired_means(pd.Series([True, True], ["a", "a"]), pd.Series([True], ["b"]))


def test_the_public_face_has_the_comparisons():
    assert metrics.paired is contrasts.paired and metrics.Contrast is Contrast
    assert metrics.compare is contrasts.compare
