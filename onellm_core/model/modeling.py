"""``OneLLMForConditionalGeneration``: eight kinds of signal in, language out.

Source: OneLLM (arXiv 2312.03700), section 3.

B batch, n signals of one modality (rows of ``signals[modality]``), L tokens of one signal,
N modality tokens, D width of the encoder, E width of the language model, T text tokens,
P prefix tokens, V vocabulary, K experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from onellm_core.model import builders
from onellm_core.model.config import OneLLMConfig
from onellm_core.model.projection import mix
from onellm_core.model.splice import IGNORE_INDEX, Spliced, splice
from onellm_core.model.strict import check_loading
from onellm_data.errors import UsageError

Blocks = Sequence[Sequence[tuple[str, int]]]
"""For each sample its blocks in order: (modality, row of ``signals[modality]``)."""

PARTS = {
    "llm": ("llm.",),
    "encoder": ("encoder.",),
    "tokenizers": ("tokenizers.", "positions."),
    "modality_tokens": ("modality_tokens.",),
    "projection": ("input_projections.", "experts.", "output_projections."),
    "routers": ("routers.",),
    "tags": ("start_tags.", "end_tags."),
}
"""What a training stage trains or freezes: part → prefixes of parameter names."""


class OneLLMForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """A frozen encoder, one projection module for every modality, and a causal language model.

    Args:
        config: Sizes and choices.
        llm: A language model to use instead of a new one built from ``config.text_config``.
    """

    config: OneLLMConfig
    config_class = OneLLMConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: OneLLMConfig, llm: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        width, width_llm = config.encoder["width"], config.text_config.hidden_size
        names = list(config.modalities)
        self.encoder = builders.encoder(config)
        own = {name: builders.tokenizer(config, name) for name in names}
        self.tokenizers = nn.ModuleDict({name: module for name, module in own.items() if module is not None})
        self.positions = nn.ParameterDict(
            {
                name: nn.Parameter(torch.randn(rows, width) * width**-0.5)
                for name in names
                if (rows := builders.position_rows(config, name))
            }
        )
        self.modality_tokens = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(1, config.modality_tokens, width) * 0.02) for name in names}
        )
        self.input_projections = nn.ModuleDict({name: builders.projector(width, width) for name in names})
        self.experts = nn.ModuleList(builders.expert(config) for _ in range(config.projection["experts"]))
        self.routers = nn.ModuleDict({name: builders.router(config) for name in names})
        self.output_projections = nn.ModuleDict(
            {name: builders.projector(width, width_llm) for name in names}
        )
        self.start_tags = self._tags(names, width_llm)
        self.end_tags = self._tags(names, width_llm)
        self.llm = llm if llm is not None else AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    @staticmethod
    def _tags(names: Sequence[str], width: int) -> nn.ParameterDict:
        return nn.ParameterDict({name: nn.Parameter(torch.randn(1, 1, width) * 0.02) for name in names})

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing to do: every module of ours is initialised where it is built."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a model folder, strictly.

        Args:
            pretrained_model_name_or_path: A model folder.
            *args: As in transformers.
            **kwargs: As in transformers: ``dtype``, ``device_map``, ``attn_implementation``, …

        Raises:
            UsageError: A tensor of the model is missing from the folder, has another shape, or is
                there without a place in the model; the message lists loaded, missing, unexpected.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        loaded: Any = super().from_pretrained(
            pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs
        )
        model, info = loaded
        check_loading(pretrained_model_name_or_path, model, info)
        return (model, info) if wants_info else model

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embeddings."""
        return self.llm.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The language model's head."""
        return self.llm.get_output_embeddings()

    def parts(self) -> dict[str, list[str]]:
        """Names of all parameters by the part that a training stage trains or freezes."""
        names = [name for name, _ in self.named_parameters()]
        parts = {
            part: [name for name in names if name.startswith(prefixes)] for part, prefixes in PARTS.items()
        }
        assert sum(map(len, parts.values())) == len(names), "a parameter belongs to no part"
        return parts

    def encoder_features(self, modality: str, signal: Tensor) -> Tensor:
        """What the frozen encoder makes of a signal.

        Args:
            modality: Its name.
            signal: ``[B, …]`` model inputs, as ``OneLLMProcessor`` makes them.

        Returns:
            ``[B, 1 + L, D]``; frames, where the input has them, are averaged token by token.

        Raises:
            UsageError: The model does not read ``modality``, or the input's shape is another.
        """
        builders.check_input(self.config, modality, signal.shape)
        signal = signal.to(self.modality_tokens[modality].dtype)
        if modality in self.tokenizers:
            return self.encoder(self.tokenizers[modality](signal), self.positions[modality])
        frames = signal.flatten(0, -4)
        features = self.encoder(self.encoder.patch_tokens(frames), self.encoder.positions)
        return features.unflatten(0, (signal.shape[0], -1)).mean(dim=1)

    def route(self, modality: str, inputs_BLD: Tensor) -> Tensor:
        """Routing weights ``[B, N, K]`` for projected input tokens ``[B, L, D]``."""
        tokens = self.modality_tokens[modality].expand(inputs_BLD.shape[0], -1, -1)
        return self.routers[modality](tokens, inputs_BLD)

    def encode(self, modality: str, signal: Tensor) -> Tensor:
        """The tokens that the language model reads for a signal, without tags.

        Args:
            modality: Its name.
            signal: ``[B, …]`` model inputs, as ``OneLLMProcessor`` makes them.

        Returns:
            ``[B, N, E]``.

        Raises:
            UsageError: The model does not read ``modality``, or the input's shape is another.
        """
        features = self.encoder_features(modality, signal)
        inputs = self.input_projections[modality](features)
        weights = self.route(modality, inputs)
        tokens = self.modality_tokens[modality].expand(inputs.shape[0], -1, -1)
        mixed = mix(self.experts, torch.cat([tokens, inputs], dim=1), weights)
        return self.output_projections[modality](mixed)

    def block(self, modality: str, signal: Tensor) -> Tensor:
        """A whole block, ``[B, N + 2, E]``: start tag, tokens, end tag."""
        return self.with_tags(modality, self.encode(modality, signal))

    def with_tags(self, modality: str, tokens: Tensor) -> Tensor:
        """``[B, N, E]`` → ``[B, N + 2, E]``: the tokens between their modality's two tags."""
        shape = (tokens.shape[0], 1, -1)
        return torch.cat(
            [self.start_tags[modality].expand(shape), tokens, self.end_tags[modality].expand(shape)], dim=1
        )

    def splice_blocks(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        blocks: Sequence[Sequence[Tensor]],
        labels: Tensor | None = None,
    ) -> Spliced:
        """Embed the text and put each sample's blocks right after its start token.

        Args:
            input_ids: ``[B, T]`` int64; each row begins with the start token.
            attention_mask: ``[B, T]``; all ones by default.
            blocks: For each sample its blocks ``[N + 2, E]`` in order.
            labels: ``[B, T]``, or None.

        Returns:
            Embeddings, mask, positions and labels over ``S = T + P`` tokens.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        embeds = self.get_input_embeddings()(input_ids)
        empty = embeds.new_zeros(0, embeds.shape[-1])
        return splice(embeds, mask, [torch.cat([empty, *sample]) for sample in blocks], labels)

    def encode_and_splice(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        signals: Mapping[str, Tensor] | None = None,
        blocks: Blocks | None = None,
        labels: Tensor | None = None,
    ) -> Spliced:
        """Encode the signals, embed the text, and put each sample's blocks in their place.

        Args:
            input_ids: ``[B, T]`` int64; each row begins with the start token.
            attention_mask: ``[B, T]``; all ones by default.
            signals: Modality → ``[n, …]`` model inputs.  Each row is encoded once, however many
                samples name it.
            blocks: Each sample's blocks in order; by default every sample has one of each
                modality, in the order of ``signals``, and ``n`` is B.
            labels: ``[B, T]``, or None.

        Returns:
            Embeddings, mask, positions and labels over ``S = T + P`` tokens.
        """
        signals = signals or {}
        encoded = {name: self.block(name, signal) for name, signal in signals.items()}
        if blocks is None:
            blocks = default_blocks(signals, input_ids.shape[0])
        tensors = [[encoded[name][row] for name, row in sample] for sample in blocks]
        return self.splice_blocks(input_ids, attention_mask, tensors, labels)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        signals: Mapping[str, Tensor] | None = None,
        blocks: Blocks | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, and with labels the loss, of text that follows its signals.

        Args:
            input_ids: ``[B, T]`` int64; each row begins with the start token.
            attention_mask: ``[B, T]``, padded on one side; all ones by default.
            signals: Modality → ``[n, …]`` model inputs; the order is the order of the blocks.
            blocks: Each sample's (modality, row) in order, for batches in which samples differ.
            labels: ``[B, T]`` int64 aligned with ``input_ids``; −100 is not counted.
            logits_to_keep: Compute logits of this many last positions only; 0 means all.
            **kwargs: Passed on to the language model.

        Returns:
            ``logits [B, P + T, V]`` over prefix and text, and with labels ``loss``: the mean
            cross entropy in float32 of predicting each counted label from the position before it.

        Raises:
            UsageError: A modality that the model does not read, or an input of another shape.
            ValueError: A mask with padding between tokens.
        """
        text = self.encode_and_splice(input_ids, attention_mask, signals, blocks, labels)
        output = self.llm(
            inputs_embeds=text.embeds,
            attention_mask=text.mask,
            position_ids=text.positions,
            logits_to_keep=_last_positions(text.embeds.shape[1], logits_to_keep),
            **kwargs,
        )
        if text.labels is not None:
            output.loss = causal_loss(output.logits, text.labels[:, -output.logits.shape[1] :])
        return output

    @torch.no_grad()
    def generate(  # type: ignore[override]  # signals take the place of HF's positional inputs
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        signals: Mapping[str, Tensor] | None = None,
        blocks: Blocks | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Answer: new token ids ``[B, at most max_new_tokens]``, padded after each row's end token.

        Args:
            input_ids: ``[B, T]`` prompts, padded on the left.
            attention_mask: ``[B, T]``.
            signals: Modality → ``[n, …]`` model inputs.
            blocks: Each sample's (modality, row) in order.
            **kwargs: As ``generate`` of transformers: ``max_new_tokens``, ``do_sample``, ``streamer``, …
        """
        return self.generate_from(
            self.encode_and_splice(input_ids, attention_mask, signals, blocks), **kwargs
        )

    @torch.no_grad()
    def generate_from(self, prompt: Spliced, **kwargs: Any) -> Tensor:
        """``generate`` from an already spliced prompt."""
        self.llm.generation_config = self.generation_config  # what the model folder says
        generate: Any = self.llm.generate
        return generate(inputs_embeds=prompt.embeds, attention_mask=prompt.mask, **kwargs)


def _last_positions(length: int, keep: int) -> int | Tensor:
    """The last ``keep`` of ``length`` positions as indices; 0, all of them, stays 0.

    A slice would hand the head a tensor with gaps, for which matmul copies the whole vocabulary's
    weights once for each sample; indices make a tensor without gaps.
    """
    return torch.arange(max(length - keep, 0), length) if keep else 0


def default_blocks(signals: Mapping[str, Tensor], batch: int) -> list[list[tuple[str, int]]]:
    """Every sample has its own row of each modality, in the order of ``signals``.

    Raises:
        UsageError: A modality does not have one row for each sample.
    """
    for name, signal in signals.items():
        if signal.shape[0] != batch:
            raise UsageError(
                f"signals['{name}'] has {signal.shape[0]} rows for {batch} texts; expected one for each "
                "text, or 'blocks' that says which sample reads which row"
            )
    return [[(name, row) for name in signals] for row in range(batch)]


def causal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy in float32 of ``logits [B, S, V]`` at t against ``labels [B, S]`` at t + 1."""
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORE_INDEX
    )
