"""The study in one object, on small made-up output folders: no model, no network."""

import json
import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import nbformat
import numpy as np
import pandas as pd
import pytest

from srlib import metrics, params
from srlib.analysis import verdicts
from srlib.base import contrasts
from srlib.errors import UserError
from srlib.experiment import study
from srlib.ops import run

ROOT = Path(__file__).parents[2]
LONG, SHORT = {"long_new_tokens": 320}, {"max_new_tokens": 128}
ALIGNED = {"name": "aligned base", "folder": "aligned-1", "fingerprint": "a1", "dtype": "float32"}


def rows(arm, exact=10, refused=30, data="harmful", **more):
    """Metrics of one arm: 40 reasoning rows, 48 harmful ones."""
    sides = (("words", "exact_match", exact, 40), (data, "refusal_rate", refused, 48))
    return [
        {"arm": arm, "data": d, "metric": m, **more} | vars(metrics.rate(k, n))
        for d, m, k, n in sides
    ]


def claim(name, effect, half, n=98, trainings=5, **more):
    """A row of claims.csv whose first interval is `half` to either side (95 %, normal); where the
    claim has a second measure, it moves as much, the way that the claim says."""
    found = {}
    for measure, way in verdicts.measures(name).items() if name in verdicts.names() else ():
        first = verdicts.measures(name).get(verdicts.claim(name)["measure"])
        moved = effect if way == first else -effect
        se = half / 1.959964
        found[measure] = contrasts.from_error(moved, se, math.inf, n, trainings=trainings)
    if not found:
        return {"claim": name, "measure": "m", "effect": effect, "verdict": "open"} | more
    return verdicts.answer({name: verdicts.Evidence(found)}).iloc[0].to_dict() | more


def made(base, notebook, table=None, claims=(), parameters=None, **record):
    """One finished run under `base`, as `provenance.Run` leaves it."""
    folder = base / notebook
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "profile": base.name,
        "outputs": "x",
        "model": "embedded",
        "seed": 0,
        "temperature": 0.0,
    }
    facts = {"status": "done", "notebook": notebook, "parameters": told | (parameters or LONG)}
    facts |= {
        "started": "2026-01-01T00:00:00Z",
        "seconds": 60.0,
        "commit": "c0ffee",
        "made_by": "x",
    }
    facts |= {"versions": {"python": "3", "torch": "2"}, "aligned": ALIGNED}
    (folder / "run.json").write_text(json.dumps(facts | record))
    table = rows("aligned base") if table is None else table
    pd.DataFrame(table).to_csv(folder / "metrics.csv", index=False)
    if claims:
        table = pd.DataFrame(claims, columns=verdicts.COLUMNS)
        table.to_csv(folder / "claims.csv", index=False)
    return folder


def test_all_runs_come_as_tidy_tables(tmp_path):
    base = tmp_path / "mine"
    tuned = {"base": {"fingerprint": "b1", "name": "embedded"}}
    (base / "arms/aligned-1").mkdir(parents=True)
    (base / "arms/aligned-1/run.json").write_text(json.dumps(tuned))
    made(base, "01_cot_prompting", rows("few-shot k=1", k=1, m=0), [claim("C4", 0.2, 0.1)])
    folder = made(base, "03_reflective_safety_data", rows("x + 3 long", amount=3, form="long"))
    pd.DataFrame({"measure": ["area covered"], "effect": [0.1]}).to_csv(folder / "balance.csv")
    found = study.load(tmp_path, "mine")
    assert found.runs["notebook"].tolist() == ["01_cot_prompting", "03_reflective_safety_data"]
    first = found.runs.iloc[0]
    assert (first["base"], first["aligned"], first["dtype"]) == ("b1", "a1", "float32")
    assert (first["model"], first["seed"], first["commit"]) == ("embedded", 0, "c0ffee")
    assert first["versions"] == "python 3, torch 2" and not first["reveal"]
    assert len(found.metrics) == 4 and set(found.metrics["profile"]) == {"mine"}
    assert {"k", "m", "amount", "form", "model"} <= set(found.metrics.columns)
    assert found.claims["claim"].tolist() == ["C4"]
    assert found.claims["notebook"].tolist() == ["01_cot_prompting"]
    assert found.table("balance.csv")["effect"].tolist() == [0.1]
    assert found.table("calibration.csv").empty


def test_where_the_minutes_of_a_run_went(tmp_path):
    made(tmp_path / "mine", "00_start_here", spent={"training": 30.0, "answering": 12.0})
    made(tmp_path / "mine", "01_cot_prompting")  # a run of before times were kept
    found = study.load(tmp_path, "mine").minutes().set_index("notebook")
    first = found.loc["00_start_here"]
    assert (first["training"], first["answering"], first["grading"]) == (0.5, 0.2, 0.0)
    assert first["all else"] == pytest.approx(0.3) and first["whole"] == 1.0
    assert found.loc["01_cot_prompting", "all else"] == 1.0


def test_what_is_missing_unfinished_or_torn_is_named_and_left_out(tmp_path):
    base = tmp_path / "mine"
    made(base, "00_start_here")
    made(base, "01_cot_prompting", status="running")
    (made(base, "02_long_cot_finetuning") / "run.json").write_text('{"status": "do')
    torn = made(base, "03_reflective_safety_data", claims=[claim("C7", 0.2, 0.1)]) / "claims.csv"
    torn.write_bytes(torn.read_bytes()[:-9])
    half = made(base, "04_failure_modes") / "metrics.csv"
    half.write_text(half.read_text().rsplit(",", 2)[0] + "\n")  # a row that lacks two cells
    made(base, "06_verdicts")  # never its own input
    (made(base, "my_own") / "metrics.csv").unlink()
    found = study.load(tmp_path, "mine")
    assert found.runs["notebook"].tolist() == ["00_start_here"]
    why = {name.removeprefix("mine/"): words for name, words in found.missing.items()}
    assert "not finished (status running)" in why["01_cot_prompting"]
    assert "run.json cannot be read" in why["02_long_cot_finetuning"]
    assert why["03_reflective_safety_data"] == "claims.csv is torn: run it again"
    assert why["04_failure_modes"] == "metrics.csv is torn: run it again"
    assert "metrics.csv is not there" in why["my_own"] and "06_verdicts" not in why
    nowhere = study.load(tmp_path, ["mine", "nowhere"])
    assert nowhere.missing["nowhere/00_start_here"] == "not run" and len(nowhere.runs) == 1
    table = nowhere.verdicts()
    assert table["verdict"].eq("not testable").all()
    assert table["why"].eq("no finished run measured it").all()


def test_an_arm_that_several_notebooks_measured_is_one(tmp_path):
    base = tmp_path / "mine"
    arms = {"arms": {"long ×64": {"folder": "long-64"}}}
    made(base, "00_start_here", parameters=SHORT)
    made(base, "01_cot_prompting", rows("direct") + rows("few-shot k=1"), parameters=SHORT)
    made(base, "02_long_cot_finetuning", rows("aligned base") + rows("long ×64"), **arms)
    made(base, "03_reflective_safety_data", rows("aligned base") + rows("long ×64"), **arms)
    found = study.load(tmp_path, "mine")
    kept = found.unique().drop_duplicates(["notebook", "arm"])
    assert len(found.metrics) == 14 and len(found.unique()) == 8
    assert list(zip(kept["notebook"].str[:2], kept["arm"], strict=True)) == [
        ("00", "aligned base"),  # 128 new tokens: another measurement than with 320
        ("01", "few-shot k=1"),
        ("02", "aligned base"),
        ("02", "long ×64"),
    ]


def test_of_two_that_disagree_the_latest_run_stays(tmp_path):
    base = tmp_path / "mine"
    later = {"started": "2026-02-01T00:00:00Z"}
    made(base, "02_long_cot_finetuning", rows("aligned base", refused=30), **later)
    made(base, "03_reflective_safety_data", rows("aligned base", refused=40))
    kept = study.load(tmp_path, "mine").unique()
    assert kept[kept["metric"] == "refusal_rate"]["value"].tolist() == [30 / 48]
    latest = {"started": "2026-03-01T00:00:00Z"}
    made(base, "04_failure_modes", rows("aligned base", refused=40), **latest)
    kept = study.load(tmp_path, "mine").unique()
    refused = kept[kept["metric"] == "refusal_rate"]
    assert refused["value"].tolist() == [40 / 48]
    assert refused["notebook"].tolist() == ["03_reflective_safety_data"]
    assert study.load(tmp_path, "nowhere").unique().empty


def test_one_name_for_two_fine_tunings_is_two_arms_with_two_names(tmp_path):
    base = tmp_path / "mine"
    for notebook, folder in (("02_long_cot_finetuning", "a"), ("03_reflective_safety_data", "b")):
        made(base, notebook, rows("long ×64"), arms={"long ×64": {"folder": folder}})
    made(base, "04_failure_modes", rows("aligned base", refused=1)[1:])  # harmful requests only
    plane = study.load(tmp_path, "mine").plane()
    assert set(plane["name"]) == {
        "long ×64, 320 tokens, 02",
        "long ×64, 320 tokens, 03",
        "aligned base",
    }


def test_the_plane_has_the_kinds_of_arms_base_first(tmp_path):
    base = tmp_path / "mine"
    prompted = rows("few-shot k=8 m=2", k=8, m=2) + rows("zero-shot CoT", k=0, m=0)
    made(base, "01_cot_prompting", prompted + rows("few-shot k=1", k=1, m=0))
    tuned = rows("long ×64", family="none", amount=0, form="none")
    tuned += rows("long ×64 + 3 direct", family="direct", amount=3, form="direct")
    made(base, "03_reflective_safety_data", rows("aligned base", family="base", amount=0) + tuned)
    other = rows("elsewhere", data="advbench")  # another data set than most: not in one plane
    made(base, "05_mitigations", rows("asked to be careful", family="text") + other)
    plane = study.load(tmp_path, "mine").plane()
    kinds = dict(zip(plane["name"], plane["kind of arm"], strict=True))
    assert next(iter(kinds.items())) == ("aligned base", "base")
    assert kinds["few-shot k=8 m=2"] == "safety-aware prompts"
    assert kinds["zero-shot CoT"] == kinds["few-shot k=1"] == "reasoning prompts"
    assert kinds["long ×64"] == "long CoT"
    assert kinds["long ×64 + 3 direct"] == "long CoT + direct rows"
    assert kinds["asked to be careful"] == "mitigation: text"
    assert "advbench" not in set(plane["data"])
    made(tmp_path / "half", "04_failure_modes", rows("aligned base")[1:])
    assert study.load(tmp_path, "half").plane().empty


def pair(tmp_path, one, two, name="C2", **more):
    for profile, row in (("a", one), ("b", two)):
        told = LONG | {"model": profile} | more
        made(tmp_path / profile, "02_long_cot_finetuning", claims=[row], parameters=told)
    return study.load(tmp_path, ["a", "b"])


def of(pooled, measure="refusal_rate"):
    return pooled.set_index("measure").loc[measure]


def test_two_profiles_are_pooled_as_by_hand(tmp_path):
    # halves 0.2 and 0.1: variances in the ratio of 4 to 1, weights 1/5 and 4/5
    found = pair(tmp_path, claim("C2", -0.5, 0.2), claim("C2", -0.4, 0.1, n=48)).pooled()
    assert found["claim"].tolist() == ["C2"] * 2
    row, other = of(found), of(found, "attack_success_rate")
    assert (row["runs"], row["n"], row["trainings"]) == (2, 98, 10)  # prompts are shared
    assert row["fixed"] == pytest.approx(-0.5 / 5 - 0.4 * 4 / 5)
    half = math.sqrt(1 / (1 / 0.2**2 + 1 / 0.1**2))
    assert row["fixed_low"] == pytest.approx(row["fixed"] - half)
    assert row["fixed_high"] == pytest.approx(row["fixed"] + half)
    # Q = 0.1² / (0.2² + 0.1²) · 1.96² < 1: no spread beyond chance, both estimates agree
    assert row["i2"] == row["tau2"] == 0 and row["effect"] == pytest.approx(row["fixed"])
    # t with one degree of freedom, and no narrower than the spread within the runs
    assert row["df"] == 1 and row["se"] == pytest.approx(half / 1.959964)
    assert row["p"] == pytest.approx(1 - 2 / math.pi * math.atan(abs(row["effect"]) / row["se"]))
    ends = [row["effect"] + sign * 12.7062 * row["se"] for sign in (-1, 1)]
    assert row[["low", "high"]].tolist() == pytest.approx(ends, abs=1e-5)
    assert (other["effect"], other["high"]) == pytest.approx((-row["effect"], -row["low"]))


def test_the_pooled_interval_is_that_of_hartung_and_knapp(tmp_path):
    from statsmodels.stats.meta_analysis import combine_effects

    effects, halves = np.array([-0.8, -0.3, -0.6, -0.1]), np.array([0.1, 0.15, 0.1, 0.2])
    for name, effect, half in zip("abcd", effects, halves, strict=True):
        told = LONG | {"model": name}
        mine = [claim("C1", -effect, half)]
        made(tmp_path / name, "02_long_cot_finetuning", claims=mine, parameters=told)
    row = study.load(tmp_path, list("abcd")).pooled().iloc[0]
    both = combine_effects(-effects, (halves / 1.959964) ** 2, use_t=True)
    low, high = both.conf_int()[3]  # random effects, scaled
    assert (row["effect"], row["tau2"]) == pytest.approx((both.mean_effect_re, both.tau2))
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-4)
    assert row["df"] == 3 and row["trainings"] == 20


def test_runs_that_disagree_widen_the_interval(tmp_path):
    row = of(pair(tmp_path, claim("C2", -0.8, 0.1), claim("C2", 0.0, 0.1)).pooled())
    variance = (0.1 / 1.959964) ** 2
    q = 0.8**2 / (2 * variance)
    assert row["i2"] == pytest.approx(1 - 1 / q, abs=1e-6)
    # two equal variances: Q(τ²) = d² / 2(v + τ²) = 1
    assert row["tau2"] == pytest.approx(0.8**2 / 2 - variance, abs=1e-4)
    assert row["effect"] == pytest.approx(-0.4) and (row["low"], row["high"]) == (-1, 1)
    assert row["fixed_low"] > -0.5 and row["fixed_high"] < -0.3


def test_runs_that_agree_to_the_last_digit_are_still_uncertain(tmp_path):
    one = claim("C2", -0.98, 0.1)
    row = of(pair(tmp_path, one, one).pooled())
    assert row["fixed_high"] - row["fixed"] == pytest.approx(0.1 / math.sqrt(2))
    assert row["fixed_low"] == row["low"] == -1.0 and row["i2"] == 0
    assert row["se"] == pytest.approx(0.1 / 1.959964 / math.sqrt(2))


def test_the_same_run_under_two_names_counts_once(tmp_path):
    one = claim("C1", 0.5, 0.2)
    assert pair(tmp_path / "two", one, one).pooled()["runs"].tolist() == [2]
    assert pair(tmp_path / "one", one, one, model="embedded").pooled()["runs"].tolist() == [1]


def test_one_run_keeps_its_own_numbers(tmp_path):
    told = claim("C2", -0.5, 0.2)
    made(tmp_path / "a", "02_long_cot_finetuning", claims=[told])
    row = of(study.load(tmp_path, "a").pooled())
    assert all(row[k] == pytest.approx(told[k]) for k in ("effect", "low", "high", "p", "n"))
    assert row["fixed"] == row["effect"] and np.isnan(row["i2"])


def test_one_run_keeps_its_exact_test(tmp_path):
    sides = pd.Series([True] * 40), pd.Series([False] * 15 + [True] * 25)
    exact = contrasts.paired(*sides)
    row = verdicts.answer({"C5": exact}).iloc[0].to_dict()
    made(tmp_path / "a", "01_cot_prompting", claims=[row])
    table = study.load(tmp_path, "a").verdicts().set_index("claim")
    got = table.loc["C5", ["effect", "low", "high", "p"]].tolist()
    assert got == pytest.approx([exact.effect, exact.low, exact.high, exact.p])
    assert table.loc["C5", ["verdict", "why"]].tolist() == ["supported", "about this model"]


def test_a_run_whose_arms_failed_a_gate_has_no_part(tmp_path):
    failed = claim("C1", -0.9, 0.1, verdict="not testable", why="it babbles")
    found = pair(tmp_path / "one", claim("C1", 0.5, 0.1), failed)
    assert found.pooled()["runs"].tolist() == [1]
    row = found.verdicts().set_index("claim").loc["C1"]
    assert (row["verdict"], row["effect"], row["runs"]) == ("supported", 0.5, 2)
    both = pair(tmp_path / "two", failed, failed).verdicts().set_index("claim").loc["C1"]
    assert (both["verdict"], both["why"]) == ("not testable", "it babbles")


def test_the_note_of_the_one_run_that_measured_a_claim_is_kept(tmp_path):
    told = verdicts.Evidence({}, "no judge", "offline: leaks 1 of 9 safe answers")
    row = verdicts.answer({"C11": told}).iloc[0].to_dict()
    made(tmp_path / "a", "04_failure_modes", claims=[row])
    got = study.load(tmp_path, "a").verdicts().set_index("claim").loc["C11"]
    assert got[["verdict", "why", "note"]].tolist() == ["not testable", told.why, told.note]


def test_single_trainings_decide_together_once_there_are_five(tmp_path):
    for count, verdict in ((2, "open"), (5, "supported")):
        base = tmp_path / str(count)
        for i in range(count):
            told = LONG | {"model": f"m{i}"}
            row = claim("C1", 0.5 + 0.01 * i, 0.1, trainings=1)
            assert row["verdict"] == "open"
            made(base / f"p{i}", "02_long_cot_finetuning", claims=[row], parameters=told)
        row = (
            study.load(base, [f"p{i}" for i in range(count)])
            .verdicts()
            .set_index("claim")
            .loc["C1"]
        )
        assert (row["verdict"], row["trainings"], row["runs"]) == (verdict, count, count)


def test_verdicts_correct_over_all_claims_and_name_all(tmp_path):
    base = tmp_path / "mine"
    two = [claim("C1", 0.3, 0.26), claim("C2", -0.5, 0.1)]
    made(base, "02_long_cot_finetuning", claims=two)
    many = [claim("C4", 0.3, 0.27, trainings=1), claim("C5", -0.3, 0.28, trainings=1)]
    made(base, "01_cot_prompting", claims=many)
    stray = [claim("C7", 0.5, 0.1), claim("M1", 0.5, 0.1)]  # not the notebook that answers C7
    made(base, "05_mitigations", claims=stray)
    found = study.load(tmp_path, "mine")
    table = found.verdicts().set_index("claim")
    assert list(table.index) == verdicts.names() and len(table) == 15
    measured = table[table["runs"] > 0]
    assert list(measured.index) == ["C1", "C2", "C4", "C5"]
    # Holm over four, not over two and two
    ps = measured[["p", "also_p"]].max(axis=1).tolist()
    assert measured["p_holm"].tolist() == pytest.approx(metrics.holm(ps))
    assert measured["level"].tolist() == pytest.approx([0.05 / 3, 0.05 / 4, 0.05 / 3, 0.05 / 3])
    assert measured["verdict"].tolist() == ["open", "supported", "open", "open"]
    assert table.drop(measured.index)["verdict"].eq("not testable").all()
    assert {"C7", "M1"} <= set(found.claims["claim"])


def completions(base, *lines):
    path = base / "completions/aligned_base--direct.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(lines))
    return path


def test_completions_are_those_that_the_runs_asked_for_without_their_texts(tmp_path):
    record = {"key": "k1", "id": "h-1", "data": "harmful", "text": "No.", "new_tokens": 3}
    record |= {"finish": "stop", "model": {"name": "aligned base"}, "messages": ["…"]}
    line, more, left = (json.dumps(record | {"key": k}) + "\n" for k in ("k1", "k2", "k3"))
    path = completions(tmp_path / "mine", line, more, left, line[:40])  # one is being written
    before = path.read_bytes()
    for notebook, key, status in (
        ("00", "k1", "done"),
        ("01", "k1", "done"),
        ("02", "k2", "running"),
    ):
        folder = made(tmp_path / "mine", notebook, status=status)
        (folder / "asked.json").write_text(json.dumps({f"completions/{path.name}": [key, "k0"]}))
    made(tmp_path / "mine", "03")  # asked for nothing
    found = study.load(tmp_path, "mine")
    plain, full = found.completions(), found.completions(texts=True)
    assert path.read_bytes() == before
    assert plain.to_dict("records") == [
        {"profile": "mine", "file": "aligned_base--direct", "key": "k1", "id": "h-1"}
        | {"data": "harmful", "model": "aligned base", "new_tokens": 3, "finish": "stop"}
    ]
    assert full["text"].tolist() == ["No."] and set(full) - set(plain) == {"text"}
    path.write_text("{}}\n" + line)
    with pytest.raises(UserError, match=r"line 1 is not JSON"):
        found.completions()


def values(outputs, **more):
    told = params.load(ROOT / "params/smoke/06_verdicts.yaml").values
    return params.Values(**told | {"outputs": str(outputs), "profile": "mine"} | more)


def test_a_run_is_opened_without_a_model_and_notes_what_it_read(tmp_path):
    made(tmp_path / "mine", "00_start_here")
    opened = study.start(study.OWN, values(tmp_path))
    opened.run.finish(opened.unique())
    record = json.loads((tmp_path / "mine/06_verdicts/run.json").read_text())
    assert record["status"] == "done" and list(record["reads"]) == ["mine/00_start_here"]
    assert record["missing"]["mine/01_cot_prompting"] == "not run"


def test_a_run_is_made_again_once_what_it_read_has_changed(tmp_path):
    made(tmp_path / "mine", "00_start_here")
    told = values(tmp_path)
    opened = study.start(study.OWN, told)
    opened.run.finish(opened.unique())
    file = params.load(ROOT / "params/smoke/06_verdicts.yaml")._replace(values=told.as_dict())
    assert not run.is_made(file)
    (tmp_path / "mine/06_verdicts/06_verdicts.ipynb").write_text("{}")
    assert run.is_made(file)
    made(tmp_path / "mine", "01_cot_prompting")
    assert not run.is_made(file)


def test_nothing_to_read_and_a_profile_that_is_not_there_are_said_in_a_line(tmp_path):
    with pytest.raises(UserError, match=r"no finished run in .*mine: run `python -m srlib run min"):
        study.start(study.OWN, values(tmp_path))
    assert not (tmp_path / "mine").exists()
    made(tmp_path / "mine-llama", "00_start_here")
    with pytest.raises(UserError, match=r"'mine-lama' has no results.*did you mean 'mine-llama'"):
        study.preflight(values(tmp_path, profiles=["mine-lama"]).as_dict())


@pytest.mark.parametrize("several", [False, True])
def test_the_notebook_runs_on_what_is_there(tmp_path, several):
    import matplotlib.pyplot as plt

    pair(tmp_path, claim("C2", -0.5, 0.02), claim("C2", -0.51, 0.01))
    made(tmp_path / "mine", "04_failure_modes", rows("aligned base")[1:])  # no plane, no claim
    told = values(tmp_path, profiles=["a", "b"] if several else []).as_dict()
    cells = nbformat.read(ROOT / "notebooks/06_verdicts.ipynb", as_version=4).cells
    space = {}
    for cell in (c.source for c in cells if c.cell_type == "code"):
        exec(cell, space)
        space |= told if "_srlib_checked" not in space else {}
    plt.close("all")
    folder = tmp_path / "mine/06_verdicts"
    assert json.loads((folder / "run.json").read_text())["status"] == "done"
    drawn = {f.stem for f in (folder / "figures").glob("*.png")}
    planes = {f"{name}{end}" for name in ("trade_off", "every_arm") for end in ("", "_2")}
    assert drawn == ({*planes, "claims"} if several else set())
    claims = pd.read_csv(folder / "claims.csv").set_index("claim")
    assert claims.loc["C2", "runs"] == 2 * several
    assert claims.loc["C2", "verdict"] == ("supported" if several else "not testable")
    assert len(pd.read_csv(folder / "metrics.csv")) == (4 if several else 1)
