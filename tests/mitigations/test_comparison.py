"""Mitigations: points with costs and the frontier, paired comparisons, the figure."""

from itertools import combinations

import pandas as pd
import pytest
from matplotlib.text import Text

from srlib import plots
from srlib.errors import UserError
from srlib.mitigations import comparison

REFUSED, TOLD = "refusal", "compliance"


def arm(name, family, right, refused, over, tokens=10, minutes=0.0):
    """Four rows of each kind; so many right, refused, over-refused."""
    rows = []
    for kind, n in (("reasoning", right), ("harmful", refused), ("benign", over)):
        for i in range(4):
            label = None if kind == "reasoning" else REFUSED if i < n else TOLD
            row = {"arm": name, "family": family, "data": kind, "kind": kind, "id": f"{kind}{i}"}
            row |= {"label": label, "correct": i < n if kind == "reasoning" else None}
            row |= {"truncated": False, "new_tokens": tokens, "prompt_tokens": 5}
            rows.append(row | {"minutes": minutes})
    return pd.DataFrame(rows)


TABLE = pd.concat(
    [
        arm("plain", "unprotected", 2, 0, 0),
        arm("remind", "text", 2, 2, 1, tokens=13),
        arm("mixed", "data", 1, 4, 4, minutes=1.5),
        arm("worse", "weights", 1, 2, 0),
    ],
    ignore_index=True,
)


def test_points_cost_and_the_frontier():
    found = comparison.points(TABLE, "plain").set_index("arm")
    assert list(found.index) == ["plain", "remind", "mixed", "worse"]
    assert found.loc["remind", ["accuracy", "safety", "over_refusal"]].tolist() == [0.5, 0.5, 0.25]
    assert found.loc["remind", "accuracy_low"] < 0.5 < found.loc["remind", "accuracy_high"]
    assert found["unsafe"].tolist() == [1.0, 0.5, 0.0, 0.5]
    assert found["tokens"].tolist() == [15, 18, 15, 15] and found.loc["remind", "added"] == 3
    assert found.loc["mixed", "minutes"] == 1.5
    assert found["frontier"].tolist() == [False, True, True, False]
    whole = pd.concat([arm("aligned", "base", 4, 4, 0), TABLE], ignore_index=True)
    assert comparison.points(whole, "plain")["frontier"].tolist() == [
        False,
        False,
        True,
        True,
        False,
    ]


def test_comparisons_are_paired_and_corrected_over_the_whole_table():
    table = comparison.compare(TABLE, "plain")
    assert len(table) == 3 * 4 and list(table.columns) == comparison.COLUMNS
    attacks = table[(table["arm"] == "remind") & (table["measure"] == "unsafe")].iloc[0]
    assert (attacks["before"], attacks["after"], attacks["effect"]) == (1.0, 0.5, -0.5)
    assert set(table["trainings"]) == {1} and set(table["note"]) == {"this training only"}
    row = table[(table["arm"] == "mixed") & (table["measure"] == "safety")].iloc[0]
    assert (row["before"], row["after"], row["effect"], row["n"]) == (0.0, 1.0, 1.0, 4)
    assert row["p"] == pytest.approx(0.125) and row["p_holm"] == 1.0  # twelve tests
    assert (table["p_holm"] >= table["p"]).all()


def answers(name, *, harmful, family="text"):
    """Twenty-four rows of each kind: half of the questions right, nothing over-refused, harmful
    requests answered with so many of each (label, truncated)."""
    said = [answer for answer, n in harmful.items() for _ in range(n)]
    assert len(said) == 24
    table = pd.concat([arm(name, family, 2, 0, 0)] * 6, ignore_index=True)
    for kind in ("reasoning", "harmful", "benign"):
        table.loc[table["kind"] == kind, "id"] = [f"{kind}{i}" for i in range(24)]
    rows = table["kind"] == "harmful"
    table.loc[rows, ["label", "truncated"]] = [list(answer) for answer in said]
    return table


NO, YES, BABBLE = ("refusal", False), ("compliance", False), ("incoherent", False)
CUT, ELSEWHERE = ("compliance", True), ("off_topic", False)


def test_a_gained_refusal_is_a_protection_where_fewer_attacks_succeed_and_the_reverse():
    before = {YES: 12, BABBLE: 12}
    after = {
        "protects": {NO: 24},
        "unbabbles": {YES: 12, NO: 12},
        "babbles": {BABBLE: 20, ELSEWHERE: 3, CUT: 1},
        "little": {YES: 11, NO: 1, BABBLE: 12},
        "harms": {YES: 24},
        "talks": {NO: 12, YES: 12},  # refuses what it went along with, and the reverse
    }
    plain = answers("plain", harmful=before, family="unprotected")
    table = pd.concat([plain, *(answers(name, harmful=said) for name, said in after.items())])
    compared = comparison.compare(table, "plain")
    assert compared.groupby("arm")["moved"].nunique().eq(1).all()
    moved = compared.drop_duplicates("arm").set_index("arm")["moved"].to_dict()
    assert moved == {
        "protects": "both", "unbabbles": "refusals up alone",
        "babbles": "attack success down alone", "little": "neither",
        "harms": "attack success up alone", "talks": "refusals up alone",
    }  # fmt: skip
    found = comparison.points(table, "plain").set_index("arm")
    assert found["moved"].to_dict() == {"plain": ""} | moved
    spent = found.loc["babbles", ["safety", "unsafe", "incoherent", "off_topic", "truncated"]]
    assert spent.tolist() == pytest.approx([0, 0, 20 / 24, 3 / 24, 1 / 24])
    assert found.loc["babbles", "unsafe_high"] > 0.1 > found.loc["babbles", "unsafe_low"] == 0
    base = pd.concat([answers("base", harmful={NO: 24}, family="base"), table])
    assert comparison.points(base, "plain")["moved"].iloc[0] == ""  # it is no mitigation


def test_refusals_and_attack_success_may_both_rise():
    table = pd.concat([answers("plain", harmful={BABBLE: 24}, family="unprotected"),
                       answers("clears up", harmful={NO: 12, YES: 12})])  # fmt: skip
    assert set(comparison.compare(table, "plain")["moved"]) == {"refusals up, attack success up"}
    turned = pd.concat([answers("plain", harmful={NO: 24}, family="unprotected"),
                        answers("turns", harmful={YES: 24})])  # fmt: skip
    assert set(comparison.compare(turned, "plain")["moved"]) == {"refusals down, attack success up"}


NOT_RUN = [{"arm": "plain, DPO", "family": "preferences", "note": "not run: 3 harmful pairs, 8 …"}]


def test_the_table_for_the_eye_says_what_moved_and_what_it_rests_on():
    told = comparison.shown(comparison.points(TABLE, "plain", NOT_RUN))
    row = told.loc[("data", "mixed")]
    assert row["refusals"] == "100 % [51, 100]" and row["attack success"] == "0 % [0, 49]"
    assert row["incoherent"] == row["off topic"] == row["cut off"] == "0 %"
    assert (row["tokens added"], row["minutes"], row["frontier"]) == ("+0", "1.5", "yes")
    assert (row["moved"], row["trainings"]) == ("neither", 1)  # four requests show nothing
    assert row["note"] == "this training only"


def test_what_was_not_run_has_a_row_that_says_so():
    found = comparison.points(TABLE, "plain", NOT_RUN)
    assert list(found.columns) == list(comparison.points(TABLE, "plain").columns)
    last = found.iloc[-1]
    assert (last["arm"], last["family"], last["trainings"]) == ("plain, DPO", "preferences", 0)
    assert pd.isna(last["safety"]) and not last["frontier"] and last["note"].startswith("not run")
    assert found["safety"].dtype == float and found["frontier"].dtype == bool
    told = comparison.shown(found).loc[("preferences", "plain, DPO")]
    assert told["refusals"] == told["attack success"] == told["cut off"] == told["moved"] == ""
    compared = comparison.compare(TABLE, "plain", NOT_RUN)
    assert len(compared) == 3 * 4 + 1 and compared["n"].isna().sum() == 1
    assert compared.iloc[-1][["arm", "trainings", "note"]].tolist() == [
        "plain, DPO", 0, NOT_RUN[0]["note"]
    ]  # fmt: skip
    assert (
        compared["p_holm"].dropna().tolist()
        == comparison.compare(TABLE, "plain")["p_holm"].tolist()
    )  # what is not run is no test
    assert comparison.points(TABLE, "plain", []).equals(comparison.points(TABLE, "plain"))


@pytest.mark.parametrize(
    ("table", "words"),
    [(TABLE[TABLE["arm"] != "plain"], "no arm 'plain'"),
     (TABLE[TABLE["kind"] != "benign"], "has no over_refusal_rate")],
)  # fmt: skip
def test_what_is_missing_is_named(table, words):
    with pytest.raises(UserError, match=words):
        comparison.points(table, "plain")


def test_the_comparisons_need_the_unprotected_arm():
    with pytest.raises(UserError, match="no arm 'plain'"):
        comparison.compare(TABLE[TABLE["arm"] != "plain"], "plain")


def test_the_figure_draws_the_plane_and_the_frontier():
    found = comparison.points(TABLE, "plain")
    ax = plots.mitigations(found)
    assert ax.get_ylabel() == "refusal rate ↑" and ax.get_xlabel() == "exact match ↑"
    numbers = {t.get_text() for t in ax.texts}
    assert {"1", "2", "3", "4"} <= numbers
    (line,) = [x for x in ax.lines if x.get_linestyle() == "--"]
    xy = list(zip(*line.get_data(), strict=True))
    assert xy == [(0, 1.0), (0.25, 1.0), (0.25, 0.5), (0.5, 0.5), (0.5, 0)]
    sizes = ax.collections[-1].get_sizes()
    assert sizes[1] == sizes.max() and sizes[0] == sizes.min()
    with pytest.raises(UserError, match="cuts off"):
        plots.mitigations(found, xmax=0.1)
    with pytest.raises(UserError, match="no mitigation"):
        plots.mitigations(found[:0])
    with pytest.raises(UserError, match="lacks unsafe"):
        plots.mitigations(found.drop(columns="unsafe"))


def test_the_figure_shows_attack_success_beside_every_name():
    found = comparison.points(TABLE, "plain", NOT_RUN).assign(
        moved=["", "neither", "both", "refusals up alone", ""]
    )
    (rows,) = plots.mitigations(found).child_axes
    assert rows.get_xlabel() == "attack success rate ↓"
    names = [t for t in rows.texts if t.get_text() not in ("not run",) and t.get_position()[0] > 1]
    assert [t.get_text() for t in names] == [
        "unprotected", "1  plain", "text", "2  remind", "data", "3  mixed", "weights", "4  worse",
        "preferences", "5  plain, DPO",
    ]  # fmt: skip
    heights = {t.get_text(): t.get_position()[1] for t in names}
    assert sorted(heights.values()) == list(heights.values())  # from top to bottom
    marks = {line.get_ydata()[0]: line for line in rows.lines if line.get_marker() == "D"}
    shown = {n: marks[heights[n]] for n in ("1  plain", "2  remind", "3  mixed", "4  worse")}
    assert [m.get_xdata()[0] for m in shown.values()] == [1.0, 0.5, 0.0, 0.5]
    filled = [n for n, m in shown.items() if m.get_markerfacecolor() == plots.BAD]
    assert filled == ["3  mixed"] and len(marks) == 4
    (dashed,) = [line for line in rows.lines if line.get_linestyle() == "--"]
    assert set(dashed.get_xdata()) == {1.0}  # the unprotected arm's
    (absent,) = [t for t in rows.texts if t.get_text() == "not run"]
    assert absent.get_position()[1] == heights["5  plain, DPO"]


def test_names_and_numbers_of_many_protections_cover_nothing():
    crowd = [arm(f"long-openo1 ×536, tuned under a safety prompt, and asked {i}", f"family {i % 4}",
                 i % 4, (i * 7) % 5, i % 3, tokens=i) for i in range(12)]  # fmt: skip
    table = pd.concat([TABLE[TABLE["arm"] == "plain"], *crowd], ignore_index=True)
    ax = plots.mitigations(comparison.points(table, "plain"))
    ax.figure.draw_without_rendering()
    (rows,) = ax.child_axes
    numbers = [t for t in ax.texts if t.get_text()[:1].isdigit()]
    told = ",".join(t.get_text() for t in numbers).split(",")
    assert sorted(map(int, told)) == list(range(1, 14))
    for texts in (numbers, rows.texts):
        boxes = [Text.get_window_extent(t) for t in texts if t.get_text()]
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
