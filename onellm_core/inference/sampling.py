"""Sampled answers that do not depend on a request's neighbours in its batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn.

    Attributes:
        max_new_tokens: Tokens of an answer at most.
        temperature: 0 takes the most likely token each time.
        top_p: Smallest set of tokens whose probabilities sum to this; 1 means all.
        seed: Of the draws; request number i of a run draws from (seed, i).
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


class GumbelNoise(LogitsProcessor):
    """Adds Gumbel noise of each row's own, after which the largest score is a sample of the softmax.

    Source: Maddison, Tarlow, Minka, "A* Sampling" (arXiv 1411.0030), section 2.  With a generator
    for each row, a row's draws are the same whatever shares its batch.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores ``[B, V]`` with noise; tokens at minus infinity stay there."""
        uniform = torch.stack(
            [torch.rand(scores.shape[-1], generator=generator) for generator in self.generators]
        )
        noise = -torch.log(-torch.log(uniform.clamp_min(torch.finfo(uniform.dtype).tiny)))
        return scores.float() + noise.to(scores.device)


def logits_processors(sampling: Sampling, numbers: Sequence[int]) -> LogitsProcessorList:
    """What stands between logits and the greedy choice for the requests of these numbers."""
    if sampling.temperature == 0:
        return LogitsProcessorList()
    # One integer for (seed, number): a tuple's hash of integers is the same in every process.
    seeds = [hash((sampling.seed, number)) for number in numbers]
    processors: list[LogitsProcessor] = [TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_p < 1:
        processors.append(TopPLogitsWarper(sampling.top_p))
    return LogitsProcessorList([*processors, GumbelNoise(seeds)])
