"""plot_training: what is drawn is what the tables hold, all is named, nothing collides."""

import matplotlib as mpl

mpl.use("Agg")

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from srlib import metrics
from srlib.analysis import frontier
from srlib.errors import UserError
from srlib.plots import training_curves

BASE = {"arm": "aligned base", "reasoning": 0.05, "harmful": 0.94, "benign": 0.25}
SETS = ["Alpaca", "Math, short CoT", "Code for $5 or $6", "OpenO1, long CoT"]
FAMILIES = ["direct", "reflective", "system prompt, with a rather long name"]
N = {"reasoning": 40, "harmful": 50, "benign": 20}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def tidied(arms, by):
    """The metrics table of made-up arms; a share of the rows of a kind counts, exactly."""
    rows = []
    for arm in arms:
        named = {"arm": arm["arm"], "truncated": False} | {c: arm.get(c) for c in by}
        for kind, n in N.items():
            for i in range(n):
                hit = i < round(arm[kind] * n)
                label = None if kind == "reasoning" else "refusal" if hit else "compliance"
                row = {"data": f"{kind} set", "kind": kind, "id": str(i), "label": label}
                rows.append(named | row | {"correct": hit if kind == "reasoning" else None})
    return metrics.tidy(pd.DataFrame(rows), by=("arm", "data", *by))


def grown(sets=SETS, sizes=(128, 256, 1024), shares=None):
    """Arms of data sets and sizes; `shares` gives (accuracy, refusals) of the i-th set and size."""
    arms = [BASE]
    for (i, name), (j, rows) in itertools.product(enumerate(sets), enumerate(sizes)):
        accuracy, refusals = shares or (0.1 * i + 0.1 * j, 0.9 - 0.2 * i - 0.1 * j)
        arm = {"arm": f"{name} {rows}", "set": name, "rows": rows, "benign": 0.5}
        arms.append(arm | {"reasoning": accuracy, "harmful": refusals})
    return tidied(arms, ("set", "rows"))


def families(names=FAMILIES, amounts=(0, 8, 32, 64), shares=None):
    arms = [BASE]
    for (i, name), (j, amount) in itertools.product(enumerate(names), enumerate(amounts)):
        accuracy, refusals = shares or (0.5 - 0.1 * j + 0.05 * i * j, 0.2 + 0.25 * j)
        arm = {"arm": f"{name} {amount}", "family": name, "amount": amount}
        arms.append(arm | {"reasoning": accuracy, "harmful": refusals, "benign": 0.1 * j})
    return tidied(arms, ("family", "amount"))


def losses(count=12, steps=(32, 64, 20)):
    draw, rows = np.random.default_rng(0), []
    for i, arm in enumerate(f"{SETS[i % 4]}, {64 * (i + 1)} rows" for i in range(count)):
        for step in range(steps[i % len(steps)]):
            loss = 0.3 + 0.1 * i + np.exp(-step / 8) + 0.05 * draw.normal()
            rows.append({"arm": arm, "step": step, "tokens": 700 * step, "loss": loss})
    return pd.DataFrame(rows)


def visible(ax):
    """All texts of the figure that are drawn: ticks beyond the ends of an axis are not."""
    hidden = set()
    for axis in (a for each in ax.figure.axes for a in (each.xaxis, each.yaxis)):
        low, high = sorted(axis.get_view_interval())
        hidden |= {t.label1 for t in axis.get_major_ticks() if not low <= t.get_loc() <= high}
    found = (t for t in ax.figure.findobj(Text) if t.get_visible() and t.get_text().strip())
    return [t for t in found if t not in hidden]


def said(texts):
    return [" ".join(t.get_text().replace(r"\$", "$").split()) for t in texts]


def box(text):
    return Text.get_window_extent(text)  # of an annotation: its words without its line


def assert_readable(ax, panels=1):
    """Big letters, nothing clipped, no text on another, no key on data."""
    ax.figure.canvas.draw()
    page, texts = ax.figure.bbox, visible(ax)
    for text in texts:
        b = box(text)
        assert text.get_fontsize() >= 11, text
        inside = b.x0 >= -1 and b.y0 >= -1 and b.x1 <= page.x1 + 1 and b.y1 <= page.y1 + 1
        assert inside, f"{text.get_text()!r} is clipped: {b.extents} on {page.extents}"
    for one, other in itertools.combinations(texts, 2):
        a, b = box(one), box(other)
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
        assert not overlap, f"{one.get_text()!r} lies on {other.get_text()!r}"
    axes = ax.figure.axes
    assert len(axes) == panels
    key = (ax.figure.legends or [ax.get_legend()])[0].get_window_extent()
    assert not any(key.overlaps(each.get_window_extent().padded(-1)) for each in axes)


def drawn_lines(ax):
    """The lines of data: colour and mark to their values."""
    lines = [line for line in ax.lines if line.get_marker() not in ("None", "")]
    return {(line.get_color(), line.get_marker()): line.get_ydata().tolist() for line in lines}


def key_of(ax):
    return (ax.figure.legends or [ax.get_legend()])[0]


# --- growth ---------------------------------------------------------------------------------------


MEASURES = ["exact_match", "refusal_rate", "attack_success_rate"]
START = BASE | {"set": "base", "rows": 0, "share": 1.0}


def parts(sets=SETS[:2], whole=536, others=()):
    """Arms that are parts of one training of each set, and trainings of other sizes beside them."""
    arms = [START]
    for i, name in enumerate(sets):
        seen = [(share, round(share * whole)) for share in (0.125, 0.25, 0.5, 1.0)]
        for share, rows in [*seen, *((1.0, size) for size in others)]:
            arm = {"arm": f"{name} {rows} of {share}", "set": name, "rows": rows, "share": share}
            hits = {"reasoning": 0.2 * i + 0.3 * share, "harmful": 0.9 - 0.8 * share}
            arms.append(arm | hits | {"benign": 0.5})
    return tidied(arms, ("set", "rows", "share"))


def test_growth_shows_reasoning_and_safety_over_one_axis():
    table = parts()
    ax = training_curves.growth(table, base="aligned base")
    assert_readable(ax, panels=2)
    above, below = ax.figure.axes
    assert above.get_shared_x_axes().joined(above, below)
    assert below.get_xticks().tolist() == pytest.approx(
        [np.log2(67) - 1, *np.log2([67, 134, 268, 536])]
    )
    assert said(below.get_xticklabels()) == ["0", "67", "134", "268", "536"]
    sides = [("exact_match",), ("refusal_rate", "attack_success_rate")]
    for panel, group in zip((above, below), sides, strict=True):
        lines = [line for line in panel.lines if len(line.get_xdata()) > 1]
        rows = [
            table[(table["metric"] == m) & (table["set"] == s)] for m in group for s in SETS[:2]
        ]
        starts = [
            table[(table["metric"] == m) & (table["rows"] == 0)]["value"].iloc[0] for m in group
        ]
        assert [line.get_ydata()[0] for line in lines] == [s for s in starts for _ in SETS[:2]]
        assert [line.get_ydata()[1:].tolist() for line in lines] == [
            r["value"].tolist() for r in rows
        ]
        assert len({line.get_linestyle() for line in lines}) == len(group)
        ends = {tuple(s[:, 1]) for c in panel.collections for s in c.get_segments()}
        mine = table[table["metric"].isin(group)]
        assert ends == set(zip(mine["low"], mine["high"], strict=True))
    strokes = ["refusal rate ↑", "attack success rate ↓"]
    assert said(key_of(ax).get_texts()) == [*SETS[:2], "aligned base", *strokes]


def test_growth_joins_the_parts_of_one_training_alone():
    ax = training_curves.growth(
        parts(whole=350, others=(128, 700)), measures=["exact_match"], base=BASE["arm"]
    )
    assert_readable(ax)
    joined = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 5]
    alone = [
        line for line in ax.lines if line.get_linestyle() == "None" and len(line.get_xdata()) == 2
    ]
    assert len(joined) == len(alone) == 2  # 44 rows are an eighth of 350
    assert said(key_of(ax).get_texts())[-1] == "another training"
    sizes = parts(whole=350, others=(128, 700)).query("share == 1")
    ax = training_curves.growth(sizes, base=BASE["arm"])  # no parts: all sizes are joined
    assert [len(line.get_xdata()) for line in ax.lines].count(4) == 2


@pytest.mark.parametrize("width", [3.9, 14])
def test_growth_stays_readable_at_any_width(width):
    ax = training_curves.growth(parts(SETS, others=(200,)), base="aligned base", width=width)
    assert_readable(ax, panels=2)


def test_growth_draws_the_values_of_the_table():
    table = grown()
    measures = MEASURES
    ax = training_curves.growth(table, measures=measures, base="aligned base")
    assert_readable(ax, panels=3)
    for panel, measure in zip(ax.figure.axes, measures, strict=True):
        rows = table[(table["metric"] == measure)]
        values = [rows[rows["set"] == name]["value"].tolist() for name in SETS]
        assert list(drawn_lines(panel).values()) == values
        ends = [tuple(s[:, 1]) for c in panel.collections for s in c.get_segments()]
        arms = rows[rows["set"].notna()]
        assert ends == list(zip(arms["low"], arms["high"], strict=True))
        levels = [line.get_ydata()[0] for line in panel.lines if line.get_marker() == "None"]
        assert levels == rows[rows["arm"] == "aligned base"]["value"].tolist()
        band = panel.patches[0].get_extents().transformed(panel.transData.inverted())
        assert (band.y0, band.y1) == pytest.approx(
            tuple(rows[rows["arm"] == "aligned base"][["low", "high"]].iloc[0])
        )
    assert len(drawn_lines(ax)) == len(SETS)
    assert said(key_of(ax).get_texts()) == [*SETS, "aligned base"]
    titles = said(visible(ax))
    for words in ("exact match ↑", "attack success rate ↓", "reasoning set, n = 40"):
        assert words in titles
    assert "training rows, log scale; thin lines: 95 % intervals" in titles


def test_growth_stands_at_the_true_sizes():
    ax = training_curves.growth(grown())
    assert ax.get_xticks().tolist() == [7, 8, 10]
    assert said(ax.figure.axes[-1].get_xticklabels()) == ["128", "256", "1,024"]
    middles = np.mean([line.get_xdata() for line in ax.lines], axis=0)
    assert middles == pytest.approx([7, 8, 10])
    turned = training_curves.growth(grown().iloc[::-1])
    assert all((np.diff(line.get_xdata()) > 0).all() for line in turned.lines)
    firsts = [line.get_xdata()[0] for line in ax.lines]
    assert len(set(firsts)) == len(SETS)  # side by side, nearer to their own size than to the next
    assert max(firsts) - min(firsts) < 0.7
    plain = training_curves.growth(grown(sizes=(100, 200, 300)), measures=["refusal_rate"])
    assert plain.get_xticks().tolist() == [100, 200, 300]
    assert not any("log" in words for words in said(visible(plain)))
    zero = training_curves.growth(grown(sizes=(0, 128, 1024)))
    assert zero.get_xticks().tolist() == [6, 7, 10]
    assert said(zero.figure.axes[-1].get_xticklabels())[0] == "0"
    close = training_curves.growth(grown(sizes=(100, 101, 300)))
    assert close.get_xticks().tolist() == [0, 1, 2]
    assert "training rows, evenly spaced; thin lines: 95 % intervals" in said(visible(close))


@pytest.mark.parametrize(
    ("sets", "sizes", "shares"),
    [
        (SETS[:2], (128,), None),
        ([f"set number {i}" for i in range(12)], (100, 1000, 10000, 100000), (0.5, 0.5)),
        (SETS, (100, 110, 300), (0.0, 1.0)),
        (SETS, (64, 256), (1.0, 0.0)),
    ],
    ids=["2 arms", "48 arms alike", "close sizes, extremes", "other extremes"],
)
def test_growth_stays_readable(sets, sizes, shares):
    table = grown(sets, sizes, shares)
    measures = ["exact_match", "refusal_rate", "attack_success_rate", "over_refusal_rate"]
    ax = training_curves.growth(table, measures=measures, base="aligned base")
    assert_readable(ax, panels=4)
    assert len(drawn_lines(ax)) == len(sets)  # no two have the same colour and mark
    low, high = ax.get_ylim()
    assert low < 0 < 1 < high


def test_growth_leaves_gaps_where_nothing_was_measured():
    table = grown()
    gone = (table["arm"] == "Alpaca 256") & (table["metric"] == "exact_match")
    table.loc[gone, ["value", "low", "high"]] = np.nan
    ax = training_curves.growth(table)
    values = list(drawn_lines(ax).values())
    assert len(values[0]) == 2 and len(values[1]) == 3
    assert len(next(iter(drawn_lines(ax.figure.axes[1]).values()))) == 3


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (lambda t: t, {"hue": "source"}, "lacks source"),
        (lambda t: t, {"base": "base"}, "base='base' is not in the table"),
        (lambda t: t, {"measures": ["accuracy"]}, "no accuracy: the table has exact_match"),
        (lambda t: t, {"measures": ["unscored_rate"]}, "name one with data="),
        (lambda t: t.assign(rows="many"), {}, "rows holds 'many': give numbers"),
        (lambda t: t.assign(rows=None), {}, "no arm with exact_match has both rows and set"),
        (lambda t: t.assign(rows=7), {}, "several rows share one set and rows"),
    ],
)
def test_growth_names_what_is_wrong(change, more, message):
    with pytest.raises(UserError, match=message):
        training_curves.growth(change(grown()), **more)
    kept = training_curves.growth(grown(), measures=["unscored_rate"], data=["harmful set"])
    assert "harmful set, n = 50" in said(visible(kept))


# --- curves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 12])
def test_curves_name_every_arm_in_the_order_in_which_they_end(count):
    table = losses(count)
    ax = training_curves.curves(table)
    assert_readable(ax)
    words = said(key_of(ax).get_texts())
    names, ends = zip(*[w.rsplit(" ", 1) for w in words], strict=True)
    assert sorted(names) == sorted(table["arm"].unique())
    assert list(map(float, ends)) == sorted(map(float, ends), reverse=True)
    looks = {(h.get_color(), h.get_marker()) for h in key_of(ax).legend_handles}
    assert len(looks) == count
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("tokens trained on", "loss")


def test_curves_draw_the_log_and_its_exponential_mean():
    table = pd.DataFrame({"arm": "a", "step": [0, 1, 2], "loss": [4.0, 2.0, 1.0]})
    ax = training_curves.curves(table.iloc[::-1], x="step", smoothing=0.5)
    raw, smooth, end = ax.lines
    assert raw.get_ydata().tolist() == [4, 2, 1]
    by_hand = [4, (2 + 0.5 * 4) / 1.5, (1 + 0.5 * 2 + 0.25 * 4) / 1.75]
    assert smooth.get_ydata() == pytest.approx(by_hand)
    assert smooth.get_linewidth() > raw.get_linewidth() and raw.get_alpha() < 0.5
    assert (end.get_xdata()[0], end.get_ydata()[0]) == (2, pytest.approx(by_hand[-1]))
    same = training_curves.curves(table, x="step", smoothing=0).lines
    assert same[1].get_ydata().tolist() == [4, 2, 1]


def test_curves_say_what_is_not_there():
    table = losses(2)
    table.loc[3, "loss"] = np.nan
    gone = pd.DataFrame([{"arm": "diverged", "tokens": 1, "loss": np.inf}])
    mine = plt.subplots(figsize=(10, 5), layout="constrained")[1]
    ax = training_curves.curves(pd.concat([table, gone]), ax=mine)
    assert ax is mine
    assert_readable(ax)
    assert said(key_of(ax).get_texts())[-1] == "diverged (no values)"
    assert any("2 without a value left out" in words for words in said(visible(ax)))
    assert len(ax.lines[0].get_xdata()) == 31


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (lambda t: t.drop(columns="tokens"), {}, "lacks tokens: give a row a logged step"),
        (lambda t: t, {"smoothing": 1}, "smoothing=1: give a number from 0 to below 1"),
        (lambda t: t.assign(loss="low"), {}, "loss holds 'low'"),
        (lambda t: t.assign(loss=None), {}, "no row has both tokens and loss"),
    ],
)
def test_curves_name_what_is_wrong(change, more, message):
    with pytest.raises(UserError, match=message):
        training_curves.curves(change(losses(2)), **more)


# --- frontiers ------------------------------------------------------------------------------------


def wide(table):
    rows = table[table["metric"].isin(["exact_match", "refusal_rate"])]
    return rows.pivot_table(index=["family", "amount"], columns="metric", values="value")


def test_frontiers_join_the_points_of_the_table_in_order():
    table = families().iloc[::-1]
    ax = training_curves.frontiers(table, base="aligned base")
    assert_readable(ax)
    points = wide(table)
    joined = {line.get_color(): line for line in ax.lines if len(line.get_xdata()) == 4}
    paths = [list(zip(*line.get_data(), strict=True)) for line in joined.values()]
    expected = [list(points.loc[name].itertuples(index=False, name=None)) for name in FAMILIES]
    assert sorted(paths) == sorted(expected)
    dots = {(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines} - {(0, 1)}
    assert dots >= set(points.itertuples(index=False, name=None)) | {(0.05, 0.94)}
    assert sum(map(said(ax.texts).count, ("8", "32", "64"))) >= 3
    assert "aligned base" in said(ax.texts)
    for name, part in points.groupby("family"):
        table = part.rename(columns={"exact_match": "accuracy", "refusal_rate": "safety"})
        covers = f"{name}, covers {frontier.area(table):.0%}"
        assert covers in said(key_of(ax).get_texts())


def test_frontiers_shade_the_dominated_area_and_no_more():
    arms = [(0.6, 0.2), (0.4, 0.5), (0.3, 0.4), (0.1, 1.0)]
    table = pd.concat(
        families(["f"], [amount], shares) for amount, shares in enumerate(arms)
    ).drop_duplicates(["arm", "metric", "data"])
    ax = training_curves.frontiers(table)
    (shade,) = [c for c in ax.collections if c.get_alpha() == 0.09]
    x, y = shade.get_paths()[0].vertices.T
    shoelace = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert shoelace == pytest.approx(0.6 * 0.2 + 0.4 * 0.3 + 0.1 * 0.5)
    plain = training_curves.frontiers(table, area=False)
    assert not [c for c in plain.collections if c.get_alpha() == 0.09]
    assert said(key_of(plain).get_texts()) == ["f"]


@pytest.mark.parametrize(
    ("names", "amounts", "shares"),
    [
        (FAMILIES[:2], (16,), None),
        (FAMILIES, (0, 4, 16, 64), (0.3, 0.9)),
        (FAMILIES, (0, 8, 32), (1.0, 1.0)),
        (FAMILIES, (0, 8, 32), (0.0, 0.0)),
        (FAMILIES[:1], (0, 1, 2, 4, 8, 16, 32, 64, 128), None),
    ],
    ids=["2 arms", "12 arms in one place", "all", "none", "9 arms"],
)
def test_frontiers_stay_readable(names, amounts, shares):
    shares = shares or (0.35, 0.9)
    ax = training_curves.frontiers(families(names, amounts, shares), base="aligned base")
    assert_readable(ax)
    words = [part for t in said(ax.texts) for part in t.split(", ")]
    assert {f"{amount}" for amount in amounts} <= set(words)
    assert [w.split(", covers")[0] for w in said(key_of(ax).get_texts())] == [
        *names,
        "aligned base",
    ]


def test_frontiers_show_points_that_coincide_as_rings():
    ax = training_curves.frontiers(families(FAMILIES, (8,), (0.3, 0.9)))
    largest = {}
    for dot in (line for line in ax.lines if line.get_marker() != "None"):
        largest[dot.get_marker()] = max(largest.get(dot.get_marker(), 0), dot.get_markersize())
    assert sorted(largest.values()) == [8, 15, 22]


def test_frontiers_on_given_axes_leave_out_what_they_say():
    table = families()
    table = table[~((table["arm"] == "direct 8") & (table["metric"] == "exact_match"))]
    mine = plt.subplots(figsize=(10, 6), layout="constrained")[1]
    assert training_curves.frontiers(table, xmax=0.8, ax=mine) is mine
    assert any("2 other arms left out" in words for words in said(visible(mine)))
    assert mine.get_xlim()[1] < 0.9
    two = training_curves.frontiers(table, base=["aligned base", "direct 0"])
    assert {"aligned base", "direct 0, 0"} <= set(said(two.texts))  # "direct 0" lies on two others


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (lambda t: t, {"order": "size"}, "lacks size"),
        (lambda t: t, {"base": "other"}, "base 'other' is not in the table"),
        (lambda t: t, {"xmax": 0.2}, "xmax=0.2 cuts off an interval"),
        (lambda t: t, {"reasoning": "math"}, "no exact_match on math"),
        (lambda t: t.assign(family=None), {}, "no arm has both measures, family and amount"),
        (lambda t: t.assign(amount="few"), {}, "amount holds 'few': give numbers"),
        (lambda t: pd.concat([t, t]), {}, "several rows share one family and amount and arm"),
    ],
)
def test_frontiers_name_what_is_wrong(change, more, message):
    with pytest.raises(UserError, match=message):
        training_curves.frontiers(change(families()), **more)


# --- pairs_bars -----------------------------------------------------------------------------------


def test_pairs_bars_are_as_high_as_the_table_says():
    table = families()
    ax = training_curves.pairs_bars(table, base="aligned base")
    assert_readable(ax, panels=3)
    for panel, name in zip(ax.figure.axes, FAMILIES, strict=True):
        assert " ".join(panel.get_title(loc="left").split()) == name
        part = table[table["family"] == name]
        for bars, metric in zip(
            panel.containers, ("refusal_rate", "over_refusal_rate"), strict=True
        ):
            rows = part[part["metric"] == metric]
            assert [bar.get_height() for bar in bars] == rows["value"].tolist()
            assert len({(bar.get_hatch(), bar.get_edgecolor()) for bar in bars}) == 1
        one, other = ([b.get_x() + b.get_width() / 2 for b in bars] for bars in panel.containers)
        assert (np.array(one) + other) / 2 == pytest.approx([0, 1, 2, 3])
        assert panel.containers[0][0].get_hatch() != panel.containers[1][0].get_hatch()
        ends = [tuple(s[:, 1]) for c in panel.collections for s in c.get_segments()]
        both = part[part["metric"].isin(["refusal_rate", "over_refusal_rate"])]
        assert set(ends) == set(zip(both["low"], both["high"], strict=True))
    assert said(key_of(ax).get_texts()) == [
        "refusal rate ↑ (harmful set, n = 50)",
        "over-refusal rate ↓ (benign set, n = 20)",
        "aligned base",
    ]
    assert said(ax.get_xticklabels()) == ["0", "8", "32", "64"]


@pytest.mark.parametrize(
    ("names", "amounts", "shares"),
    [
        (FAMILIES[:1], (16,), None),
        (FAMILIES[:2], (0, 4, 8, 16, 32, 64), (0.5, 0.0)),
        (FAMILIES, (0, 8, 32, 1024), (0.5, 1.0)),
    ],
    ids=["1 arm", "12 arms at 0", "12 arms at 1"],
)
def test_pairs_bars_stay_readable(names, amounts, shares):
    ax = training_curves.pairs_bars(families(names, amounts, shares), base="aligned base")
    assert_readable(ax, panels=len(names))


def test_pairs_bars_tell_zero_from_not_measured():
    table = families()
    table = table[~((table["arm"] == "direct 8") & (table["metric"] == "over_refusal_rate"))]
    ax = training_curves.pairs_bars(table)
    refusals, others = ax.containers
    assert (len(refusals), len(others)) == (4, 3)
    dots = [line for line in ax.lines if line.get_marker() != "None"]
    assert [len(line.get_xdata()) for line in dots] == [4, 3]
    assert others[0].get_height() == 0  # measured, and has its dot
    assert [b.get_x() + b.get_width() / 2 for b in others] == pytest.approx([0.2, 2.2, 3.2])


def test_pairs_bars_name_what_is_wrong():
    with pytest.raises(UserError, match="lacks mix"):
        training_curves.pairs_bars(families(), hue="mix")
    with pytest.raises(UserError, match="no arm with refusal_rate has both amount and family"):
        training_curves.pairs_bars(families().assign(family=None))
    with pytest.raises(UserError, match="several rows share one family and amount"):
        training_curves.pairs_bars(families().assign(amount=1))
