"""Routers and experts against the same equations in NumPy, float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import erf, expit, softmax

from onellm_core.model.projection import ConstantRouter, Expert, ExpertBlock, Router, mix

B, N, L, D, K, HEADS, HIDDEN, EPS = 2, 3, 5, 16, 4, 2, 24, 1e-5


def numbers(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().double().numpy() for name, value in module.named_parameters()}


def rms_norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * weight


def block_in_numpy(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """A pre-norm block over one batch row ``[S, D]``."""
    normed = rms_norm(x, w["attention_norm.weight"])
    heads = []
    for h in range(HEADS):
        rows = slice(h * D // HEADS, (h + 1) * D // HEADS)
        q, k, v = (normed @ w[f"{name}.weight"][rows].T for name in ("wq", "wk", "wv"))
        heads.append(softmax(q @ k.T / np.sqrt(D // HEADS), axis=-1) @ v)
    x = x + np.concatenate(heads, -1) @ w["wo.weight"].T
    normed = rms_norm(x, w["ffn_norm.weight"])
    gate = normed @ w["w1.weight"].T
    return x + (gate * expit(gate) * (normed @ w["w3.weight"].T)) @ w["w2.weight"].T


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def test_expert_equals_numpy_and_keeps_the_first_tokens_only() -> None:
    torch.manual_seed(0)
    expert = Expert(2, D, HEADS, HIDDEN, EPS)
    x = random(B, N + L, D)
    for row in range(B):
        expected = x[row].double().numpy()
        for block in expert.blocks:
            expected = block_in_numpy(expected, numbers(block))
        np.testing.assert_allclose(expert(x, N)[row].detach().numpy(), expected[:N], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("kind", ["soft", "sparse"])
@pytest.mark.parametrize("source", ["pooled", "tokens"])
def test_router_equals_numpy(kind: str, activation: str, source: str) -> None:
    torch.manual_seed(1)
    router = Router(kind=kind, activation=activation, input=source, width=D, experts=K)
    tokens, inputs = random(B, N, D), random(B, L, D) + 1
    w = numbers(router)
    x = tokens.double().numpy()
    if source == "pooled":
        mean = np.broadcast_to(inputs.double().numpy().mean(1, keepdims=True), x.shape)
        x = np.concatenate([x, mean], -1)
    hidden = x @ w["fc1.weight"].T + w["fc1.bias"]
    hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
    scores = hidden @ w["fc2.weight"].T + w["fc2.bias"]
    if activation == "softmax":
        expected = softmax(scores, axis=-1)
    else:
        expected = expit(scores) / expit(scores).sum(-1, keepdims=True)
    if kind == "sparse":
        expected = np.where(expected == expected.max(-1, keepdims=True), expected, 0)
    np.testing.assert_allclose(router(tokens, inputs).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_only_the_pooled_router_sees_the_input() -> None:
    tokens, inputs = random(B, N, D), random(B, L, D)
    for source, sees in (("pooled", True), ("tokens", False)):
        router = Router(kind="soft", activation="softmax", input=source, width=D, experts=K)
        assert torch.equal(router(tokens, inputs), router(tokens, inputs + 1)) is not sees


def test_constant_router_weighs_all_alike_and_learns_nothing() -> None:
    router = ConstantRouter(K)
    assert torch.equal(router(random(B, N, D), random(B, L, D)), torch.full((B, N, K), 1 / K))
    assert not list(router.parameters())


def test_mix_is_the_weighted_sum_of_whole_passes() -> None:
    torch.manual_seed(2)
    experts = torch.nn.ModuleList(Expert(2, D, HEADS, HIDDEN, EPS) for _ in range(K))
    x, weights = random(B, N + L, D), random(B, N, K).softmax(-1)
    whole = [expert(x, N + L)[:, :N] for expert in experts]
    expected = sum(out * weights[..., k : k + 1] for k, out in enumerate(whole))
    torch.testing.assert_close(mix(experts, x, weights), expected)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 16 is not a multiple of the 3 heads"):
        ExpertBlock(D, 3, HIDDEN, EPS)
