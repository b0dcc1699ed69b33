"""How large a model is, from its config alone: no weights are read or fetched.

transformers builds the model on torch's `meta` device, where a weight has a shape and no memory.

    of("Qwen/Qwen2.5-7B-Instruct", outputs)
    -> Size(parameters=7_615_616_512, computed=7_070_619_136, layers=28, hidden=3584,
            vocabulary=152064, heads=28, cache=28672, linear=2523136, window=32768)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import UserError
from ..text import embedded
from . import loading


@dataclass(frozen=True)
class Size:
    """Counts, not bytes. `computed`: weights that every token is multiplied with (all but a table
    that is only looked up). `cache`: numbers that a token leaves in the keys and values of all
    layers. `linear`: inputs plus outputs of all linear layers but the last, which is what a LoRA
    adapter of rank 1 on all of them holds. `window`: tokens that the model reads at most."""

    parameters: int
    computed: int
    layers: int
    hidden: int
    vocabulary: int
    heads: int
    cache: int
    linear: int
    window: int


def of(model: str, outputs: Path) -> Size:
    """Return the size of a model as `loading.load` takes it.

    Raises UserError where its config cannot be read (no network, a gated page), or is of no causal
    language model that transformers knows."""
    return measure(_net(model, loading.resolve(model, outputs)[0]))


def linear(model: str, outputs: Path) -> list[str]:
    """Return the names of a model's linear layers but the last: "model.layers.0.mlp.up_proj", …

    Raises UserError as `of` does."""
    import torch

    net = _net(model, loading.resolve(model, outputs)[0])
    head = net.get_output_embeddings()
    named = net.named_modules()
    return [name for name, m in named if isinstance(m, torch.nn.Linear) and m is not head]


@cache
def _net(model: str, source: str):
    """Build the model on torch's `meta` device."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with loading.quiet(), torch.device("meta"):
            return AutoModelForCausalLM.from_config(_config(model, source))
    except Exception as error:  # as many types as there are ways to have no config
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"the config of model {model!r} cannot be read ({type(error).__name__}: {reason})"
        ) from error


def _config(model: str, source: str):
    from transformers import AutoConfig

    if model == loading.EMBEDDED and not (Path(source) / "config.json").exists():
        file = embedded.embedded_file()
        return AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    return AutoConfig.from_pretrained(source)


def measure(net) -> Size:
    """Return the size of a model, on whichever device it is."""
    import torch

    config = net.config.get_text_config()
    head, table = net.get_output_embeddings(), net.get_input_embeddings()
    linear = [m for m in net.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    parameters = net.num_parameters()  # one that two layers share counts once
    return Size(
        parameters,
        parameters - (0 if head.weight is table.weight else table.weight.numel()),
        config.num_hidden_layers,
        config.hidden_size,
        config.vocab_size,
        heads,
        2 * config.num_hidden_layers * kv_heads * width,
        sum(m.in_features + m.out_features for m in linear),
        getattr(config, "max_position_embeddings", None) or 10**9,
    )
