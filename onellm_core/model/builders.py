"""Config values → modules: the one place where a name in ``config.json`` becomes an object.

The modules themselves take plain keyword arguments and never see a config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from onellm_core.model.config import OneLLMConfig
from onellm_core.model.encoder import OpenClipEncoder
from onellm_core.model.projection import ConstantRouter, Expert, Router
from onellm_core.model.tokenizers import build_tokenizer
from onellm_data import modalities
from onellm_data.errors import UsageError, unknown
from onellm_data.modalities.tokenizer_specs import SPECS, PatchSpec, PointGroupsSpec, TokenizerSpec

ENCODERS = {"open_clip": OpenClipEncoder}


def encoder(config: OneLLMConfig) -> OpenClipEncoder:
    """The universal encoder."""
    sizes = dict(config.encoder)
    kind = sizes.pop("kind")
    if kind not in ENCODERS:
        raise unknown("encoder kind", kind, ENCODERS)
    try:
        return ENCODERS[kind](**sizes)
    except TypeError as error:
        raise UsageError(f"the encoder of this config cannot be built: {error}") from error


def tokenizer_spec(entry: Mapping[str, Any]) -> TokenizerSpec:
    """The tokenizer spec of one entry of ``config.modalities``."""
    fields = dict(entry["tokenizer"])
    kind = fields.pop("kind")
    if kind not in SPECS:
        raise unknown("tokenizer kind", kind, SPECS)
    return SPECS[kind](**fields)


def input_shape(config: OneLLMConfig, modality: str) -> tuple[int, ...]:
    """Shape of one model input of ``modality``, without the batch axis."""
    options = config.input_options(modality)
    return modalities.get(modality).input_shape(options)


def check_input(config: OneLLMConfig, modality: str, shape: Sequence[int]) -> None:
    """Make sure that a batch of model inputs has a shape that the modality's weights can read.

    The number of frames and of points is free: no weight depends on it.

    Args:
        config: The model's configuration.
        modality: Its name.
        shape: Shape of the batch, batch axis first.

    Raises:
        UsageError: The model does not read ``modality``, or the shape is another.
    """
    expected: list[int | str] = list(input_shape(config, modality))
    spec = tokenizer_spec(config.modalities[modality])
    if isinstance(spec, PatchSpec) and len(expected) == 4:
        expected[0] = "frames"
    if isinstance(spec, PointGroupsSpec):
        expected[0] = "points"
    got = list(shape[1:])
    if len(got) != len(expected) or any(
        e != g for e, g in zip(expected, got, strict=True) if isinstance(e, int)
    ):
        raise UsageError(
            f"a batch of '{modality}' inputs has the shape {list(shape)}; "
            f"expected [batch, {', '.join(map(str, expected))}]"
        )
    if isinstance(spec, PointGroupsSpec) and got[0] < spec.centers:
        raise UsageError(f"a point cloud has {got[0]} points; expected at least the {spec.centers} centres")


def tokenizer(config: OneLLMConfig, modality: str) -> nn.Module | None:
    """The modality's tokenizer, or None where it uses the encoder's patches."""
    spec = tokenizer_spec(config.modalities[modality])
    return build_tokenizer(spec, input_shape(config, modality), config.encoder["width"])


def position_rows(config: OneLLMConfig, modality: str) -> int | None:
    """Rows of the modality's own position table (class token included), or None if it has none."""
    spec = tokenizer_spec(config.modalities[modality])
    if isinstance(spec, PatchSpec):
        return None
    return 1 + spec.tokens(input_shape(config, modality), config.encoder["patch_size"])


def expert(config: OneLLMConfig) -> Expert:
    """One projection expert."""
    sizes = {key: config.projection[key] for key in ("layers", "heads", "hidden", "eps")}
    return Expert(width=config.encoder["width"], **sizes)


def router(config: OneLLMConfig) -> Router | ConstantRouter:
    """One modality's router."""
    experts = config.projection["experts"]
    if config.router["kind"] == "constant":
        return ConstantRouter(experts)
    return Router(**config.router, width=config.encoder["width"], experts=experts)


def projector(width_in: int, width_out: int) -> nn.Sequential:
    """Linear and LayerNorm, on either side of the experts (eps is PyTorch's 1e-5)."""
    return nn.Sequential(nn.Linear(width_in, width_out), nn.LayerNorm(width_out))
