"""One set of weights in memory for all arms of a process.

A study asks dozens of arms that differ by an adapter of a few MB. Loading each by itself takes the
time, and where several are alive the memory, of whole models. Here a model is loaded once; an arm's
adapters are merged into it when the arm is asked, and when another one is, what they touched is put
back from a copy, to the bit.

    one = lend("embedded", outputs, "float32", (aligned, arm))    # an LM as `loading.load` gives it
    other = lend("embedded", outputs, "float32", (aligned,))
    other.model; one.model                  # the same module, each time with the right weights

Used for answering only: what trains or changes weights loads a model of its own, and calls `let_go`
before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from .. import store
from . import loading


@dataclass
class Held:
    """The model in memory: `adapters` are merged into it now; `kept` has what they touched."""

    place: tuple
    lm: loading.LM
    mark: str
    adapters: tuple[Path, ...] = ()
    kept: dict = field(default_factory=dict)  # parameter -> its values as they came, on the CPU
    spoilt: bool = False  # an adapter is in it that cannot be taken out


_held: list[Held] = []  # at most one


def lend(
    model: str, outputs: Path, dtype: str, adapters: tuple[Path, ...] = (), name: str = ""
) -> loading.LM:
    """Return the model with adapters merged, as `loading.load` gives it, in the memory that all
    arms share.

    Raises UserError as `loading.load` does, and at once.
    """
    put = partial(_put, (model, outputs, loading.pick_dtype(dtype)), tuple(adapters))
    put()
    lm = _held[0].lm
    return replace(lm, name=name or model, net=put, fingerprint=_held[0].mark)


def let_go() -> None:
    """Free the memory; an arm that is asked again loads the model again."""
    import torch

    _held.clear()
    store.give_back()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _put(place: tuple, adapters: tuple[Path, ...]):
    """Return the model of a place with these adapters merged and no others."""
    held = _held[0] if _held else None
    there = held.adapters if held else ()
    if not held or held.place != place or (held.spoilt and adapters[: len(there)] != there):
        let_go()
        lm = loading.load(*place)
        held = Held(place, lm, lm.fingerprint)
        _held.append(held)
    if adapters[: len(held.adapters)] != held.adapters:
        for weight, values in held.kept.items():
            weight.data.copy_(values)
        held.adapters, held.mark = (), held.lm.fingerprint
    try:
        for adapter in adapters[len(held.adapters) :]:
            _merge(held, adapter)
    except BaseException:  # half an adapter may be in it
        let_go()
        raise
    return held.lm.model


def _merge(held: Held, adapter: Path) -> None:
    with loading.quiet():
        arguments = (held.lm.net, adapter, held.mark, partial(_keep, held))
        held.lm.net, held.mark = loading.merge(*arguments)
    held.lm.net.eval()
    held.adapters += (adapter,)


def _keep(held: Held, tuned) -> None:
    """Copy the weights that the adapter of a PeftModel is going to be merged into."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    config = tuned.active_peft_config
    unsupported = ("modules_to_save", "trainable_token_indices", "target_parameters")
    plain = getattr(config, "bias", "none") == "none" and not getattr(config, "lora_bias", False)
    held.spoilt |= not plain or any(getattr(config, name, None) for name in unsupported)
    for module in tuned.modules():
        if isinstance(module, BaseTunerLayer):
            weight = module.get_base_layer().weight
            if weight not in held.kept:
                held.kept[weight] = weight.detach().to("cpu", copy=True)
