"""Bounds of single parameters: each is refused beyond them, and every default keeps to them."""

import pytest

from srlib import params
from srlib.base import bounds
from srlib.data import mixtures
from srlib.errors import UserError
from srlib.mitigations import prompted
from srlib.models import loading

NOTEBOOKS = ("00_start_here", "01_cot_prompting", "02_long_cot_finetuning")
NOTEBOOKS += ("03_reflective_safety_data", "04_failure_modes", "05_mitigations", "06_verdicts")
SIGNATURES = {name: params.signature(name) for name in NOTEBOOKS}
KNOWN = {name: p for signature in SIGNATURES.values() for name, p in signature.items()}


def refused(name, value) -> str:
    signature = next(s for s in SIGNATURES.values() if name in s)
    with pytest.raises(UserError) as caught:
        params.check({name: value}, signature, "mine.yaml")
    assert str(caught.value).startswith(f"mine.yaml: {name} ") and "\n" not in str(caught.value)
    return str(caught.value)


def test_every_name_is_a_parameters_and_every_number_has_a_least_value():
    tables = (bounds.LEAST, bounds.ABOVE, bounds.MOST, bounds.BELOW, bounds.CHOICES, bounds.NEEDED)
    assert not {name for table in tables for name in table} - set(KNOWN)
    numbers = {n for n, p in KNOWN.items() if "int" in p.annotation or "float" in p.annotation}
    assert numbers == set(bounds.LEAST) | set(bounds.ABOVE)


@pytest.mark.parametrize("name", [*bounds.LEAST, *bounds.ABOVE])
def test_a_number_too_small_or_too_large_is_refused(name):
    kind = float if "float" in KNOWN[name].annotation else int
    least = bounds.LEAST.get(name)
    for value in (kind(0 if least is None else least - 1), kind(10**20)):
        wrong = [value] if KNOWN[name].annotation.startswith("list") else value
        assert str(value) in refused(name, wrong) and ", give " in refused(name, wrong)


@pytest.mark.parametrize("name", bounds.CHOICES)
def test_a_word_that_is_not_known_is_refused(name):
    word = bounds.CHOICES[name][1]
    wrong = [word + "s"] if KNOWN[name].annotation.startswith("list") else word + "s"
    assert f"did you mean '{word}'" in refused(name, wrong)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("seed", 2**32, "give 4294967295 or less"),
        ("train_seeds", [0, -1], "train_seeds is -1, give 0 or more"),
        ("train_seeds", [], "is empty"),
        ("lora_targets", [], "is empty"),
        ("train_seeds", [3, 4, 3], "holds 3 twice"),
        ("mitigations", ["zero think", "zero think"], "holds 'zero think' twice"),
        ("profile", " ", "is empty"),
        ("profile", "../other", "leaves the folder"),
        ("profile", "/other", "leaves the folder"),
        ("model", "", "is empty"),
        ("profile", "a\ud83d", "holds half a character"),
        ("resta_drops", [1.0], "give a number below 1"),
        ("lora_layers", 1.5, "give 1 or less"),
    ],
)
def test_what_else_is_refused(name, value, words):
    assert words in refused(name, value)


def test_the_words_are_those_of_the_rooms():
    assert set(bounds.FORMS) == set(mixtures.FORMS)
    assert set(bounds.CHOICES["dtype"]) == set(loading.DTYPES)
    assert not set(KNOWN["mitigations"].default) - {*prompted.TEXT, *prompted.DECODING}
