"""The least time in which this machine could make the few-shot cell's completions.

Measured: the rate of matrix products at this model's own shapes, at the batch asked for (bfloat16
or what `--dtype` says), and the rate at which memory is read. From these: a step of decoding takes
at least as long as its products, and at least as long as reading the weights and the rows' keys
and values; each distinct prompt token is multiplied once, at the rate of a large batch. Attention's
own products count; everything else (norms, softmax, choosing tokens, Python) counts as nothing, and
all rows are taken to end together, so no program reaches it.

    python benchmarks/ceiling.py --batch 48        {"gflops": 370, "gb_per_second": 31, …}
"""

from __future__ import annotations

import time

import common

from srlib.generation import asking, decoding, engine
from srlib.models import loading


def rate(shapes, rows: int, dtype, device: str) -> float:
    """Multiplications and additions a second over linear layers of these shapes, one after the
    other, for `rows` tokens; the median of five runs."""
    import torch

    weights = [torch.randn(shape, dtype=dtype, device=device) for shape in shapes]
    widths = {width for _, width in shapes}
    states = {n: torch.randn(rows, n, dtype=dtype, device=device) for n in widths}
    took = _median(lambda: [torch.nn.functional.linear(states[w.shape[1]], w) for w in weights])
    return sum(2 * rows * w.numel() for w in weights) / took


def bandwidth(device: str) -> float:
    """Bytes a second that are read from memory: the sum of a quarter of a GiB of numbers."""
    import torch

    block = torch.ones(2**26, device=device)
    return 4 * block.numel() / _median(block.sum)


def _median(work) -> float:
    import torch

    took = []
    with torch.inference_mode():
        for _ in range(6):
            began = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            took.append(time.perf_counter() - began)
    return sorted(took[1:])[2]


def main(
    questions: int = 48, shots: int = 8, limit: int = 64, batch: int = 48,
    name: str = "wordproblems-short", dtype: str = "auto",
):  # fmt: skip
    """Print the measured rates and the least seconds for the cell as `engine.py` runs it."""
    import torch
    from generation import asked

    lm = loading.load(common.MODEL, common.ROOT / "outputs", dtype)
    settings = asking.Settings(max_new_tokens=limit, batch_size=batch)
    ids = engine._tokenize(lm, asked(name, questions, shots)[1], settings)
    shared = decoding.common(ids)
    own = sum(len(i) - shared for i in ids)
    layers = [m for m in lm.model.modules() if isinstance(m, torch.nn.Linear)]
    shapes = [tuple(m.weight.shape) for m in layers]
    inner, size = sum(a * b for a, b in shapes[:-1]), lm.model.dtype.itemsize
    config, rows = lm.model.config, min(batch, questions)
    width = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    seen = shared + own / questions + limit / 2  # tokens that a new token attends to, on average
    attend = 4 * config.num_hidden_layers * config.hidden_size  # per token of it
    step = rate(shapes, rows, lm.model.dtype, lm.device)
    prompt = rate(shapes[:-1], 256, lm.model.dtype, lm.device)
    speed = bandwidth(lm.device)
    flops = rows * (2 * sum(a * b for a, b in shapes) + attend * seen)
    kept = 2 * config.num_hidden_layers * width * size
    read = sum(a * b for a, b in shapes) * size + kept * (shared + rows * (seen - shared))
    a_step = max(flops / step, read / speed)
    before = (2 * inner * (shared + own) + attend * (shared * shared / 2 + own * seen)) / prompt
    whole = before + -(-questions // rows) * limit * a_step
    common.told(
        gflops=round(step / 1e9), gb_per_second=round(speed / 1e9, 1), seconds=whole,
        words=f"This machine multiplies {step / 1e9:.0f} GFLOP/s at these shapes and reads "
        f"{speed / 1e9:.0f} GB/s: {rows / a_step:.0f} new tokens/s at the most in decoding, and "
        f"{whole:.1f} s for the whole, if every row goes on to the limit.",
    )  # fmt: skip


if __name__ == "__main__":
    common.run(main)
