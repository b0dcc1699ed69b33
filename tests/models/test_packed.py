"""Weights in oneDNN's layout: the same products, and the layers as they were afterwards."""

import pytest
import torch

from srlib.generation import decoding
from srlib.models import memory, packed


class Net(torch.nn.Module):
    """Two layers, one with a bias, one whose weight is an embedding's, too."""

    def __init__(self, dtype):
        super().__init__()
        self.device, self.dtype = torch.device("cpu"), dtype
        self.words = torch.nn.Embedding(300, 48)
        self.first, self.last = torch.nn.Linear(48, 48), torch.nn.Linear(48, 300, bias=False)
        self.last.weight = self.words.weight
        self.to(dtype)

    def forward(self, ids):
        return self.last(torch.tanh(self.first(self.words(ids))))


def possible(dtype) -> bool:
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rows", [1, 13, 700])
def test_the_products_are_the_same(dtype, rows):
    torch.manual_seed(0)
    net, ids = Net(dtype), torch.randint(300, (rows, 2))
    with torch.inference_mode():
        wanted = net(ids)
        with packed.laid_out(net):
            assert ("forward" in vars(net.last)) == possible(dtype)
            found = net(ids)
        assert torch.equal(net(ids), wanted)
    assert "forward" not in vars(net.first) | vars(net.last)
    near = {torch.float32: 1e-4, torch.bfloat16: 5e-2}[dtype]
    torch.testing.assert_close(found, wanted, atol=near, rtol=near)


def test_an_error_within_leaves_the_layers_as_they_were():
    net = Net(torch.float32)
    with pytest.raises(KeyError), packed.laid_out(net):
        raise KeyError
    assert "forward" not in vars(net.first)


def test_weights_that_change_between_are_seen():
    net, ids = Net(torch.float32), torch.arange(20)[:, None]
    for _ in range(2):
        with torch.inference_mode():
            net.first.weight.mul_(-1)
            wanted = net(ids)
            with packed.laid_out(net):
                torch.testing.assert_close(net(ids), wanted, atol=1e-4, rtol=1e-4)


def test_a_processor_without_the_operators_changes_nothing(monkeypatch):
    net = Net(torch.float32)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with packed.laid_out(net):
        assert "forward" not in vars(net.first)


def test_weights_that_memory_does_not_hold_twice_stay_as_they_are(monkeypatch):
    net = Net(torch.float32)
    for room, expected in ((packed.SHARE, True), (packed.SHARE - 1, False)):
        monkeypatch.setattr(memory, "total", lambda _, n=room: n * memory.weight_bytes(net))
        with packed.laid_out(net):
            assert ("forward" in vars(net.first)) == expected


def test_many_prompts_are_answered_so_and_a_few_are_not(lm, monkeypatch):
    used = []
    product = packed._product
    monkeypatch.setattr(packed, "_product", lambda *told: used.append(1) or product(*told))
    for n, expected in ((decoding.READ_ROWS - 1, False), (decoding.READ_ROWS, True)):
        prompts = [[1, 2 + i] for i in range(n)]
        told = (decoding.Prefix(lm.model, []), set(), 0, 1, lambda x: x.argmax(-1))
        decoding.decode(lm.model, prompts, *told, lambda new: False)
        assert bool(used) == expected
