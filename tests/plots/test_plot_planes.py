"""What stands behind a plane: unnamed arms, a cloud of trainings; and the opening picture."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D
from test_plots import assert_all_inside, assert_no_collisions, words

from srlib import metrics, plots
from srlib.errors import UserError

FAMILIES = {"aligned base": "base", "direct-answers": "short", "short-cot": "short"}
FAMILIES |= {"long-openo1": "long CoT", "long-sky-t1": "long CoT"}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def narrow(height=6):
    return plt.subplots(figsize=(3.9, height), layout="constrained")[1]


def rows(arm, exact, refused, n=48, **columns):
    """Both measures of one arm, as a metrics table."""
    table = []
    for metric, data, share in (
        ("exact_match", "stories", exact),
        ("refusal_rate", "harmful", refused),
    ):
        rate = vars(metrics.rate(round(share * n), n))
        table.append({"arm": arm, "data": data, "metric": metric} | rate | columns)
    return pd.DataFrame(table)


def plane(more=0):
    """Five arms of three families, and `more` of a fourth."""
    places = [(0.05, 0.95), (0.1, 0.2), (0.25, 0.25), (0.55, 0.05), (0.5, 0.1)]
    arms = zip(FAMILIES.items(), places, strict=True)
    table = [rows(arm, *place, family=family) for (arm, family), place in arms]
    table += [
        rows(f"prompt {i}", 0.05 + 0.02 * i, 0.9 - 0.03 * i, family="prompts") for i in range(more)
    ]
    return pd.concat(table, ignore_index=True)


def cloud():
    """Five trainings of each of the families, and of one that no figure here has."""
    draw, found = np.random.default_rng(0), []
    for family, place in {
        "base": (0.05, 0.93),
        "short": (0.1, 0.2),
        "long CoT": (0.5, 0.08),
        "other": (0.9, 0.9),
    }.items():
        for seed in range(5):
            exact, refused = np.clip(draw.normal(place, 0.05), 0, 1)
            found.append(
                {
                    "arm": f"an arm of {family}",
                    "family": family,
                    "seed": seed,
                    "exact_match": exact,
                    "refusal_rate": refused,
                }
            )
    return pd.DataFrame(found)


def marks(ax, faint):
    """The places of all marks, faint ones or the others."""
    lines = [line for line in ax.lines if (line.get_alpha() == 0.35) == faint]
    return {tuple(xy) for line in lines for xy in np.c_[line.get_data()].round(9)}


def places(table, x="exact_match", y="refusal_rate"):
    return set(table[[x, y]].round(9).itertuples(index=False, name=None))


# --- named ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("height", [None, 6.5])
def test_only_the_named_arms_have_a_name_and_an_interval(height):
    table = plane(more=16)
    named = {"aligned base": "the base", "long-openo1": "long"}
    ax = plots.trade_off(table, hue="family", named=named, ax=height and narrow(height))
    assert_all_inside(ax)
    assert_no_collisions(ax.texts)
    said = [" ".join(t.get_text().split()) for t in ax.texts[1:]]
    assert said == ["the base", "long"]
    key = [t.get_text() for t in ax.get_legend().get_texts()]
    assert key == ["base", "long CoT", "other arms"]
    wide = table.pivot(index="arm", columns="metric", values="value")
    assert marks(ax, faint=False) == places(wide.loc[list(named)])
    assert marks(ax, faint=True) == places(wide.drop(list(named)))
    assert len(ax.collections) == 4  # two lines an arm that is named


def test_named_arms_may_be_a_list_and_must_be_there():
    ax = plots.trade_off(plane(), named=["long-openo1"])
    assert [t.get_text() for t in ax.texts[1:]] == ["long-openo1"]
    with pytest.raises(UserError, match="named 'long' is not in the figure"):
        plots.trade_off(plane(), named=["long"])
    with pytest.raises(UserError, match="named is empty"):
        plots.trade_off(plane(), named=[])


# --- cloud ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", ["wide", "narrow", "many arms"])
def test_the_cloud_stands_behind_in_the_colours_of_its_families(figure):
    table = plane(more=10 if figure == "many arms" else 0)
    ax = narrow() if figure == "narrow" else None
    ax = plots.trade_off(table, hue="family", xmax=0.7, cloud=cloud(), ax=ax)
    assert_all_inside(ax)
    assert_no_collisions(ax.texts)
    assert marks(ax, faint=True) == places(cloud()[:15])  # no family "other" in the figure
    fronts = {line.get_marker(): line.get_color() for line in ax.lines if line.get_alpha() is None}
    for line in (line for line in ax.lines if line.get_alpha() == 0.35):
        assert fronts[line.get_marker()] == line.get_color()
        assert line.get_zorder() < 2 and line.get_markersize() < 8
    assert ax.get_legend().get_texts()[-1].get_text() == "reference trainings"


def test_the_axes_reach_to_the_cloud():
    far = cloud()[:15].assign(exact_match=0.83, refusal_rate=0.02)
    ax = plots.trade_off(plane(), hue="family", xmax=0.7, ymin=0.0, cloud=far)
    assert ax.get_xlim()[1] > 0.85


@pytest.mark.parametrize("empty", [None, cloud()[:0], cloud()[15:]])
def test_without_trainings_of_its_families_the_plane_is_as_it_was(empty):
    ax = plots.trade_off(plane(), hue="family", cloud=empty)
    assert not marks(ax, faint=True)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["base", "short", "long CoT"]


def test_a_cloud_is_found_by_the_names_of_arms_without_a_hue():
    behind = cloud().assign(family=None, arm="short-cot", seed=range(20))
    ax = plots.trade_off(plane(), cloud=pd.concat([behind, behind]))  # in two families, say
    faint = [line for line in ax.lines if line.get_alpha() == 0.35]
    assert sum(len(line.get_xdata()) for line in faint) == len(marks(ax, faint=True)) == 20
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["reference trainings"]


def test_a_cloud_without_its_columns_is_named():
    with pytest.raises(UserError, match="lacks refusal_rate"):
        plots.trade_off(plane(), cloud=cloud().drop(columns="refusal_rate"))
    with pytest.raises(UserError, match="lacks family"):
        plots.trade_off(plane(), cloud=cloud()[["exact_match", "refusal_rate"]])


@pytest.mark.parametrize("height", [None, 6.5])
def test_frontiers_take_a_cloud_of_families_and_of_bases(height):
    table = [rows("aligned base", 0.05, 0.95)]
    for i, family in enumerate(("short", "long CoT")):
        for amount in (20, 80):
            place = 0.5 - 0.002 * amount, 0.2 + 0.3 * i + 0.004 * amount
            table.append(rows(f"{family} {amount}", *place, family=family, amount=amount))
    behind = pd.concat([cloud(), cloud()[:1].assign(family=None, arm="aligned base")])
    ax = plots.frontiers(
        pd.concat(table), base="aligned base", cloud=behind, ax=height and narrow(height)
    )
    assert_all_inside(ax)
    assert_no_collisions(ax.texts)
    assert marks(ax, faint=True) == places(cloud()[5:15]) | places(cloud()[:1])
    key = [" ".join(t.get_text().split()) for t in ax.get_legend().get_texts()]
    assert key[-2:] == ["aligned base", "reference trainings"]
    plain = plots.frontiers(pd.concat(table), base="aligned base", cloud=None)
    assert "reference trainings" not in words(plain).values()


# --- headline -------------------------------------------------------------------------------------


def study(seeds=1, kinds=5):
    """A table as `Study.plane` makes it: five kinds of arms, some of several conditions, and 21
    prompt styles; `seeds` trainings of the conditions that stand for their kind."""
    more = {"amount": 120 if seeds > 1 else 1}  # a larger amount, trained once
    places = {
        "base": [("as it comes", 0.04, 0.1, {}), ("aligned base", 0.05, 0.95, {"seeds": seeds})],
        "short answers": [
            ("direct-answers ×536 at 0.5", 0.08, 0.5, {"rows": 268, "share": 0.5, "seeds": seeds}),
            ("direct-answers ×536", 0.1, 0.2, {"rows": 536, "share": 1.0, "seeds": seeds}),
            ("short-cot ×536", 0.25, 0.2, {"rows": 536, "share": 1.0, "seeds": seeds}),
        ],
        "long CoT": [("long-openo1 ×536", 0.5, 0.04, {"rows": 536, "share": 1.0, "seeds": seeds})],
        "long CoT + direct rows": [
            ("long-openo1 ×536 + another direct", 0.4, 0.9, more),
            ("long-openo1 ×536 + 80 direct", 0.45, 0.75, {"amount": 80, "seeds": seeds}),
        ],
        "long CoT + reflective rows": [
            ("long-openo1 ×536 + 80 long", 0.42, 0.2, {"amount": 80, "seeds": seeds})
        ],
        "prompts": [(f"few-shot {i}", 0.03 * (i % 5), 0.9 - 0.03 * i, {}) for i in range(21)],
    }  # fmt: skip
    table = []
    for kind, arms in [*list(places.items())[:kinds], ("prompts", places["prompts"])]:
        for arm, exact, refused, columns in arms:
            for seed in range(columns.pop("seeds", 1)):
                name = f"{arm}, seed {seed}" if seed else arm
                step = 1 + 0.04 * seed
                told = {"kind of arm": kind, "name": name, "new_tokens": 288} | columns
                table.append(rows(name, exact * step, min(refused * step, 1), **told))
    return pd.concat(table, ignore_index=True)


FIVE = ["aligned base", "short answers", "long CoT"]
FIVE += [f"long CoT + {form} refusals" for form in ("direct", "reflective")]
CHOSEN = ["aligned base", "direct-answers ×536", "long-openo1 ×536", "long-openo1 ×536 + 80 direct"]
CHOSEN += ["long-openo1 ×536 + 80 long"]


@pytest.mark.parametrize("height", [None, 6.5])
@pytest.mark.parametrize("seeds", [1, 5])
def test_the_opening_picture_names_five_conditions(seeds, height):
    ax = plots.headline(study(seeds), ax=height and narrow(height))
    assert_all_inside(ax)
    assert_no_collisions(ax.texts)
    assert [" ".join(t.get_text().split()) for t in ax.texts[1:]] == FIVE
    wide = study(seeds).pivot(index="name", columns="metric", values="value")
    trainings = [[name for name in wide.index if name.split(", seed")[0] == arm] for arm in CHOSEN]
    assert {len(names) for names in trainings} == {seeds}
    means = pd.DataFrame([wide.loc[names].mean() for names in trainings])
    assert marks(ax, faint=False) == places(means)
    others = wide if seeds > 1 else wide.drop(CHOSEN)
    assert marks(ax, faint=True) == places(others)
    note = " ".join(ax.texts[0].get_text().split())
    assert ("range of 5 trainings" in note) == (seeds > 1) == ("95 % intervals" not in note)


def test_the_lines_of_several_trainings_are_their_range():
    ax = plots.headline(study(5))
    wide = study(5).pivot(index="name", columns="metric", values="value")
    long = wide[wide.index.str.split(", seed").str[0] == "long-openo1 ×536"]
    ends = {tuple(s.ravel().round(9)) for c in ax.collections for s in c.get_segments()}
    low, high = long["exact_match"].min(), long["exact_match"].max()
    y = long["refusal_rate"].mean()
    assert tuple(np.round([low, y, high, y], 9)) in ends


def test_a_rule_says_which_kinds_are_named_and_what_lacks_is_left_out():
    ax = plots.headline(study(kinds=3), {"long CoT": "thinks", "DPO": "preferences"}, title="Mine")
    assert [t.get_text() for t in ax.texts[1:]] == ["thinks"]
    assert ax.get_title(loc="left") == "Mine"
    assert isinstance(ax.get_legend().legend_handles[-1], Line2D)
    with pytest.raises(UserError, match="no arm is of a kind to name: the plane has base"):
        plots.headline(study(), {"DPO": "preferences"})
