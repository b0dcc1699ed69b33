"""Mitigations in weight space: the safety that a fine-tuning took is put back into the weights.

An *unaligned* model became the *aligned base* by its safety tuning, and that became the *arm* by a
further fine-tuning. The safety vector is δ = aligned − unaligned, the update is ΔW = arm − aligned.

    before, aligned, arm = Base("embedded"), Base("embedded", (A,)), Base("embedded", (A, B))
    mended, table = safe_lora(aligned, before, arm, "threshold", 0.35, outputs, profile)
    mended, table = resta(aligned, before, arm, gamma=0.5, drop=0.0, seed=0, …)

`table` has a row a module; of Safe LoRA:

    module                             similarity  projected  kept  safety_norm  update_norm
    model.layers.29.self_attn.q_proj         0.31       True  0.02         0.84         1.95

A result is made once, in a folder named by a digest of what made it, as arms are: a LoRA adapter
for the aligned base where it still is one, else a whole model. `irr`, too, is to be had from here.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..models.adapters import join, save_adapter
from ..models.bases import Base
from ..models.deltas import Weights, added, changed, difference, named, save_model
from .edits import needs, once
from .irr import irr as irr

if TYPE_CHECKING:
    from pandas import DataFrame


def cosine(one, other) -> float:
    """Of two matrices as vectors; 0 where one of them is 0."""
    sizes = (one.norm() * other.norm()).item()
    return (one * other).sum().item() / sizes if sizes else 0.0


def project(safety, update):
    """C · `update` with C = V Vᵀ / ‖V‖_F; C, out × out, is never formed."""
    return safety @ (safety.T @ update) / safety.norm()


def safe_lora(
    aligned: Base, unaligned: Base, arm: Base, mode: str, value: float, outputs: Path, profile: Path
) -> tuple[Base, DataFrame]:
    """Safe LoRA (Hsu et al. 2024, arXiv 2405.16833): where the update is least like its projection
    onto the safety vector, that projection takes its place.

    A module's V = aligned − unaligned makes C = V Vᵀ / ‖V‖_F; similarity is the cosine of C·ΔW and
    ΔW. Projected are the modules below `value` in [0, 1] (`mode` threshold), or the `value` least
    similar ones (number). Checked against copies of IBM/SafeLoRA's model.py, where it is "at most"
    in place of "below", and 0.5 and 10 are the defaults. C is no true projection, it scales by
    about ‖V‖: a small safety vector all but deletes what is projected (`kept` is ‖C·ΔW‖/‖ΔW‖).
    Linear layers' weights alone are touched; a module without a safety vector is left as it is.

    A LoRA arm's result is a LoRA adapter of the same form, (C·B)·A; another arm's is a whole model.
    Raises UserError for a wrong mode or value, and as `once`, `changed` and `Weights` do.
    """
    if mode not in ("threshold", "number"):
        raise UserError(f"Safe LoRA's mode is {mode!r}; use threshold or number")
    if mode == "threshold" and not 0 <= value <= 1:
        raise UserError(f"Safe LoRA's threshold is {value}; give a cosine similarity in [0, 1]")
    if mode == "number" and (value < 1 or value != int(value)):
        raise UserError(f"Safe LoRA's number of modules is {value}; give a whole number from 1 on")
    made = partial(_project, mode=mode, value=value)
    told, name = {"mode": mode, "value": float(value)}, f"safe_lora {mode} {value:g}"
    return once(name, told, (aligned, unaligned, arm), outputs, profile, made)


def _project(folder, aligned: Weights, unaligned: Weights, arm: Weights, mode: str, value: float):
    import pandas as pd

    changed(aligned, unaligned)  # for its checks
    names = [name for name in changed(arm, aligned) if name in arm.linear]
    table = pd.DataFrame([_similarity(name, aligned, unaligned, arm) for name in names])
    needs(table, "safety_norm", "update_norm")
    able = table["similarity"].notna().sum()
    if mode == "number" and value > able:
        raise UserError(f"Safe LoRA cannot project {value:g} modules, there are {able}; give fewer")
    by = table["similarity"].rank(method="first") - 1 if mode == "number" else table["similarity"]
    table.insert(2, "projected", by < value)
    chosen = {name for name, yes in zip(names, table["projected"], strict=True) if yes}

    def change(name: str):
        if name not in chosen:
            return None
        update = difference(arm, aligned, name)
        return project(difference(aligned, unaligned, name), update) - update

    first = added(arm, aligned)
    if first is None:
        save_model(arm, change, folder)
        return table
    adapters = {named(n): 1.0 for n in range(first, len(arm.base.adapters))}
    adapter = join(arm, adapters) if len(adapters) > 1 else named(first)
    for name in chosen:
        factor, safety = (
            arm.layers[name].lora_B[adapter].weight,
            difference(aligned, unaligned, name),
        )
        factor.data = project(safety, factor.data.to(safety.device)).cpu()
    save_adapter(arm, adapter, folder)
    return table


def _similarity(name: str, aligned: Weights, unaligned: Weights, arm: Weights) -> dict:
    safety, update = difference(aligned, unaligned, name), difference(arm, aligned, name)
    sizes = safety.norm().item(), update.norm().item()
    found = project(safety, update) if all(sizes) else None
    return {
        "module": name.removesuffix(".weight"),
        "similarity": cosine(found, update) if all(sizes) else math.nan,
        "kept": found.norm().item() / sizes[1] if all(sizes) else math.nan,
        "safety_norm": sizes[0],
        "update_norm": sizes[1],
    }


def resta(
    aligned: Base, unaligned: Base, arm: Base, gamma: float, drop: float, seed: int,
    outputs: Path, profile: Path,
) -> tuple[Base, DataFrame]:  # fmt: skip
    """RESTA (Bhardwaj et al. 2024, arXiv 2402.11746): θ_arm + γ·δ, the safety vector put back.

    With `drop` = p above 0, DARE (Yu et al. 2023, arXiv 2311.03099) first thins δ: every entry is
    set to 0 with probability p, the others are divided by 1 − p. The sum was checked in others'
    descriptions and code, the authors' not being at hand; these disagree on what DARE thins in the
    paper, δ (as here) or the fine-tuning's own deltas. All tensors that differ take part, norms and
    embeddings too.

    Where both are LoRA and nothing is dropped, a LoRA adapter holds the sum exactly (PEFT's `cat`;
    its `dare_linear` thins the factors A and B, not δ, and is not used on adapters). Raises
    UserError for `gamma` below 0, `drop` outside [0, 1), and as `once` and `changed` do.
    """
    if not 0 <= gamma < math.inf:
        raise UserError(f"RESTA's gamma is {gamma}; give 0 or more")
    if not 0 <= drop < 1:
        raise UserError(f"RESTA's drop is {drop}; give a share of δ's entries in [0, 1)")
    told = {"gamma": float(gamma), "drop": float(drop), "seed": seed if drop else None}
    name = f"resta {gamma:g}" + (f" dare {drop:g}" if drop else "")
    make = partial(_restore, gamma=gamma, drop=drop, seed=seed)
    return once(name, told, (aligned, unaligned, arm), outputs, profile, make)


def _restore(folder, aligned: Weights, unaligned: Weights, arm: Weights, gamma, drop, seed):
    import pandas as pd
    import torch
    from peft.utils.merge_utils import dare_linear

    names, rows = changed(aligned, unaligned), []
    changed(arm, aligned)  # for its checks

    def change(name: str):
        if name not in names:
            return None
        safety, update = (
            difference(*two, name).cpu() for two in ((aligned, unaligned), (arm, aligned))
        )
        plus = dare_linear([safety], torch.tensor([gamma]), 1 - drop) if drop else gamma * safety
        rows.append({
            "module": name.removesuffix(".weight"), "safety_norm": safety.norm().item(),
            "update_norm": update.norm().item(), "cosine": cosine(safety, update),
            "added_norm": plus.norm().item(),
        })  # fmt: skip
        return plus

    start, end = added(aligned, unaligned), added(arm, aligned)
    if start is None or end is None or drop:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            save_model(arm, change, folder)
    else:
        for name in names:
            change(name)
        shares = {named(n): gamma if n < end else 1.0 for n in range(start, len(arm.base.adapters))}
        save_adapter(arm, join(arm, shares), folder)
    table = pd.DataFrame(rows)
    needs(table, "safety_norm")
    return table
