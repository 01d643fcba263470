"""The universal projection module: K experts that a router of each modality mixes.

Source: OneLLM (arXiv 2312.03700), section 3.2, equations 2 to 4; sizes from the published weights.

B batch, L input tokens, N modality tokens, S = N + L, D width, H heads, K experts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ExpertBlock(nn.Module):
    """A pre-norm transformer block: bidirectional attention without positions, then SwiGLU; no biases."""

    def __init__(self, width: int, heads: int, hidden: int, eps: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of the {heads} heads of an expert")
        self.heads = heads
        self.attention_norm = nn.RMSNorm(width, eps=eps)
        self.wq = nn.Linear(width, width, bias=False)
        self.wk = nn.Linear(width, width, bias=False)
        self.wv = nn.Linear(width, width, bias=False)
        self.wo = nn.Linear(width, width, bias=False)
        self.ffn_norm = nn.RMSNorm(width, eps=eps)
        self.w1 = nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)
        self.w3 = nn.Linear(width, hidden, bias=False)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x_BSD: Tensor, keep: int) -> Tensor:
        """The block's first ``keep`` outputs, ``[B, keep, D]``; every token is attended to."""
        normed = self.attention_norm(x_BSD)
        query = self._split(self.wq(normed[:, :keep]))
        attended = F.scaled_dot_product_attention(
            query, self._split(self.wk(normed)), self._split(self.wv(normed))
        )
        x = x_BSD[:, :keep] + self.wo(attended.transpose(1, 2).flatten(2))
        normed = self.ffn_norm(x)
        return x + self.w2(F.silu(self.w1(normed)) * self.w3(normed))


class Expert(nn.Module):
    """One projection expert: a stack of blocks of which only the modality tokens' outputs are used.

    The last block therefore computes those outputs alone; the numbers are the same.
    """

    def __init__(self, layers: int, width: int, heads: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ExpertBlock(width, heads, hidden, eps) for _ in range(layers))

    def forward(self, x_BSD: Tensor, keep: int) -> Tensor:
        """``[B, S, D]`` → ``[B, keep, D]``."""
        *first, last = self.blocks
        for block in first:
            x_BSD = block(x_BSD, x_BSD.shape[1])
        return last(x_BSD, keep)


class Router(nn.Module):
    """Mixing weights of the K experts for each modality token.

    Args:
        kind: ``soft`` mixes all experts; ``sparse`` keeps only the largest weight of each token.
        activation: ``softmax``, as the paper says; ``sigmoid`` divided by its sum, as published.
        input: ``tokens``: from the modality tokens alone, so the weights are learned constants;
            ``pooled``: each token is joined to the mean of the input's projected tokens.
        width: D.
        experts: K.
    """

    def __init__(self, *, kind: str, activation: str, input: str, width: int, experts: int) -> None:
        super().__init__()
        self.kind = kind
        self.activation = activation
        self.pooled = input == "pooled"
        self.fc1 = nn.Linear(width * (2 if self.pooled else 1), 4 * width)
        self.fc2 = nn.Linear(4 * width, experts)

    def forward(self, tokens_BND: Tensor, inputs_BLD: Tensor) -> Tensor:
        """Weights ``[B, N, K]``."""
        x = tokens_BND
        if self.pooled:
            x = torch.cat([x, inputs_BLD.mean(dim=1, keepdim=True).expand_as(x)], dim=-1)
        scores = self.fc2(F.gelu(self.fc1(x)))
        if self.activation == "softmax":
            weights = scores.softmax(dim=-1)
        else:
            weights = scores.sigmoid()
            weights = weights / weights.sum(dim=-1, keepdim=True)
        if self.kind == "sparse":
            largest = weights.argmax(dim=-1, keepdim=True)
            weights = weights * torch.zeros_like(weights).scatter(-1, largest, 1.0)
        return weights


class ConstantRouter(nn.Module):
    """Every expert weighs 1/K; nothing is learned."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, tokens_BND: Tensor, inputs_BLD: Tensor) -> Tensor:
        """Weights ``[B, N, K]``."""
        return tokens_BND.new_full((*tokens_BND.shape[:2], self.experts), 1 / self.experts)


def mix(experts: nn.ModuleList, x_BSD: Tensor, weights_BNK: Tensor) -> Tensor:
    """Sum of the experts' first N outputs, each weighted by its column of ``weights``: ``[B, N, D]``."""
    keep = weights_BNK.shape[1]
    parts = [
        expert(x_BSD, keep) * weight.unsqueeze(-1)
        for expert, weight in zip(experts, weights_BNK.unbind(-1), strict=True)
    ]
    return torch.stack(parts).sum(dim=0)
