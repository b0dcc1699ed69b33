"""plots.dots: a dot and its interval an arm, told apart in grey, on one scale."""

import itertools

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from test_plot_training import assert_readable, key_of, said, visible

from srlib import metrics, plots
from srlib.errors import UserError

MEASURES = {"exact_match": ("stories", 48), "refusal_rate": ("harmful", 48)}
MEASURES |= {"over_refusal_rate": ("lookalikes", 32)}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def grid(ks=(1, 2, 8), ms=(0, 2, 4)):
    rows = []
    for turn, (k, m) in enumerate([(0, 0), *itertools.product(ks, ms)]):
        arm = f"few-shot k={k} m={m}" if k else "direct"
        for i, (metric, (data, n)) in enumerate(MEASURES.items()):
            share = vars(metrics.rate((7 * turn + 11 * i) % (n + 1), n))
            rows.append({"arm": arm, "data": data, "k": k, "m": m, "metric": metric} | share)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("ks", "ms", "width"),
    [((1, 8), (0, 2, 4), None), ((1, 8), (0, 2), 3.9), ((1, 2, 4, 8, 16), (0, 1, 2, 4, 8), 16),
     ((4,), (2,), None)],
    ids=["6 arms", "narrow", "25 arms", "one arm"],
)  # fmt: skip
def test_dots_stay_readable(ks, ms, width):
    ax = plots.dots(grid(ks, ms), base="direct", width=width)
    assert_readable(ax, panels=3)
    assert all(each.get_ylim() == (-0.04, 1.04) for each in ax.figure.axes)


def test_dots_are_where_the_table_says():
    table = grid()
    ax = plots.dots(table, base="direct")
    for panel, (metric, (data, n)) in zip(ax.figure.axes, MEASURES.items(), strict=True):
        mine = table[(table["metric"] == metric) & (table["k"] > 0)]
        dots = [line for line in panel.lines if line.get_marker() not in ("None", "")]
        for line, m in zip(dots, (0, 2, 4), strict=True):
            assert line.get_ydata().tolist() == mine[mine["m"] == m]["value"].tolist()
        assert np.mean([line.get_xdata() for line in dots], axis=0) == pytest.approx([0, 1, 2])
        ends = {tuple(s[:, 1]) for c in panel.collections for s in c.get_segments()}
        assert ends == set(zip(mine["low"], mine["high"], strict=True))
        assert said(panel.get_xticklabels()) == ["1", "2", "8"]
        assert f"{data}, n = {n}" in said(visible(ax))
        level = table[(table["metric"] == metric) & (table["arm"] == "direct")]["value"].iloc[0]
        assert [line.get_ydata()[0] for line in panel.lines if line not in dots] == [level]
    assert said(key_of(ax).get_texts()) == ["0", "2", "4", "direct"]
    assert "reasoning demonstrations (k); thin lines: 95 % intervals" in said(visible(ax))


def test_dots_can_be_told_apart_in_grey():
    ax = plots.dots(grid(ms=(0, 1, 2, 4, 8)))
    dots = [line for line in ax.lines if line.get_marker() != "None"]
    grey = [np.dot(to_rgb(line.get_color()), (0.299, 0.587, 0.114)) for line in dots]
    assert (np.diff(grey) < -0.05).all()  # darker with m
    assert len({line.get_marker() for line in dots}) == 5


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (lambda t: t, {"x": "depth"}, "lacks depth"),
        (lambda t: t, {"base": "other"}, "base='other' is not in the table"),
        (lambda t: t.assign(k=1), {}, "several rows share one m and k"),
        (lambda t: t.assign(k=None), {}, "no arm with exact_match has both k and m"),
        (lambda t: t, {"measures": ["off_topic_rate"]}, "no off_topic_rate"),
    ],
)
def test_dots_name_what_is_wrong(change, more, message):
    with pytest.raises(UserError, match=message):
        plots.dots(change(grid()), **more)
