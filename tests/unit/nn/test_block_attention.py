"""Attention block by block is attention."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from stepwell.nn import KeyRange, attend, key_range
from stepwell.nn import block_attention as module
from stepwell.nn.block_attention import block_attention


def parts(rows: int, heads: int, kv_heads: int, num_queries: int, num_keys: int, width: int):
    """Queries, keys and values laid out as a projection gives them, and a gradient."""
    random = torch.Generator().manual_seed(0)
    shapes = [(rows, num_queries, heads), *[(rows, num_keys, kv_heads)] * 2, (rows, num_queries, heads)]
    drawn = [torch.randn(*shape, width, generator=random).bfloat16().transpose(1, 2) for shape in shapes]
    return [x.requires_grad_() for x in drawn[:3]], drawn[3]


def near(got: torch.Tensor, wanted: torch.Tensor) -> None:
    """Half precision has 8 bits: a relative error of 2^-9 for each rounding."""
    assert (got.float() - wanted).norm() < 0.01 * wanted.norm()


CASES = {
    "causal": (3, 4, 4, 70, 70, 16, True, None),
    "shared keys": (2, 6, 2, 150, 150, 8, True, None),
    "one key head": (2, 4, 1, 33, 33, 8, False, None),
    "longer than a block": (1, 2, 2, 300, 300, 8, True, None),
    "documents": (3, 4, 2, 140, 140, 8, True, "documents"),
    "a window": (2, 4, 4, 140, 140, 8, True, "window"),
    "another text": (2, 4, 4, 20, 50, 8, False, "padding"),
    "both sides": (2, 3, 3, 40, 40, 8, False, None),
}


def make_range(kind: str | None, rows: int, num_queries: int, num_keys: int) -> KeyRange | None:
    if kind == "documents":
        documents = torch.arange(num_keys) // torch.tensor([[7], [50], [200]])
        return key_range(num_queries, num_keys, documents.device, causal=True, documents=documents)
    if kind == "window":
        return key_range(num_queries, num_keys, torch.device("cpu"), causal=True, window=9)
    if kind == "padding":
        last = torch.tensor([[49], [2]]).expand(rows, num_queries)
        return KeyRange(torch.zeros_like(last), last)
    return None


@pytest.mark.parametrize("kept_keys", [0, 1000], ids=["computed again", "kept"])
@pytest.mark.parametrize("block_weights", [1, 2000, module.BLOCK_WEIGHTS])
@pytest.mark.parametrize("case", CASES)
def test_output_and_gradients_are_those_of_the_reference(case, block_weights, kept_keys, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_WEIGHTS", block_weights)
    monkeypatch.setattr(module, "KEPT_KEYS", kept_keys)
    *sizes, causal, kind = CASES[case]
    (queries, keys, values), grad = parts(*sizes)
    seen = make_range(kind, sizes[0], *sizes[3:5])
    mask = None if seen is None else seen.mask(sizes[4])
    exact = [x.detach().float().requires_grad_() for x in (queries, keys, values)]
    wanted = scaled_dot_product_attention(
        *exact, attn_mask=mask, is_causal=causal and mask is None, scale=0.3, enable_gqa=True
    )
    wanted.backward(grad.float())
    got = block_attention(queries, keys, values, *(seen or (None, None)), causal, 0.3)
    got.backward(grad)
    near(got, wanted)
    for one, other in zip((queries, keys, values), exact, strict=True):
        near(one.grad, other.grad)


@pytest.mark.slow
@pytest.mark.parametrize("keeps", [False, True])
def test_the_operator_keeps_its_promises(keeps):
    """Its schema, its shapes without data, and its gradients under torch.compile's tracing."""
    (queries, keys, values), _ = parts(2, 4, 2, 20, 20, 8)
    torch.library.opcheck(module._forward, (queries, keys, values, None, None, True, 0.3, keeps))
    seen = key_range(20, 20, queries.device, causal=True, window=5)
    torch.library.opcheck(module._forward, (queries, keys, values, *seen, False, 0.3, keeps))


def test_weights_are_kept_where_they_are_few_and_something_learns():
    def kept(num_keys: int, learns: bool) -> int:
        (queries, keys, values), _ = parts(1, 2, 2, 20, num_keys, 8)
        with torch.set_grad_enabled(learns):
            graph = block_attention(queries, keys, values, None, None, False, 0.3).grad_fn
        return len(graph.saved_tensors[3]) if graph else 0

    assert kept(module.KEPT_KEYS, learns=True) == 2 * 20 * module.KEPT_KEYS
    assert kept(module.KEPT_KEYS + 1, learns=True) == 0
    assert kept(module.KEPT_KEYS, learns=False) == 0


def test_the_weights_of_all_queries_are_never_there_together(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_WEIGHTS", 16 * 400)
    (queries, keys, values), grad = parts(1, 2, 2, 400, 400, 4)
    seen = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            seen.extend(x.numel() for x in (result if isinstance(result, tuple) else (result,)) if torch.is_tensor(x))
            return result

    with torch.no_grad(), Watch():
        _, kept = module._forward._init_fn(queries, keys, values, None, None, True, 0.5, False)
        module._backward._init_fn(grad, queries, keys, values, kept, None, None, True, 0.5)
    assert max(seen) < 400 * 400 / 4


def test_single_precision_is_exact():
    queries, keys, values = (x.detach().float().requires_grad_() for x in parts(2, 4, 2, 50, 50, 8)[0])
    wanted = scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
    gradients = torch.autograd.grad(wanted.square().sum(), (queries, keys, values))
    got = block_attention(queries, keys, values, None, None, True, 8**-0.5)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    for one, other in zip(torch.autograd.grad(got.square().sum(), (queries, keys, values)), gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_many_queries_on_the_cpu_take_this_way(monkeypatch):
    (queries, keys, values), _ = parts(1, 2, 2, 40, 40, 8)
    called = []
    real = module.block_attention
    monkeypatch.setattr("stepwell.nn.attention.block_attention", lambda *args: called.append(args) or real(*args))
    attend(queries, keys, values, causal=True)
    attend(queries[:, :, :4], keys, values)
    attend(queries, keys, values, causal=True, softcap=3.0)
    with torch.autocast("cpu", torch.bfloat16):
        half = attend(queries.float(), keys.float(), values.float(), causal=True)
    assert len(called) == 2
    assert half.dtype == torch.bfloat16
