"""What `check` says of claims that a run's numbers are unlikely to decide."""

import pytest

from srlib.analysis import verdicts
from srlib.experiment import preflight

FEW = {"reasoning": [None] * 24, "harmful": [None] * 32, "benign": [None] * 16}
MANY = {kind: [None] * 2000 for kind in FEW}


def said(notebook, rows, **values):
    return preflight.undecidable(notebook, values, rows)


def test_one_training_decides_no_claim_on_training_data():
    for notebook, name in (("02_long_cot_finetuning", "C2"), ("03_reflective_safety_data", "C7")):
        lines = said(notebook, FEW, train_seeds=[0])
        assert [line.split()[0] for line in lines] == verdicts.names(notebook[:2])
        line = next(line for line in lines if line.startswith(f"{name} "))
        assert line.startswith(f"{name} cannot be decided with these numbers; ")
        assert "trainings of each condition" in line


def test_more_prompts_decide_what_few_do_not_on_one_model():
    lines = said("01_cot_prompting", FEW)
    accuracy = next(line for line in lines if line.startswith("C5 "))
    assert accuracy.endswith(" questions could")
    n = int(accuracy.split()[-3])
    assert 100 < n < 1000
    assert said("01_cot_prompting", MANY) == []
    enough = MANY | {"reasoning": [None] * n}
    assert not [line for line in said("01_cot_prompting", enough) if line.startswith("C5")]


def test_enough_trainings_and_prompts_leave_nothing_to_say():
    rows = {kind: [None] * 200 for kind in FEW}
    assert said("02_long_cot_finetuning", rows, train_seeds=[*range(20)]) == []
    lines = said(
        "03_reflective_safety_data", rows, train_seeds=[0, 0, 0, 0, 0]
    )  # one seed, in truth
    assert any(line.startswith("C7 ") for line in lines)


@pytest.mark.parametrize(
    "notebook", ["00_start_here", "04_failure_modes", "05_mitigations", "mine"]
)
def test_notebooks_without_planned_claims_have_no_line(notebook):
    assert said(notebook, FEW, train_seeds=[0]) == []


def test_kinds_that_a_run_has_no_rows_of_are_no_claims_of_it():
    assert said("02_long_cot_finetuning", {}, train_seeds=[0]) == []
    lines = said("02_long_cot_finetuning", {"reasoning": [None] * 24}, train_seeds=[0])
    assert [line.split()[0] for line in lines] == ["C1"]
