"""What would stop a notebook in one of its last cells, or have it compare a thing with itself.

    check(values, prompts_of)       raises UserError before anything is loaded
    completions(values)             the same for completions made elsewhere (notebook 04)

Each notebook's part is recognised by its parameters; bounds on single ones are `srlib.base.bounds`.
"""

from __future__ import annotations

from ..data import mixtures, trainsets
from ..errors import UserError, meant
from ..grading import offline
from ..models import modelsize
from ..training import preference_rows, preferences
from . import arms
from .serving import WEIGHTS

COMPARED = ("reasoning_shots", "safety_shots")  # their least and greatest values


def check(values: dict, prompts_of: list[str], outputs) -> None:
    """Check what the later cells of a notebook need. `prompts_of`: the evaluation prompts. Raises
    UserError at the first fault; loads no model (where layers are named, its config is read)."""
    for name in COMPARED:
        if len(set(values.get(name, "ab"))) < 2:
            raise UserError(
                f"{name} is {values[name]}, and its least and greatest values are compared: give "
                "at least two"
            )
    for name in ("base_arm", "short_arms", "long_arms"):
        if values.get(name):
            raise UserError(f"{name} is for an arm of `completions`, which names no file: name one")
    _growth(values)
    tuned_arms = arms.of(values)
    taken = {"base", "aligned base", values["model"], *(arm.name for arm in tuned_arms)}
    if clash := taken & set(values.get("more_arms", {})):
        raise UserError(f"more_arms names {min(clash)!r}, which is another arm of this run: rename")
    if "reflective_form" in values:  # notebook 03 shows a row in every form
        (row,) = trainsets.load(values["reflective_data"], 1, values["seed"]).examples
        for form in mixtures.FORMS:
            mixtures.in_form(row, form)
    _edits(values, prompts_of)
    if tuned_arms and values["train_method"] == "lora":
        _adapters(values, outputs)
    if 0 < values.get("dpo_rows", 0) < values.get("dpo_least", 0):
        raise UserError(
            f"dpo_least is {values['dpo_least']}, and pairs are made of {values['dpo_rows']} "
            "harmful requests (dpo_rows), so that DPO never runs: lower it, or give more rows, or 0"
        )
    for method, preference in preferences.of(values).items():
        if method == "grpo":
            rows = preference_rows.rows_of(method, values, prompts_of)
            preferences.check_rows("GRPO", rows, preference)


def _growth(values: dict) -> None:
    """Check that notebook 02 can compare a short and a long-CoT set as they grow."""
    grown = values.get("growth_sets")
    if grown is not None and not (values["growth"] or values["dose"]):
        raise UserError(
            "growth and dose are both empty, and more rows are compared with fewer: give one of "
            "them"
        )
    for family in ("short_sets", "long_sets") if grown is not None else ():
        if not set(grown) & set(values[family]):
            raise UserError(
                f"growth_sets names none of {family} ({', '.join(values[family])}): name one of "
                "each, which are compared"
            )


def _edits(values: dict, prompts_of: list[str]) -> None:
    """Check that notebook 05's edits of weights have the model from before its safety tuning."""
    if not (edits := [name for name in WEIGHTS if values.get(name)]):
        return
    if not (values["align"] or values["unaligned_model"]):
        raise UserError(
            f"{', '.join(edits)} need what the model was before its safety tuning: name it as "
            "unaligned_model, set align to true, or them to []"
        )
    if values["resta"] and not values["resta_drops"]:
        raise UserError("resta_drops is empty, so that resta does nothing: give 0.0 for without")
    if values["irr"]:
        safety, seed = (values["direct_data"], values["irr_rows"], "direct"), arms.seeds(values)[0]
        mixtures.build(mixtures.Mixture("", 0, *safety, seed=seed), prompts_of)


def _adapters(values: dict, outputs) -> None:
    """Check that the layers and modules that adapters, and Safe LoRA, are to change are there."""
    share, targets = values["lora_layers"], values["lora_targets"]
    number = values.get("safe_lora_mode") == "number" and values["safe_lora"]
    if share == 1 and targets == ["all-linear"] and not number:
        return
    names = modelsize.linear(values["model"], outputs)
    depth = modelsize.of(values["model"], outputs).layers
    if round(share * depth) < 1:
        raise UserError(
            f"lora_layers is {share:g} of {depth} layers, which is none: give {1 / depth:.2g} or "
            "more"
        )
    kinds = sorted({name.rpartition(".")[2] for name in names})
    if targets != ["all-linear"]:
        for target in targets:
            if not any(name == target or name.endswith(f".{target}") for name in names):
                raise UserError(
                    f"lora_targets names {target!r}, which is no linear layer of "
                    f"{values['model']}{meant(target, kinds)}; use all-linear alone, or some of "
                    f"{', '.join(kinds)}"
                )
    if number:
        of_all = targets == ["all-linear"]
        able = [n for n in names if of_all or any(f".{n}".endswith(f".{t}") for t in targets)]
        most = len(able) * round(share * depth) // depth
        if max(number) > most:
            raise UserError(
                f"safe_lora is {max(number):g} modules, and adapters change {most}; give fewer"
            )


def completions(values: dict) -> None:
    """Read a file of completions, and check that what is asked of it is in it."""
    table = offline.from_file(values["completions"])
    known = [*dict.fromkeys(table["arm"])]
    sides = {"base_arm": [values["base_arm"]] if values["base_arm"] else []}
    sides |= {name: values[name] for name in ("short_arms", "long_arms")}
    seen: dict[str, str] = {}
    for side, names in sides.items():
        for name in names:
            if name not in known:
                raise UserError(
                    f"{side} names {name!r}, which is no arm of {values['completions']}"
                    f"{meant(name, known)} (its arms: {', '.join(known)})"
                )
            if name in seen:
                raise UserError(f"{name!r} is in {seen[name]} and in {side}: keep it in one")
            seen[name] = side
    if not (table["kind"] == "harmful").any():
        raise UserError(f"{values['completions']} has no harmful row, which is what is looked at")
