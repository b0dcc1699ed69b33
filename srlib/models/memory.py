"""How many prompts fit into memory at once: what `batch_size: 0` means.

The answer follows from what a machine has in all (never from what is free just now), from the
model's config and from the longest prompt, and is a power of two, so that a resumed run plans the
same batches. Example: SmolLM2-135M in bfloat16, 300 own tokens a row, 23 GiB of memory -> 256.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError

SHARE = 0.5  # of what the weights leave: the rest is for the kernels' room, the system and others
MOST = 256  # more rows at a time are no faster, and a killed run loses more of them
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def total(device: str) -> int:
    """Return the bytes of memory a process may use: the GPU's, the machine's or container's."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_properties(0).total_memory
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [Path(f).read_text().strip() for f in CGROUPS if Path(f).exists()]
    return min([whole, *(int(limit) for limit in limits if limit.isdigit())])


def weight_bytes(model) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def row_bytes(model, own: int, longest: int, new: int) -> int:
    """Return the bytes that a row takes at the most: its own tokens' keys and values (`own` prompt
    tokens and `new` ones), one layer's activations and mask for the prompt, attention's scores over
    `longest` prompt tokens, and its logits with what is made of them (in float32, to be on the safe
    side)."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    kv = getattr(config, "num_key_value_heads", None) or heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv_bytes = 2 * config.num_hidden_layers * kv * dim * (own + new) * model.dtype.itemsize
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    states = 4 * own * (4 * config.hidden_size + 3 * inner + own)
    return kv_bytes + states + 8 * heads * (longest + new) + 12 * config.vocab_size


def batch(model, device: str, own: int, longest: int, new: int) -> int:
    """Return the batch size that `SHARE` of the memory beside the weights holds: a power of two, at
    most `MOST`.

    Raises UserError where the weights leave no room for one row.
    """
    weights = weight_bytes(model)
    rows = int(SHARE * (total(device) - weights)) // row_bytes(model, own, longest, new)
    if rows < 1:
        raise UserError(
            f"the model's {weights / 2**30:.1f} GiB of weights leave no memory for one prompt of "
            f"{longest} tokens: use a smaller model or max_new_tokens, or set batch_size to 1"
        )
    return min(MOST, 1 << (rows.bit_length() - 1))


@contextmanager
def enough(batch_size: int):
    """Turn running out of memory while `batch_size` rows are generated into a UserError."""
    import torch

    try:
        yield
    except RuntimeError as error:
        on_cpu = "can't allocate memory" in str(error)  # torch has no type of its own for it
        if not (on_cpu or isinstance(error, torch.OutOfMemoryError)):
            raise
        way = f"set batch_size to {batch_size // 2} or less" if batch_size > 1 else (
            "use a smaller model, fewer demonstrations or a smaller max_new_tokens"
        )  # fmt: skip
        raise UserError(
            f"{'memory' if on_cpu else 'the GPU memory'} did not hold batch_size {batch_size}: "
            f"{way} (0 chooses it from memory); what is generated already is kept"
        ) from error
