"""The trade-off plane of many arms: short names stand in the plane, y may start late."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from srlib import metrics, plots
from srlib.errors import UserError


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def arms(count=16, cut=12):
    """A metrics table of arms "1+0", "2+0" …, two of them at the same place."""
    rows = []
    for i in range(count):
        place = min(i, count - 2)
        for data, metric, hits, n in (
            ("gsm8k", "exact_match", 3 + (5 * place) % 19, 64),
            ("advbench", "refusal_rate", 48 - (7 * place) % cut, 48),
        ):
            share = metrics.rate(hits, n)
            rows.append(
                {"arm": f"{2 ** (i % 4)}+{i // 4}", "data": data, "metric": metric, "m": i // 4}
                | {"value": share.value, "n": n, "low": share.low, "high": share.high}
            )
    return pd.DataFrame(rows)


def test_short_names_stand_in_the_plane_and_need_no_key():
    ax = plots.trade_off(arms(), hue="m", xmax=0.5)
    said = [name for text in ax.texts for name in text.get_text().split(",") if "+" in name]
    assert sorted(said) == sorted(arms()["arm"].unique())
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["0", "1", "2", "3"]


def test_one_longer_name_brings_numbers_and_the_key():
    ax = plots.trade_off(arms().replace({"arm": {"1+0": "few-shot 1+0"}}), hue="m", xmax=0.5)
    assert not any("+" in text.get_text() for text in ax.texts)
    assert "1  few-shot 1+0" in [t.get_text() for t in ax.get_legend().get_texts()]


def test_ymin_starts_y_late_with_round_ticks_and_cuts_off_nothing():
    ax = plots.trade_off(arms(), xmax=0.5, ymin=0.5)
    assert ax.get_ylim() == pytest.approx((0.47, 1.03))
    assert ax.get_yticks() == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert ax.get_xticks() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    with pytest.raises(UserError, match=r"ymin=0\.8 cuts off an interval down to 0\.6"):
        plots.trade_off(arms(), xmax=0.5, ymin=0.8)
