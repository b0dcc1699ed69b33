"""The weights of a Base, tensor by tensor: read, subtracted, written; no whole model is held.

What makes one model of another is exact where it is LoRA adapters (scaling · B · A, their config as
PEFT reads it), and else the difference of two models' files:

    aligned, arm = (Weights(Base("embedded", a), outputs) for a in ((A,), (A, B)))
    changed(arm, aligned)            # ["model.layers.29.self_attn.q_proj.weight", …]
    difference(arm, aligned, name)   # a float32 matrix, out × in

Used by `srlib.mitigations.weights` and `srlib.mitigations.irr`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .. import store
from ..errors import UserError
from . import loading
from .bases import Base

if TYPE_CHECKING:
    pass

SHARD = "2GB"  # of a whole model that is written; so much is held in memory


class Weights:
    """A Base's weights as float32 tensors, adapters merged, by the names in the model's files.

    `net` is the model with its adapters but without weights of its own; `linear` names the weights
    of its linear layers below the output embedding. Raises UserError for an adapter of another
    base, or one that is more than LoRA on linear layers.
    """

    def __init__(self, base: Base, outputs: Path):
        from transformers import AutoConfig

        if base.model == loading.EMBEDDED:
            loading.tokenizer(base.model, outputs)  # unpacks it
        self.base, self.outputs = base, outputs
        self.source, mark = loading.resolve(base.model, outputs)
        self.config = AutoConfig.from_pretrained(self.source)
        self.net, self.head, self.linear = _skeleton(self.config)
        for number, adapter in enumerate(base.adapters):
            made_for = (
                store.read_json(adapter / "run.json").get("base", {}).get("fingerprint", mark)
            )
            if made_for != mark:
                raise _foreign(adapter, f"its base was {made_for}, this is {mark}")
            self.net = _adapt(self.net, adapter, named(number), self.linear)
            mark = loading.merged_mark(mark, adapter)

    @cached_property
    def layers(self) -> dict:
        """Return PEFT's LoRA layers, by the weight that each changes."""
        from peft.tuners.lora import LoraLayer

        modules = self.net.base_model.model.named_modules() if self.base.adapters else ()
        return {f"{name}.weight": layer for name, layer in modules if isinstance(layer, LoraLayer)}

    @cached_property
    def files(self) -> dict:
        """Return the open file of each tensor; an output embedding that is tied has no entry."""
        from safetensors import safe_open
        from transformers.utils import cached_file
        from transformers.utils.hub import get_checkpoint_shard_files

        index = "model.safetensors.index.json"
        index = cached_file(self.source, index, _raise_exceptions_for_missing_entries=False)
        if index:
            parts = get_checkpoint_shard_files(self.source, index)[0]
        else:
            parts = [cached_file(self.source, "model.safetensors")]
        opened = [safe_open(part, "pt") for part in parts]
        tied = self.head if self.config.tie_word_embeddings else None
        file_by_tensor = {n: part for part in opened for n in part.keys() if n != tied}  # noqa: SIM118
        if missing := [name for name in self.linear if name not in file_by_tensor]:
            raise UserError(
                f"the files of {self.base.model} do not hold {missing[0]}; load the model with "
                "transformers, save it with `save_pretrained`, and name that folder"
            )
        return file_by_tensor

    @cached_property
    def shapes(self) -> dict[str, list[int]]:
        return {name: part.get_slice(name).get_shape() for name, part in self.files.items()}

    def lora(self, name: str, since: int = 0):
        """Return what the adapters from number `since` on add to a weight; None where none does."""
        layer, numbers = self.layers.get(name), range(since, len(self.base.adapters))
        adapters = [a for a in map(named, numbers) if layer and a in layer.lora_A]
        deltas = [layer.get_delta_weight(a) for a in adapters]
        return sum(deltas) if deltas else None

    def __getitem__(self, name: str):
        whole, delta = self.files[name].get_tensor(name).float(), self.lora(name)
        return whole if delta is None else whole + delta


def named(number: int) -> str:
    """Return PEFT's name for an adapter; it would take a bare number for that of a layer."""
    return f"adapter{number}"


def _skeleton(config):
    """Build a model of these shapes whose every weight is one number, expanded: it takes no memory.

    Returns the model, the name of its output embedding's weight, and those of its linear layers.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with loading.quiet(), torch.device("meta"):
        net = AutoModelForCausalLM.from_config(config)
    head = net.get_output_embeddings()
    names = {m: f"{name}.weight" for name, m in net.named_modules()}
    for module in names:
        for name, weight in list(module.named_parameters(recurse=False)):
            one = torch.nn.Parameter(torch.zeros(()).expand(weight.shape), requires_grad=False)
            setattr(module, name, one)
    linear = [n for m, n in names.items() if isinstance(m, torch.nn.Linear) and m is not head]
    return net, names[head], linear


def _adapt(net, adapter: Path, name: str, linear: list[str]):
    from peft import PeftModel
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(adapter / "adapter_model.safetensors", "pt") as opened:
            keys = [key.removeprefix("base_model.model.") for key in opened.keys()]  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"adapter {adapter} is damaged ({error}); make it again") from None
    if others := [k for k in keys if not k.endswith((".lora_A.weight", ".lora_B.weight"))]:
        raise UserError(
            f"adapter {adapter} holds {others[0]}, more than LoRA matrices of linear layers; train "
            "it without DoRA, biases, embeddings and modules_to_save"
        )
    layers = {key.partition(".lora_")[0] for key in keys}
    if alien := sorted(layer for layer in layers if f"{layer}.weight" not in linear):
        raise _foreign(adapter, f"it adapts {alien[0]}, which is no linear layer of this one")
    try:
        with loading.quiet():
            if not isinstance(net, PeftModel):
                return PeftModel.from_pretrained(net, adapter, name, torch_device="cpu")
            net.load_adapter(adapter, name, torch_device="cpu")
            return net
    except (RuntimeError, ValueError, KeyError) as error:  # other shapes, other layers
        raise _foreign(adapter, str(error).strip().split("\n")[-1].strip()) from error


def _foreign(adapter: Path, told: str) -> UserError:
    return UserError(
        f"adapter {adapter} was made for another base model ({told[:120]}); name that base, or "
        "another adapter"
    )


def added(after: Weights, before: Weights) -> int | None:
    """Return the first further adapter's number where `after` is `before` with more merged.

    None where it is not."""
    ours, theirs = ([p.resolve() for p in w.base.adapters] for w in (after, before))
    same = after.base.model == before.base.model and ours[: len(theirs)] == theirs
    return len(theirs) if same else None


def changed(after: Weights, before: Weights) -> list[str]:
    """Return the tensors in which two models can differ. Raises UserError where they are not two
    states of one architecture: other names or other shapes."""
    first = added(after, before)
    if first is not None:
        return [name for name in after.layers if after.lora(name, first) is not None]
    ours, theirs = after.shapes, before.shapes
    odd = [n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n)]
    if odd:
        name = min(odd)
        raise UserError(
            f"{after.base.model} and {before.base.model} are not two states of one model: {name} "
            f"is {ours.get(name)} in the one, {theirs.get(name)} in the other; name another model"
        )
    return list(ours)


def difference(after: Weights, before: Weights, name: str):
    """Return `after` − `before` of one tensor, float32, on the GPU if there is one; 0 if equal."""
    import torch

    first = added(after, before)
    delta = after[name] - before[name] if first is None else after.lora(name, first)
    if delta is None:
        delta = torch.zeros(())
    return delta.to("cuda" if torch.cuda.is_available() else "cpu")


def save_model(weights: Weights, change: Callable, folder: Path) -> None:
    """Save a whole model, tensor by tensor, with configuration and tokenizer.

    Saved are the weights, and where `change(name)` is not None that added to them; each in the
    precision of its file."""
    import torch
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save_file
    from transformers import GenerationConfig

    empty = {
        n: torch.empty(shape, dtype=weights.files[n].get_slice(n)[:0].dtype, device="meta")
        for n, shape in weights.shapes.items()
    }
    plan = split_torch_state_dict_into_shards(
        empty, filename_pattern="model{suffix}.safetensors", max_shard_size=SHARD
    )
    folder.mkdir(parents=True)
    for file, names in plan.filename_to_tensors.items():
        part = {}
        for name in names:
            delta = change(name)
            whole = weights[name] if delta is None else weights[name] + delta.cpu()
            part[name] = whole.to(empty[name].dtype).contiguous()
        save_file(part, folder / file, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        store.write_json(folder / "model.safetensors.index.json", index)
    weights.config.save_pretrained(folder)
    with contextlib.suppress(OSError):  # not every model has one
        GenerationConfig.from_pretrained(weights.source).save_pretrained(folder)
    loading.tokenizer(weights.base.model, weights.outputs).save_pretrained(folder)
