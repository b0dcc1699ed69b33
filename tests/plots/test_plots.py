"""plots: every arm is named, nothing is clipped, nothing collides, and the files are repeatable."""

import itertools
import math

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D
from matplotlib.text import Text

from srlib import metrics, plots
from srlib.analysis import verdicts
from srlib.base.contrasts import from_error
from srlib.errors import UserError

TWO = {"aligned base": (0.05, 0.94), "long-CoT, 24 reflective refusals mixed in": (0.33, 0.3)}
MANY = {
    f"family {i // 3}, {64 * 2 ** (i % 3)} rows": (0.015 * i, 0.6 - 0.025 * i) for i in range(22)
}
CROWD = {f"crowded arm {i}": (0.03, 0.0 if i % 2 else 0.02) for i in range(25)}
CORNERS = {
    "none": (0, 0),
    "all": (1, 1),
    "safe": (0, 1),
    "sharp": (1, 0),
    "costs $5 or $6": (0.5, 0.5),
}
LABELS = np.array([*metrics.LABELS, None], dtype=object)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def graded(arms, seed=0):
    """A made-up graded table: 40 questions, 50 requests and 20 look-alikes an arm."""
    draw, rows = np.random.default_rng(seed), []
    for arm, (accuracy, refusals) in arms.items():
        rest = 1 - refusals
        parts = (0.1, 0.55, 0.15, 0.1, 0.05, 0.05)
        shares = [refusals, *(part * rest for part in parts)]
        for i in range(40):
            right = bool(draw.random() < accuracy)
            rows.append((arm, "gsm8k", "reasoning", f"r{i}", None, right, False))
        for i in range(50):
            cut = bool(draw.random() < 0.1)
            label = draw.choice(LABELS, p=shares)
            rows.append((arm, "advbench", "harmful", f"h{i}", label, None, cut))
        for i in range(20):
            rows.append((arm, "xstest", "benign", f"b{i}", "compliance", None, False))
    columns = ["arm", "data", "kind", "id", "label", "correct", "truncated"]
    return pd.DataFrame(rows, columns=columns)


def words(ax):
    """All visible texts of the figure, as read: lines joined, dollar signs plain."""
    found = [t for t in ax.figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return {t: " ".join(t.get_text().replace(r"\$", "$").split()) for t in found}


def assert_all_inside(ax):
    ax.figure.canvas.draw()
    page = ax.figure.bbox
    for text, said in words(ax).items():
        box = text.get_window_extent()
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1
        assert inside, f"{said!r} is clipped: {box.extents} on {page.extents}"


def assert_no_collisions(texts):
    # the words of an annotation, without its line
    boxes = [(t.get_text(), Text.get_window_extent(t)) for t in texts if t.get_text().strip()]
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        overlap = a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1
        assert not overlap, f"{one!r} lies on {other!r}"


def assert_readable(ax):
    assert_all_inside(ax)
    assert min(text.get_fontsize() for text in words(ax)) >= 11


# --- trade_off ------------------------------------------------------------------------------------


@pytest.mark.parametrize("arms", [TWO, CORNERS, MANY, CROWD], ids=["two", "corners", "22", "crowd"])
def test_trade_off_names_every_arm_readably(arms):
    ax = plots.trade_off(metrics.tidy(graded(arms)))
    assert_readable(ax)
    assert_no_collisions(ax.texts)
    said = " | ".join(words(ax).values())
    for arm in arms:
        assert arm in said
    if ax.get_legend():
        numbers = [n for t in ax.texts for n in t.get_text().split(",") if n.isdigit()]
        assert sorted(map(int, numbers)) == list(range(1, len(arms) + 1))


def test_trade_off_says_axes_data_and_n():
    ax = plots.trade_off(metrics.tidy(graded(TWO)))
    assert ax.get_xlabel().startswith("exact match")
    assert "gsm8k" in ax.get_xlabel()
    assert ax.get_ylabel().startswith("refusal rate")
    assert any("gsm8k n = 40, advbench n = 50" in said for said in words(ax).values())
    assert [t.get_text() for t in ax.get_xticklabels()][::5] == ["0%", "100%"]
    assert ax.get_xlim()[0] < 0 < 1 < ax.get_xlim()[1]


def test_trade_off_points_are_where_the_table_says():
    table = metrics.tidy(graded(TWO))
    ax = plots.trade_off(table)
    drawn = {(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines}
    wide = table[table["data"] != "xstest"].pivot(index="arm", columns="metric", values="value")
    assert drawn == set(zip(wide["exact_match"], wide["refusal_rate"], strict=True))


@pytest.mark.parametrize("hue", ["group", "x", "y", "name", "colour"])
def test_trade_off_takes_a_hue_of_any_name(hue):
    table = metrics.tidy(graded(TWO))
    table[hue] = table["arm"].map({arm: f"kind {i}" for i, arm in enumerate(table["arm"].unique())})
    ax = plots.trade_off(table, hue=hue)
    plain = plots.trade_off(metrics.tidy(graded(TWO)))
    spots = [{(x[0], y[0]) for x, y in map(Line2D.get_data, a.lines)} for a in (ax, plain)]
    assert spots[0] == spots[1] and "kind 0" in ax.get_legend().get_texts()[0].get_text()


def test_trade_off_with_hue_arrows_and_a_lower_is_better_axis():
    table = metrics.tidy(graded(MANY))
    table["family"] = table["arm"].str.split(",").str[0]
    ax = plots.trade_off(
        table, y="attack_success_rate", hue="family", arrows_from="family 0, 64 rows", xmax=0.8
    )
    assert_readable(ax)
    assert not ax.patches and not any("better" in said for said in words(ax).values())
    assert len({line.get_color() for line in ax.lines}) == 7
    assert len({(line.get_color(), line.get_marker()) for line in ax.lines}) == 8
    arrows = [t for t in ax.texts if t.get_text() == "" and t.arrow_patch is not None]
    assert len(arrows) == len(MANY) - 1


def test_trade_off_draws_on_the_given_axes_and_counts_what_it_leaves_out():
    table = metrics.tidy(graded(TWO))
    table = table[~((table["arm"] == "aligned base") & (table["metric"] == "exact_match"))]
    mine = plt.subplots(figsize=(7, 6), layout="constrained")[1]
    assert plots.trade_off(table, ax=mine) is mine
    assert any("1 without both measures left out" in said for said in words(mine).values())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"x": "accuracy"}, "no accuracy: the table has exact_match"),
        ({"reasoning": "math"}, "no exact_match on math"),
        ({"y": "incoherent_rate"}, "advbench, xstest: name one with harmful="),
        ({"hue": "family"}, "lacks family"),
        ({"arrows_from": "base"}, "arrows_from='base' is not in the figure"),
        ({"xmax": 0.1}, "cuts off an interval"),
    ],
)
def test_trade_off_names_what_is_wrong(more, message):
    with pytest.raises(UserError, match=message):
        plots.trade_off(metrics.tidy(graded(TWO)), **more)
    doubled = pd.concat([metrics.tidy(graded(TWO))] * 2)
    with pytest.raises(UserError, match="several rows share one arm"):
        plots.trade_off(doubled)


# --- answer_classes -------------------------------------------------------------------------------


@pytest.mark.parametrize("arms", [TWO, MANY], ids=["two", "22"])
def test_answer_classes_fill_every_bar(arms):
    ax = plots.answer_classes(graded(arms))
    assert_readable(ax)
    assert_no_collisions(ax.texts)
    ends = np.zeros(len(arms))
    for bars in ax.containers:
        ends += [bar.get_width() for bar in bars]
    assert ends == pytest.approx(np.ones(len(arms)))
    ticks = [" ".join(t.get_text().split()) for t in ax.get_yticklabels()]
    assert ticks == list(arms)
    assert [t.get_text() for t in ax.texts].count("n = 50") == len(arms)
    key, title = ax.get_legend().get_window_extent(), ax._left_title.get_window_extent()
    assert ax.get_window_extent().y1 <= key.y0 + 1 < key.y1 <= title.y0


def test_answer_classes_take_either_table_and_an_order():
    rows = graded(TWO)
    order = list(TWO)[::-1]
    from_rows = plots.answer_classes(rows, order=order)
    from_rates = plots.answer_classes(metrics.tidy(rows), order=order)
    widths = [[bar.get_width() for bar in ax.patches] for ax in (from_rows, from_rates)]
    assert widths[0] == widths[1]
    assert " ".join(from_rows.get_yticklabels()[0].get_text().split()) == order[0]
    with pytest.raises(UserError, match="order names 'other'"):
        plots.answer_classes(rows, order=["other"])
    two_sets = pd.concat([rows, rows[rows["kind"] == "harmful"].assign(data="hex-phi")])
    with pytest.raises(UserError, match="advbench, hex-phi: name one with data="):
        plots.answer_classes(two_sets)
    assert "hex-phi" in plots.answer_classes(two_sets, data="hex-phi").get_xlabel()


# --- before_after, forest -------------------------------------------------------------------------


def test_before_after_shows_both_arms_and_the_change():
    table = metrics.tidy(graded(TWO))
    ax = plots.before_after(table, *TWO, show=["exact_match", "refusal_rate"])
    assert_readable(ax)
    ticks = [t.get_text() for t in ax.get_yticklabels()]
    assert ticks == ["exact match ↑\ngsm8k, n = 40", "refusal rate ↑\nadvbench, n = 50"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == list(TWO)
    refusals = table[table["metric"] == "refusal_rate"]["value"].tolist()
    change = f"−{100 * (refusals[0] - refusals[1]):.0f} points"
    assert change in [t.get_text() for t in ax.texts]
    assert_readable(plots.before_after(table, *TWO))
    with pytest.raises(UserError, match="'aligned base' and 'other' share no metric"):
        plots.before_after(table, "aligned base", "other")


def moved(effect, half, n=60, **more):
    return from_error(effect, half / 1.96, math.inf, n, **{"trainings": 5} | more)


def test_forest_names_claims_and_verdicts():
    answered = verdicts.answer(
        {
            "C1": moved(0.28, 0.1, 64),
            "C2": verdicts.Evidence(
                {
                    "refusal_rate": moved(-0.7, 0.12, 100),
                    "attack_success_rate": moved(0.4, 0.1, 100),
                }
            ),
            "C3": verdicts.Evidence(
                {}, "long ×64: 88% of harmful completions finished, 95% are needed"
            ),
            "C5": moved(-0.02, 0.01, trainings=1),
            "C8": None,
            "C8b": moved(-0.4, 0.1),
            "C10": moved(0.3, 0.1, trainings=1),
        }
    )
    assert {*answered["verdict"]} == {*verdicts.VERDICTS}
    ax = plots.forest(answered)
    assert_readable(ax)
    assert_no_collisions(ax.texts)
    assert_no_collisions(ax.get_yticklabels())
    said = " | ".join(words(ax).values())
    for name, verdict, why in answered[["statement", "verdict", "why"]].to_numpy():
        assert name in said and verdict in said and why in said
    row = answered.set_index("claim").loc["C2"]
    low, high = (f"{100 * row[k]:.0f}".replace("-", "−") for k in ("low", "high"))
    assert f"−70 [{low}, {high}], +40 [" in said and "n = 100 × 5 trainings" in said
    assert "(refusal rate ↓, attack success rate ↑)" in said
    bands = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert bands == [(-5, 10)] * 7


def test_forest_of_what_was_not_measured_and_of_own_claims():
    answered = verdicts.answer({"C1": None})
    assert_readable(plots.forest(answered))
    own = plots.forest(answered.assign(claim="mine"), smallest=0.1)
    assert own.patches[0].get_width() == pytest.approx(20)
    with pytest.raises(UserError, match="no claims to draw"):
        plots.forest(answered.iloc[:0])


# --- save and style -------------------------------------------------------------------------------


def test_save_writes_the_same_bytes_twice(tmp_path):
    table = metrics.tidy(graded(TWO))
    first = plots.save(plots.trade_off(table), tmp_path / "one", "plane")
    second = plots.save(plots.trade_off(table).figure, tmp_path / "two", "plane")
    assert first == tuple(tmp_path / "one" / "figures" / f"plane.{end}" for end in ("png", "svg"))
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert first[0].read_bytes().startswith(b"\x89PNG")
    assert b"<dc:date>" not in first[1].read_bytes()
    width = plt.imread(first[0]).shape[1]
    assert width > 200 * 6


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".."])
def test_save_wants_a_plain_name(tmp_path, name):
    ax = plots.trade_off(metrics.tidy(graded(TWO)))
    with pytest.raises(UserError, match="plain file name"):
        plots.save(ax, tmp_path, name)


def test_style_is_set_once_and_can_be_changed():
    plots.style()
    with mpl.rc_context({"font.size": 19}):
        plots.style()
        assert mpl.rcParams["font.size"] == 19


def test_text_with_dollar_signs_is_no_formula(tmp_path):
    ax = plots.answer_classes(graded({"costs $5 or $6": (0, 0.5)}))
    plots.save(ax, tmp_path, "dollars")
    assert ax.get_yticklabels()[0].get_text() == r"costs \$5 or \$6"


def test_agreement_has_a_line_a_model_and_the_other_graders_below():
    from srlib.grading import agreement
    from srlib.plots import agreement_bars

    table = pd.DataFrame(
        {"data": ["xstest", "mine"], "model": ["a", "$b"], "kind": ["k", "l"], "n": [9, 8]}
    ).assign(kappa=[0.9, -0.2], kappa_low=[0.8, -0.5], kappa_high=[1.0, 0.1])
    ax = agreement_bars.kappas(table, agreement.anchors())
    assert [t.get_text() for t in ax.get_yticklabels()][:2] == [
        "xstest, a (n = 9)",
        r"mine, \$b (n = 8)",
    ]
    assert len(ax.get_yticks()) == 4 and ax.get_xlim()[0] < -0.5
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["k", "l", "another grader"]
