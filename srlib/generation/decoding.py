"""Batched decoding in which the tokens that all prompts share are computed, and read, once.

A few-shot grid asks the same demonstrations before every question. Plain `generate` computes them
for each row and keeps one copy a row of their keys and values, and reading those copies is most of
the work of each step. Here the shared prefix is run through the model once; each step attends to
that one copy for all rows and to the row's own tokens, under one softmax. Rows that have ended
leave the batch. Models whose attention does more than a causal softmax (sliding windows, soft caps)
take their own attention and share nothing.

Idea: shared-prefix ("cascade") attention, as in Hydragen (Juravsky et al. 2024, arXiv 2402.05099).
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from ..models.packed import laid_out

NAME = "srlib_shared_prefix"
WORTH_SHARING = 16  # tokens; shorter prefixes gain nothing
SCORES = (2**22, 2**28)  # attention scores at a time, on a CPU (a few MB, its cache) and on a GPU
READ_ROWS = 16  # prompts that are read together
LEAVE_SHARE = 8  # ended rows are dropped once they are an eighth of the batch

_shared: list[tuple[torch.Tensor, torch.Tensor]] = []  # each layer's prefix (keys, values)


def attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **_):
    """Compute softmax attention over the shared prefix, if any, and the row's own tokens.

    query (batch, heads, q, dim); key, value (batch, kv heads, own tokens, dim); the prefix's are
    (kv heads, prefix tokens, dim). Returns (batch, q, heads, dim), as transformers wants it.
    """
    if not _shared and query.shape[2] > 1:
        seen = sdpa(query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True)
        return seen.transpose(1, 2), None
    before = _shared[module.layer_idx] if _shared else None
    seen = key.shape[2] + (before[0].shape[1] if before else 0)
    rows = SCORES[query.device.type != "cpu"] // (query.shape[1] * query.shape[2] * seen)
    tensors = (query * scaling, key, value, attention_mask)
    parts = zip(*(tensor.split(max(1, rows)) for tensor in tensors), strict=True)
    return torch.cat([_joined(*part, before) for part in parts]), None


def _joined(query, key, value, mask, before):
    """Compute one softmax over the scores of the prefix and the row's own tokens, for a few rows.

    Plain products beat torch's kernels for attention where a row asks with one token. Heads that
    share keys are given as query positions: no key is copied for them.
    """
    batch, heads, steps, dim = query.shape
    kv = key.shape[1]
    grouped = query.reshape(batch, kv, -1, dim)
    own = grouped @ key.transpose(2, 3)
    own += mask[..., -key.shape[2] :].repeat(1, 1, heads // kv, 1)
    if before is None:
        seen = own.softmax(-1) @ value
    else:
        flat = grouped.transpose(0, 1).reshape(kv, -1, dim)
        shared = flat @ before[0].transpose(1, 2)
        width = shared.shape[2]
        both = torch.cat([shared.view(kv, batch, -1, width), own.transpose(0, 1)], 3).softmax(3)
        first = both[..., :width].reshape(kv, -1, width) @ before[1]
        seen = both[..., width:].transpose(0, 1) @ value
        seen += first.view(kv, batch, -1, dim).transpose(0, 1)
    return seen.reshape(batch, heads, steps, dim).transpose(1, 2)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, eager_mask)


class Buffer(DynamicLayer):
    """A cache layer with `room` tokens a row from the start, instead of growing by concatenation.

    It begins with what groups of rows have written already, (rows, heads, tokens, dim) each: keys
    and values, which all end at token `width`.
    """

    def __init__(self, begun: list[tuple[torch.Tensor, torch.Tensor]], width: int, room: int):
        super().__init__()
        keys, values = begun[0]
        self.lazy_initialization(keys, values)
        rows, heads = sum(len(keys) for keys, _ in begun), keys.shape[1]
        # Keys as they are read. Zeros: what is masked counts nothing, but only if it is a number.
        self.all_keys = keys.new_zeros(rows, heads, keys.shape[3], room)
        self.all_values = values.new_zeros(rows, heads, room, values.shape[3])
        first = 0
        for keys, values in begun:
            group, first = slice(first, first + len(keys)), first + len(keys)
            tokens = slice(width - keys.shape[2], width)
            self.all_keys[group, ..., tokens] = keys.transpose(2, 3)
            self.all_values[group, :, tokens] = values
        self._view(width)

    def update(self, key_states, value_states, *args, **kwargs):
        begin = self.get_seq_length()
        end = begin + key_states.shape[2]
        self.all_keys[..., begin:end] = key_states.transpose(2, 3)
        self.all_values[:, :, begin:end] = value_states
        self._view(end)
        return self.keys, self.values

    def batch_select_indices(self, indices):
        end = self.get_seq_length()
        self.all_keys, self.all_values = self.all_keys[indices], self.all_values[indices]
        self._view(end)

    def _view(self, end: int) -> None:
        self.keys = self.all_keys[..., :end].transpose(2, 3)
        self.values = self.all_values[:, :, :end]


class Prefix:
    """The tokens that all prompts begin with, run through the model once."""

    def __init__(self, model, prompts: list[list[int]]):
        self.tokens: list[int] = []
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        shared = common(prompts)
        if shared < WORTH_SHARING or not plain_attention(model):
            return
        self.tokens = prompts[0][:shared]
        with torch.inference_mode():
            ids = torch.tensor([self.tokens], device=model.device)
            cache = model(ids, use_cache=True, logits_to_keep=1).past_key_values
        self.layers = [(c.keys[0].contiguous(), c.values[0].contiguous()) for c in cache.layers]

    @contextmanager
    def active(self, model):
        """Make the model attend, within, with `attention`, which also sees the prefix."""
        if not plain_attention(model):
            yield
            return
        usual = model.config._attn_implementation
        model.set_attn_implementation(NAME)
        _shared[:] = self.layers
        try:
            yield
        finally:
            _shared.clear()
            model.set_attn_implementation(usual)


def common(prompts: list[list[int]]) -> int:
    """Return how many leading tokens all prompts share; each keeps at least one of its own."""
    if len(prompts) < 2:
        return 0
    first, last = min(prompts), max(prompts)
    limit = min(map(len, prompts)) - 1
    return next((i for i in range(limit) if first[i] != last[i]), limit)


def plain_attention(model) -> bool:
    """Return whether the model's attention is a causal softmax and nothing more."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    special = ("attn_logit_softcapping", "attention_chunk_size", "attn_logit_cap")
    return (
        getattr(model, "_supports_attention_backend", False)
        and kinds == {"full_attention"}
        and not getattr(config, "sliding_window", None)
        and not any(getattr(config, name, None) for name in special)
    )


def _read(model, tails: list[list[int]], shared: int, pad: int, limit: int):
    """Run prompts through the model after a prefix of `shared` tokens: return the logits of the
    token that follows each, a cache with room for `limit` more, and the mask (1: not padding).

    They are read a few at a time, so that a short one is not padded to the length of the longest.
    """
    width = max(map(len, tails))
    logits, caches = [], []
    for first in range(0, len(tails), READ_ROWS):
        group = tails[first : first + READ_ROWS]
        mask, most = _not_padding(model, group), max(map(len, group))
        ids = torch.tensor([[pad] * (most - len(t)) + t for t in group], device=model.device)
        caches.append(DynamicCache())
        positions = (mask.cumsum(1) - 1).clamp(min=0) + shared
        logits.append(_next(model, ids, mask, positions, caches[-1]))
    layers = zip(*([(c.keys, c.values) for c in cache.layers] for cache in caches), strict=True)
    whole = DynamicCache()
    whole.layers = [Buffer(list(begun), width, width + limit) for begun in layers]
    return torch.cat(logits), whole, _not_padding(model, tails)


def _next(model, ids, mask, positions, cache) -> torch.Tensor:
    """Return the next-token logits (rows, vocabulary) after `ids`; cache their keys and values."""
    return model(
        ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]  # fmt: skip


def _not_padding(model, tails: list[list[int]]) -> torch.Tensor:
    lengths = torch.tensor([[len(tail)] for tail in tails], device=model.device)
    width = int(lengths.max())
    return (torch.arange(width, device=model.device) >= width - lengths).long()


def decode(model, prompts, prefix: Prefix, ends: set[int], pad: int, limit: int, pick, stopped):
    """Return new token ids of each prompt, at most `limit`, the end token included.

    `pick` maps logits (rows, vocabulary) to token ids (rows,); `stopped` maps a row's new ids to
    whether a stop string has been reached.
    """
    shared = len(prefix.tokens)
    new: list[list[int]] = [[] for _ in prompts]
    rows, ended = list(range(len(prompts))), [False] * len(prompts)
    positions = torch.tensor([[len(ids) - 1] for ids in prompts], device=model.device)
    many = laid_out(model) if len(prompts) >= READ_ROWS else nullcontext()
    with torch.inference_mode(), prefix.active(model), many:
        tails = [ids[shared:] for ids in prompts]
        logits, cache, mask = _read(model, tails, shared, pad, limit)
        for left in reversed(range(limit)):
            chosen = pick(logits)
            for row, token in zip(rows, chosen.tolist(), strict=True):
                if not ended[row]:
                    new[row].append(token)
                    ended[row] = token in ends or stopped(new[row])
            live = [i for i, row in enumerate(rows) if not ended[row]]
            if not live or not left:
                break
            positions, ids = positions + 1, chosen[:, None]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
            if (len(rows) - len(live)) * LEAVE_SHARE >= len(rows):
                keep = torch.tensor(live, device=model.device)
                cache.batch_select_indices(keep)
                mask, positions, ids = mask[keep], positions[keep], ids[keep]
                rows = [rows[i] for i in live]
            logits = _next(model, ids, mask, positions, cache)
    return new
