"""IRR: identify, remove and recalibrate the unsafe part of a fine-tuning (Wu et al. 2024, arXiv
2412.11041; code at pikepokenew/IRR).

The names are those of `srlib.mitigations.weights`, which offers it too: δ = aligned − unaligned is
the safety vector, ΔW = arm − aligned the update. A row of the table:

    module                             entries  against  removed  safety_norm  update_norm  kept  …
    model.layers.29.self_attn.q_proj    331776     0.49    0.245         0.84         1.95  0.71  …
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .. import store
from ..errors import UserError
from ..models import loading
from ..models.bases import Base
from ..models.deltas import Weights, changed, difference, save_model
from ..progress import progress
from .edits import needs, once

if TYPE_CHECKING:
    from pandas import DataFrame

DAMP = 0.01  # of the Hessian's mean diagonal, added to it, as in SparseGPT
BLOCK = 128  # columns recalibrated at a time; it changes the speed alone
HELD = 2**29  # entries of Hessians held at a time (2 GiB)


def irr(
    aligned: Base, unaligned: Base, arm: Base, rows: list[dict], share: float, outputs: Path,
    profile: Path, dtype: str, task_rows: Sequence[dict] = (),
) -> tuple[Base, DataFrame]:  # fmt: skip
    """IRR on the arm's linear layers, module by module.

    1. Identify: the entries of ΔW whose sign is opposite to δ's, scored by the diagonal Fisher
       information of the *aligned* model on `rows`: safe answers to harmful requests.
    2. Remove: the `share` in (0, 1] of them with the largest scores becomes 0 in ΔW.
    3. Recalibrate: the others in the same row of ΔW make up for it, so that the module's outputs on
       `task_rows`, rows of the arm's own training, change least (optimal brain surgeon by
       SparseGPT's column sweep, H = Σ x xᵀ of the module's inputs). Without `task_rows` this step
       is left out: safety rows in their place would restore the arm's behaviour on just these.

    Read in the authors' code: signs, score, the aligned model's Fisher information, Hessian from
    task rows, damping, sweep; `share` is 1 there by default (1 − sparsity). Otherwise here: entries
    where δ is 0 are kept (there they count as opposite); they are picked in the whole module at
    once (there in blocks of 128 columns, by signs that already are recalibrated); the inputs are
    the arm's own (there those after the layers below were treated).

    The Fisher information takes 4 bytes a weight of the modules treated. The result is a whole
    model. Raises UserError for no rows, a share outside (0, 1], and as `edits.once` does.
    """
    if not rows:
        raise UserError("IRR has no safety rows to identify unsafe weights with; give a few dozen")
    if not 0 < share <= 1:
        raise UserError(f"IRR's share is {share}; give a share of the unsafe entries in (0, 1]")
    told = {
        "share": float(share),
        "dtype": loading.pick_dtype(dtype),
        "rows": store.digest(list(rows)),
        "task_rows": store.digest(list(task_rows)) if task_rows else None,
    }
    make = partial(_remove, rows=rows, task_rows=task_rows, share=share, dtype=told["dtype"])
    name = f"irr {share:g}" + ("" if task_rows else " uncalibrated")
    return once(name, told, (aligned, unaligned, arm), outputs, profile, make)


def _remove(
    folder, aligned: Weights, unaligned: Weights, arm: Weights, rows, task_rows, share, dtype
):
    import pandas as pd

    changed(aligned, unaligned)  # for its checks
    names = set(changed(arm, aligned)) & set(arm.linear)
    names = [name for name in arm.files if name in names]  # the order they are written in
    lm = aligned.base.load(aligned.outputs, dtype)
    scores = fisher(lm, rows, names)
    del lm
    gc.collect()
    hessians = _hessians(arm, task_rows, names, dtype) if task_rows else None
    table = []

    def change(name: str):
        if name not in scores:
            return None
        update, safety = difference(arm, aligned, name), difference(aligned, unaligned, name)
        bad = unsafe(update, safety, scores.pop(name), share)
        new = update.masked_fill(bad, 0.0)
        if hessians:
            new = recalibrate(update, bad, hessians(name))
        against = ((update.sign() * safety.sign()) < 0).float().mean().item()
        size = update.norm().item()
        table.append({
            "module": name.removesuffix(".weight"), "entries": update.numel(), "against": against,
            "removed": bad.float().mean().item(), "safety_norm": safety.norm().item(),
            "update_norm": size, "kept": new.norm().item() / size if size else 1.0,
            "recalibrated": bool(hessians),
        })  # fmt: skip
        return new - update

    save_model(arm, change, folder)
    table = pd.DataFrame(table)
    needs(table, "safety_norm", "update_norm")
    return table


def tokens(tokenizer, row: dict):
    """A row's token ids and its labels, −100 but for the completion, both 1 × length."""
    import torch

    chats = row["prompt"], row["prompt"] + row["completion"]
    asked = tokenizer.apply_chat_template(chats[0], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(chats[1], tokenize=False)
    start, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (asked, whole))
    ids = torch.tensor([ids])
    labels = ids.clone()
    labels[:, : len(start)] = -100
    return ids, labels


def fisher(lm: loading.LM, rows: list[dict], names: list[str]) -> dict:
    """The diagonal Fisher information of the weights `names`, float32 and of their shapes.

    It is the mean over `rows` of the squared gradient of a row's loss, the mean cross-entropy of
    the completion's tokens (the empirical Fisher information of one row a batch).
    """
    import torch

    lm.model.requires_grad_(False)
    if lm.device == "cpu":
        lm.model.set_attn_implementation("eager")  # its backward pass is the faster one there
    found, hooks = {}, []
    for name in names:
        weight = lm.model.get_parameter(name).requires_grad_(True)
        found[name] = torch.zeros_like(weight, dtype=torch.float32)

        def keep(weight, into=found[name]):
            into.addcmul_(weight.grad.float(), weight.grad.float(), value=1 / len(rows))
            weight.grad = None  # so that one gradient at a time is held

        hooks.append(weight.register_post_accumulate_grad_hook(keep))
    bar = progress(len(rows), "Fisher information")
    for row in rows:
        ids, labels = (t.to(lm.device) for t in tokens(lm.tokenizer, row))
        with torch.enable_grad():
            lm.model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        bar.update(1)
    bar.close()
    for hook in hooks:
        hook.remove()
    lm.model.requires_grad_(False)
    return found


def unsafe(update, safety, score, share: float):
    """Which entries to remove: the `share` with the largest score of those of opposite sign."""
    import torch

    against = (update.sign() * safety.sign()) < 0
    ranked = score.to(update.device).masked_fill(~against, -1.0).flatten()
    chosen = ranked.topk(round(share * against.sum().item())).indices
    return torch.zeros_like(against).flatten().index_fill(0, chosen, True).view_as(against)


def grams(lm: loading.LM, rows: list[dict], names: list[str]) -> dict:
    """Σ x xᵀ over the tokens of `rows` of the inputs x of linear layers, in × in, float32."""
    import torch

    found, hooks = {}, []
    for name in names:
        layer = lm.model.get_submodule(name.removesuffix(".weight"))
        width = layer.in_features
        found[name] = torch.zeros(width, width, device=lm.device)

        def keep(_, args, into=found[name]):
            inputs = args[0].flatten(0, -2).float()
            into.addmm_(inputs.T, inputs)

        hooks.append(layer.register_forward_pre_hook(keep))
    with torch.inference_mode():
        for row in rows:
            lm.model.get_decoder()(
                input_ids=tokens(lm.tokenizer, row)[0].to(lm.device), use_cache=False
            )
    for hook in hooks:
        hook.remove()
    return found


def _hessians(arm: Weights, rows: list[dict], names: list[str], dtype: str):
    """A function that gives each of `names` its Hessian once, in this order; the arm reads the rows
    again for as many modules as fit into memory."""
    lm, held = arm.base.load(arm.outputs, dtype), {}
    size = {name: arm.shapes[name][1] ** 2 for name in names}

    def of(name: str):
        if name not in held:
            some, room = [], HELD
            for other in names[names.index(name) :]:
                room -= size[other]
                if some and room < 0:
                    break
                some.append(other)
            held.update(grams(lm, rows, some))
        return held.pop(name)

    return of


def recalibrate(update, removed, hessian):
    """`update` (out × in) with the entries `removed` at 0, and those right of them moved so that
    its products with inputs of this Hessian (in × in) change least.

    Optimal brain surgeon (Hassibi & Stork 1993) by the column sweep of SparseGPT (Frantar &
    Alistarh 2023, arXiv 2301.00774): with H⁻¹ = Uᵀ U, U upper triangular, removing w_j adds
    −w_j / U_jj · U_j,j… to the entries from j on.
    """
    import torch

    new, hessian = update.clone(), hessian.to(update.device, copy=True)
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1.0  # inputs that never are anything but 0
    diagonal += DAMP * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor = torch.linalg.cholesky(inverse, upper=True)
    for start in range(0, new.shape[1], BLOCK):
        end = min(start + BLOCK, new.shape[1])
        errors = torch.zeros_like(new[:, start:end])
        for column in range(start, end):
            error = torch.where(removed[:, column], new[:, column], 0.0) / factor[column, column]
            new[:, column:end] -= torch.outer(error, factor[column, column:end])
            errors[:, column - start] = error
        new[:, end:] -= errors @ factor[start:end, end:]
    return new.masked_fill(removed, 0.0)
