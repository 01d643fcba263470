"""The published OneLLM's checkpoints: tensor names, sizes and quirks.

Source: the layout of OneLLM-7B's ``consolidated.00-of-01.pth``.  D width of the encoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor
from transformers import LlamaConfig

from onellm_core.convert.tensors import TensorInfo
from onellm_core.model.config import OneLLMConfig, modality_entry
from onellm_core.model.strict import name_list
from onellm_data.errors import UsageError

PREFIX = "llma."

MODALITY_NAMES = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "point": "point",
    "rgbd": "depth",
    "rgbn": "normal",
    "fmri": "fmri",
    "imu": "imu",
}
"""The published key of a modality → our name."""

DROPPED = (
    "clip.token_embedding.weight",
    "clip.positional_embedding",
    "clip.text_projection",
    "clip.ln_final.weight",
    "clip.ln_final.bias",
    "clip.logit_scale",
    "rope.freqs",
)
"""Leftovers that no part of the model uses: CLIP's text tower and the rotary table."""
DROPPED_PREFIXES = ("clip.transformer.",)

STAGE_ONE_EXPERT = "image"
"""What a checkpoint of the first stage calls its only expert."""


@dataclass(frozen=True)
class Heads:
    """Attention heads, which no tensor's shape tells; the defaults are the 7B's."""

    llm: int = 32
    expert: int = 16
    encoder: int = 16


@dataclass(frozen=True)
class Rule:
    """One line of the key map.

    Attributes:
        theirs: Published name, with ``{}`` where a part is carried over.
        ours: Our name, with as many ``{}``.
        change: What happens to the tensor: None, or ``rotary`` (rows of each head are reordered)
            or ``pointwise`` (a 1x1 convolution becomes a linear map).
    """

    theirs: str
    ours: str
    change: str | None = None


_BLOCK = {"attention.wq": "wq", "attention.wk": "wk", "attention.wv": "wv", "attention.wo": "wo"} | {
    f"feed_forward.w{i}": f"w{i}" for i in (1, 2, 3)
}

RULES = (
    Rule("tok_embeddings.weight", "llm.model.embed_tokens.weight"),
    Rule("norm.weight", "llm.model.norm.weight"),
    Rule("output.weight", "llm.lm_head.weight"),
    Rule("layers.{}.attention.wq.weight", "llm.model.layers.{}.self_attn.q_proj.weight", "rotary"),
    Rule("layers.{}.attention.wk.weight", "llm.model.layers.{}.self_attn.k_proj.weight", "rotary"),
    Rule("layers.{}.attention.wv.weight", "llm.model.layers.{}.self_attn.v_proj.weight"),
    Rule("layers.{}.attention.wo.weight", "llm.model.layers.{}.self_attn.o_proj.weight"),
    Rule("layers.{}.feed_forward.w1.weight", "llm.model.layers.{}.mlp.gate_proj.weight"),
    Rule("layers.{}.feed_forward.w2.weight", "llm.model.layers.{}.mlp.down_proj.weight"),
    Rule("layers.{}.feed_forward.w3.weight", "llm.model.layers.{}.mlp.up_proj.weight"),
    Rule("layers.{}.attention_norm.weight", "llm.model.layers.{}.input_layernorm.weight"),
    Rule("layers.{}.ffn_norm.weight", "llm.model.layers.{}.post_attention_layernorm.weight"),
    Rule("clip.visual.{}", "encoder.tower.{}"),
    *(
        Rule(f"resample_layers.{{}}.{{}}.{theirs}.weight", f"experts.{{}}.blocks.{{}}.{ours}.weight")
        for theirs, ours in _BLOCK.items()
    ),
    Rule("resample_layers.{}.{}.attention_norm.weight", "experts.{}.blocks.{}.attention_norm.weight"),
    Rule("resample_layers.{}.{}.ffn_norm.weight", "experts.{}.blocks.{}.ffn_norm.weight"),
    Rule("conv1.point.conv1.weight", "tokenizers.point.linear.weight", "pointwise"),
    Rule("conv1.point.conv1.bias", "tokenizers.point.linear.bias"),
    Rule("conv1.fmri.{}", "tokenizers.fmri.linear.{}"),
    Rule("conv1.audio.{}", "tokenizers.audio.conv.{}"),
    Rule("conv1.imu.{}", "tokenizers.imu.conv.{}"),
    Rule("positional_embedding.{}", "positions.{}"),
    Rule("resample_tokens.{}", "modality_tokens.{}"),
    Rule("clip_proj1.{}.{}", "input_projections.{}.{}"),
    Rule("clip_proj2.{}.{}", "output_projections.{}.{}"),
    Rule("routers.{}.{}", "routers.{}.{}"),
    Rule("start_tag.{}", "start_tags.{}"),
    Rule("end_tag.{}", "end_tags.{}"),
)

_BY_MODALITY = re.compile(
    r"^(positions|modality_tokens|input_projections|output_projections|routers|start_tags|end_tags)\."
)


def _pattern(template: str) -> re.Pattern[str]:
    """A template as a pattern; a carried part is one component of the name, but the last may be several."""
    body = re.escape(template).replace(r"\{\}", r"([^.]+)")
    if template.endswith("{}"):
        body = body[: -len("([^.]+)")] + "(.+)"
    return re.compile(f"^{body}$")


_TO_OURS = [(_pattern(rule.theirs), rule) for rule in RULES]
_TO_THEIRS = [(_pattern(rule.ours), rule) for rule in RULES]


def to_ours(theirs: str) -> tuple[str, Rule] | None:
    """Our name of a published tensor (without ``llma.``) and its rule, or None if there is none."""
    for pattern, rule in _TO_OURS:
        if match := pattern.match(theirs):
            parts = list(match.groups())
            if rule.ours.startswith("experts."):
                parts[0] = "0" if parts[0] == STAGE_ONE_EXPERT else parts[0]
            if _BY_MODALITY.match(rule.ours):
                if parts[0] not in MODALITY_NAMES:
                    return None
                parts[0] = MODALITY_NAMES[parts[0]]
            return rule.ours.format(*parts), rule
    return None


def to_theirs(ours: str, *, stage_one: bool = False) -> tuple[str, Rule] | None:
    """The published name (with ``llma.``) of one of our tensors and its rule, or None."""
    published = {name: key for key, name in MODALITY_NAMES.items()}
    for pattern, rule in _TO_THEIRS:
        if match := pattern.match(ours):
            parts = list(match.groups())
            if rule.ours.startswith("experts.") and stage_one:
                parts[0] = STAGE_ONE_EXPERT
            if _BY_MODALITY.match(ours):
                if parts[0] not in published:
                    return None
                parts[0] = published[parts[0]]
            return PREFIX + rule.theirs.format(*parts), rule
    return None


def dropped(theirs: str) -> bool:
    """Whether a published tensor (without ``llma.``) is one of the leftovers."""
    return theirs in DROPPED or theirs.startswith(DROPPED_PREFIXES)


def change(tensor: Tensor, rule: Rule, head_dim: int) -> Tensor:
    """A published tensor in our layout."""
    if rule.change == "rotary":
        # Their rotary pairs are neighbours (2i, 2i + 1); Hugging Face's are halves (i, i + d/2).
        return tensor.unflatten(0, (-1, head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)
    return tensor.flatten(1) if rule.change == "pointwise" else tensor


def changed_shape(shape: tuple[int, ...], rule: Rule) -> tuple[int, ...]:
    """The shape that ``change`` gives a tensor of ``shape``."""
    return (shape[0], prod(shape[1:])) if rule.change == "pointwise" else shape


def undo(tensor: Tensor, rule: Rule, head_dim: int) -> Tensor:
    """One of our tensors in the published layout."""
    if rule.change == "rotary":
        return tensor.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2).flatten(0, 2)
    return tensor[:, :, None, None] if rule.change == "pointwise" else tensor


def check_expressible(config: OneLLMConfig) -> None:
    """Refuse a model that the published names and code cannot express.

    Raises:
        UsageError: With what stands in the way.
    """
    llm, router = config.text_config, config.router
    if llm.model_type != "llama" or llm.tie_word_embeddings:
        tied = " with tied embeddings" if llm.tie_word_embeddings else ""
        raise UsageError(
            f"the language model is a '{llm.model_type}'{tied}; the published names exist for a "
            "'llama' with embeddings and head of their own"
        )
    if router["kind"] != "constant" and (router["kind"], router["input"]) != ("soft", "tokens"):
        raise UsageError(
            f"the router is '{router['kind']}' fed by '{router['input']}'; the published model has "
            "only a 'soft' one fed by 'tokens'"
        )


def read_config(infos: Mapping[str, TensorInfo], heads: Heads) -> OneLLMConfig:
    """The configuration that a published checkpoint's tensors imply, with the published quirks.

    Args:
        infos: Published name without ``llma.`` → shape and dtype.
        heads: Attention heads.

    Raises:
        UsageError: Tensors that every checkpoint has are not there, or do not fit the head counts.
    """
    needed = (
        "tok_embeddings.weight",
        "layers.0.attention.wk.weight",
        "layers.0.feed_forward.w1.weight",
        "clip.visual.conv1.weight",
        "clip.visual.positional_embedding",
        "clip.visual.proj",
    )
    if absent := [name for name in needed if name not in infos]:
        raise UsageError(
            "this is not a checkpoint of the published OneLLM: tensors that all of them have are not there"
            + name_list("missing", [PREFIX + name for name in absent])
        )
    modalities = [ours for theirs, ours in MODALITY_NAMES.items() if f"resample_tokens.{theirs}" in infos]
    if not modalities:
        raise UsageError("the checkpoint has no resample_tokens.*: it reads no modality")
    encoder = _encoder_sizes(infos, heads)
    routed = any(name.startswith("routers.") for name in infos)
    return OneLLMConfig(
        text_config=_llm_config(infos, heads),
        encoder=encoder,
        projection=_projection_sizes(infos, heads),
        router={"kind": "soft", "activation": "sigmoid", "input": "tokens"}
        if routed
        else {"kind": "constant"},
        modality_tokens=infos[_tokens_key(modalities[0])].shape[1],
        modalities={name: _entry(name, infos, encoder["image_size"]) for name in modalities},
    )


def _tokens_key(ours: str) -> str:
    return "resample_tokens." + next(key for key, name in MODALITY_NAMES.items() if name == ours)


def _entry(name: str, infos: Mapping[str, TensorInfo], image_size: int) -> dict[str, Any]:
    """A modality's entry with the published quirks: colour as coordinates, and the file's voxel count."""
    changes: dict[str, Any] = {}
    if name == "point":
        changes["xyz"] = "last"
    if name == "fmri" and "conv1.fmri.weight" in infos:
        changes["voxels"] = infos["conv1.fmri.weight"].shape[1]
    return modality_entry(name, image_size, published=True, **changes)


def _count(infos: Mapping[str, TensorInfo], pattern: str) -> int:
    """How many different values the first group of ``pattern`` takes among the names."""
    return len({match[1] for name in infos if (match := re.match(pattern, name))})


def _head_dim(width: int, heads: int, what: str, option: str) -> int:
    if width % heads:
        raise UsageError(
            f"{heads} heads do not divide the {what}'s width {width}; give the right number with {option}"
        )
    return width // heads


def _llm_config(infos: Mapping[str, TensorInfo], heads: Heads) -> LlamaConfig:
    vocabulary, width = infos["tok_embeddings.weight"].shape
    head_dim = _head_dim(width, heads.llm, "language model", "--llm-heads")
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=infos["layers.0.feed_forward.w1.weight"].shape[0],
        num_hidden_layers=_count(infos, r"layers\.(\d+)\."),
        num_attention_heads=heads.llm,
        num_key_value_heads=infos["layers.0.attention.wk.weight"].shape[0] // head_dim,
        rms_norm_eps=1e-5,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )


def _encoder_sizes(infos: Mapping[str, TensorInfo], heads: Heads) -> dict[str, Any]:
    width, _, _, patch = infos["clip.visual.conv1.weight"].shape
    _head_dim(width, heads.encoder, "encoder", "--encoder-heads")
    rows = infos["clip.visual.positional_embedding"].shape[0]
    mlp = infos["clip.visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
    return {
        "kind": "open_clip",
        "image_size": round((rows - 1) ** 0.5) * patch,
        "patch_size": patch,
        "width": width,
        "layers": _count(infos, r"clip\.visual\.transformer\.resblocks\.(\d+)\."),
        "heads": heads.encoder,
        "mlp_ratio": mlp / width,
        "output_dim": infos["clip.visual.proj"].shape[1],
        "quick_gelu": True,
    }


def _projection_sizes(infos: Mapping[str, TensorInfo], heads: Heads) -> dict[str, Any]:
    experts = _count(infos, r"resample_layers\.([^.]+)\.")
    first = next(
        (name for name in infos if name.endswith(".feed_forward.w1.weight") and "resample" in name), None
    )
    if first is None:
        raise UsageError("the checkpoint has no resample_layers.*: it has no projection module")
    hidden, width = infos[first].shape
    _head_dim(width, heads.expert, "projection experts", "--expert-heads")
    return {
        "experts": experts,
        "layers": _count(infos, r"resample_layers\.[^.]+\.(\d+)\."),
        "heads": heads.expert,
        "hidden": hidden,
        "eps": 1e-5,
    }
