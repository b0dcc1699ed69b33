"""How much a text surprises the embedded model, alone and after a request.

A second opinion for the few texts that `coherence` cannot tell by counting: word salad surprises a
language model, and an answer surprises it less after its own request than after another. Only those
texts are read, on the CPU, their first 48 tokens; the model is loaded when the first of them comes
up (some seconds) and stays.

    alone("the of green and is table")          ->   9.1     nats a token; prose is at 3 to 4
    relief("How do I boil an egg?", "Put …")    ->   0.4     nats a token; another answer at -0.2
"""

from __future__ import annotations

from functools import cache, lru_cache

from ..errors import UserError
from ..params import place
from . import embedded

_TOKENS = 48  # of a text are read
_ASKED = 96  # of a request
_ANYTHING = "Tell me something."  # what an answer is read after where its own request is not told


@cache
def _reader():
    """Return the embedded model's tokenizer and net, or None where its package is not installed."""
    try:
        tokenizer, net = embedded.reader(place("outputs"))
    except UserError:
        return None
    return tokenizer, net.eval()


@lru_cache(maxsize=4096)
def alone(text: str) -> float | None:
    """Return the mean surprise of a text's first tokens in nats a token; None without the model."""
    return _mean(None, text)


@lru_cache(maxsize=4096)
def relief(request: str, text: str) -> float | None:
    """Return how much less the text surprises after the request than after no particular one, in
    nats a token: above 0 where the two belong together. None without the model."""
    after_request, after_other = _mean(request, text), _mean(_ANYTHING, text)
    return None if after_request is None or after_other is None else after_other - after_request


def _mean(request: str | None, text: str) -> float | None:
    reader = _reader()
    if reader is None:
        return None
    import torch

    tokenizer, net = reader
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"][:_TOKENS]
    if not tokens:
        return None
    if request is None:
        before = [tokenizer.bos_token_id or tokenizer.eos_token_id]
    else:
        asked = tokenizer.decode(tokenizer(request, add_special_tokens=False)["input_ids"][:_ASKED])
        written = f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
        before = tokenizer(written, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        ids = torch.tensor([before + tokens])
        logits = net(ids, logits_to_keep=len(tokens) + 1).logits[0, :-1].float()
        each = torch.nn.functional.cross_entropy(logits, torch.tensor(tokens), reduction="mean")
    return float(each)
