"""A model's weights in the layout that its processor multiplies by fastest, while it answers.

    with laid_out(model):        # on a CPU, for many rows at a time
        …

PyTorch multiplies by a weight as it lies in memory. oneDNN, which is part of PyTorch, has a layout
of its own, into which `torch.compile` brings weights that are frozen; the operators are those.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import torch

from . import memory

ROWS = 512  # the number of rows that the layout is made for; it serves any
SHARE = 8  # a model's weights are copied where they take at most an eighth of memory


@contextmanager
def laid_out(model):
    """Make every linear layer of a model on a CPU multiply by a copy in oneDNN's layout, within.

    The copies take the layers' memory once more, and give no gradients. Nothing changes on other
    devices, where PyTorch or the processor has no such product for the model's precision, and where
    the weights are too large for this machine to hold twice beside a batch (`SHARE`).
    """
    changed = []
    try:
        if _possible(model):
            for layer in model.modules():
                if type(layer) is torch.nn.Linear:
                    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), ROWS)
                    layer.forward = partial(_product, weight, layer.bias)
                    changed.append(layer)
        yield
    finally:
        for layer in changed:
            del layer.forward


def _product(weight, bias, states):
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")


def _possible(model) -> bool:
    ops = torch.ops.mkldnn
    needed = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    if model.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if not all(hasattr(ops, name) for name in needed):
        return False
    if SHARE * memory.weight_bytes(model) > memory.total("cpu"):
        return False
    return model.dtype == torch.float32 or (
        model.dtype == torch.bfloat16 and ops._is_mkldnn_bf16_supported()
    )
