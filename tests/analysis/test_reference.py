"""reference: the kept trainings as a tidy table, none where nothing is kept."""

from types import SimpleNamespace

import pandas as pd
import pytest

from srlib.analysis import reference
from srlib.errors import UserError
from srlib.experiment import evaluate


def completions(arm, family, seed, right=(True, False), labels=("refusal", "compliance"), **more):
    """A few graded rows of one training: two questions, two requests, one look-alike."""
    told = {"arm": arm, "family": family, "set": "stories", "amount": 0, "form": "none"}
    told |= {"share": 1.0, "seed": seed, "truncated": False} | more
    table = [told | {"id": f"r{i}", "kind": "reasoning", "correct": c} for i, c in enumerate(right)]
    table += [
        told | {"id": f"h{i}", "kind": "harmful", "label": said} for i, said in enumerate(labels)
    ]
    return [*table, told | {"id": "b0", "kind": "benign", "label": "refusal"}]


@pytest.fixture
def kept(tmp_path):
    """A folder with a profile "study": two trainings of one arm, a part, one with safety rows."""
    table = completions("long ×536", "long CoT", 0)
    table += completions("long ×536, seed 3", "long CoT", 3, (True, True), (None, "compliance"))
    table += completions("long ×536 at 0.5", "long CoT", 0, share=0.5)
    table += completions(
        "long ×536 + 8 direct", "direct", 0, labels=("refusal",) * 2, amount=8, form="direct"
    )
    (tmp_path / "study").mkdir()
    pd.DataFrame(table).to_csv(tmp_path / "study/graded.csv", index=False)
    return tmp_path


def test_a_row_is_a_training_with_its_rates(kept):
    table = reference.trainings(folder=kept)
    columns = [*reference.CONDITION, "seed", *reference.RATES]
    assert list(table) == columns and len(table) == 4
    long = table[(table["arm"] == "long ×536")].set_index("seed")
    assert long["exact_match"].to_dict() == {0: 0.5, 3: 1.0}
    assert long["refusal_rate"].to_dict() == {0: 0.5, 3: 0.0}
    assert long["attack_success_rate"].to_dict() == {0: 0.5, 3: 0.5}
    assert long["over_refusal_rate"].to_dict() == {0: 1.0, 3: 1.0}
    assert not table.duplicated([*reference.CONDITION, "seed"]).any()


def test_a_training_that_two_notebooks_kept_counts_once(kept):
    file, once = kept / "study/graded.csv", reference.trainings(folder=kept)
    twice = pd.read_csv(file)
    wrong = twice[twice["arm"] == "long ×536"].assign(correct=True, label="refusal")
    pd.concat([twice, twice, wrong]).to_csv(file, index=False)
    pd.testing.assert_frame_equal(reference.trainings(folder=kept), once)


def test_a_seed_on_another_machine_is_another_training(kept):
    file = kept / "study/graded.csv"
    here = pd.read_csv(file).assign(machine="here")
    there = here[here["arm"] == "long ×536"].assign(machine="there", correct=True)
    pd.concat([here, there]).to_csv(file, index=False)
    table = reference.trainings(folder=kept, amount=0, share=1)
    assert table.set_index(["machine", "seed"])["exact_match"].to_dict() == {
        ("here", 0): 0.5,
        ("here", 3): 1.0,
        ("there", 0): 1.0,
    }


def test_rows_are_picked_by_a_value_or_several(kept):
    assert len(reference.trainings(folder=kept, share=1, amount=0)) == 2
    assert set(reference.trainings(folder=kept, family=["direct", "other"])["amount"]) == {8}
    none = reference.trainings(folder=kept, family="other")
    assert none.empty and "exact_match" in none
    with pytest.raises(UserError, match="lacks the columns colour"):
        reference.trainings(folder=kept, colour="red")


def test_a_profile_that_is_not_kept_is_none(tmp_path):
    assert reference.trainings("nothing", tmp_path) is None


def test_lacking_columns_are_named(kept):
    file = kept / "study/graded.csv"
    pd.read_csv(file).drop(columns=["label", "seed"]).to_csv(file, index=False)
    with pytest.raises(UserError, match="lacks the columns seed, label"):
        reference.trainings(folder=kept)


def test_a_run_of_another_model_or_on_other_data_has_no_reference(kept):
    same = dict(reference.MADE_WITH)
    for values, found in (
        (same, 4),
        (same | {"model": "mine"}, None),
        (same | {"reasoning_data": "gsm8k"}, None),
    ):
        run = SimpleNamespace(values=values)
        table = evaluate.Study.reference(run, folder=kept)
        assert (None if table is None else len(table)) == found
