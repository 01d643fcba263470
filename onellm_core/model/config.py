"""``OneLLMConfig``: every size and choice of a model, as its ``config.json`` stores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from onellm_data import modalities
from onellm_data.errors import UsageError, unknown

ROUTERS = ("soft", "sparse", "constant")
ROUTER_ACTIVATIONS = ("softmax", "sigmoid")
ROUTER_INPUTS = ("pooled", "tokens")

DEFAULT_ENCODER = {
    "kind": "open_clip",
    "image_size": 224,
    "patch_size": 14,
    "width": 1024,
    "layers": 24,
    "heads": 16,
    "mlp_ratio": 4.0,
    "output_dim": 768,
    "quick_gelu": True,
}
DEFAULT_PROJECTION = {"experts": 3, "layers": 8, "heads": 16, "hidden": 2816, "eps": 1e-5}
DEFAULT_ROUTER = {"kind": "soft", "activation": "softmax", "input": "pooled"}


def swiglu_hidden(width: int, multiple_of: int = 256) -> int:
    """Hidden size of a SwiGLU block: 2/3 of 4 x ``width``, rounded up (LLaMA, arXiv 2302.13971)."""
    hidden = 4 * width * 2 // 3
    return -(-hidden // multiple_of) * multiple_of


def modality_entry(name: str, image_size: int, *, published: bool = False, **changes: Any) -> dict[str, Any]:
    """One modality's entry of ``OneLLMConfig.modalities``: its tokenizer and its input options.

    Args:
        name: The modality.
        image_size: Side of the encoder's pictures in pixels, for modalities that have a ``size``.
        published: Take the published model's input options, not those for a new model.
        **changes: Input options or tokenizer fields to set otherwise.

    Raises:
        UsageError: Unknown modality, or a change that names no option.
    """
    modality = modalities.get(name)
    options = dict(modality.options) | ({} if published else dict(modality.new_model_options))
    if "size" in options:
        options["size"] = image_size
    tokenizer = {"kind": modality.tokenizer.kind, **asdict(modality.tokenizer)}
    for key, value in changes.items():
        part = options if key in options else tokenizer
        if key == "kind" or key not in part:
            known = [*options, *(field for field in tokenizer if field != "kind")]
            raise unknown(f"option of the modality '{name}'", key, known)
        part[key] = value
    return {"tokenizer": tokenizer, "input": options}


class OneLLMConfig(PreTrainedConfig):
    """Configuration of a OneLLM model; the defaults are the published 7B's sizes.

    Attributes:
        text_config: Configuration of the language model, any causal LM of transformers.
        encoder: The vision tower: ``kind`` and the tower's own sizes (pixels, widths, layers).
        projection: ``experts`` K, ``layers`` and ``heads`` of each, ``hidden`` size, norm ``eps``.
        router: ``kind`` (soft, sparse, constant), ``activation`` (softmax, sigmoid), and ``input``:
            ``tokens`` routes from the learned modality tokens alone, as published; ``pooled``
            joins to each of them the mean of the input's projected tokens.
        modality_tokens: N, how many tokens of each signal the language model reads.
        modalities: Name → ``{"tokenizer": spec, "input": options of Modality.to_input}``.
    """

    model_type = "onellm"
    sub_configs_defaults = {"text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama")}  # noqa: RUF012

    text_config: Any = None
    encoder: Any = None
    projection: Any = None
    router: Any = None
    modality_tokens: int = 30
    modalities: Any = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.encoder = DEFAULT_ENCODER | (self.encoder or {})
        self.projection = DEFAULT_PROJECTION | (self.projection or {})
        self.router = DEFAULT_ROUTER | (self.router or {})
        self.modalities = dict(self.modalities or {})
        super().__post_init__(**kwargs)
        self._check()

    def _check(self) -> None:
        for table, given, known in (
            ("projection", self.projection, list(DEFAULT_PROJECTION)),
            ("router", self.router, list(DEFAULT_ROUTER)),
        ):
            for key in given:
                if key not in known:
                    raise unknown(f"key of '{table}'", key, known)
        for key, known_values in (
            ("kind", ROUTERS),
            ("activation", ROUTER_ACTIVATIONS),
            ("input", ROUTER_INPUTS),
        ):
            if self.router[key] not in known_values:
                raise unknown(f"router {key}", str(self.router[key]), known_values)
        if self.projection["experts"] < 1:
            raise UsageError(f"projection.experts is {self.projection['experts']}; expected 1 or more")

    def input_options(self, modality: str) -> Mapping[str, Any]:
        """Options of ``Modality.to_input`` for this model.

        Raises:
            UsageError: The model does not read ``modality``.
        """
        return read_options(self.modalities, modality)


def read_options(modalities: Mapping[str, Mapping[str, Any]], modality: str) -> Mapping[str, Any]:
    """Options of ``Modality.to_input`` from a config's ``modalities``.

    Raises:
        UsageError: The model does not read ``modality``.
    """
    if modality not in modalities:
        known = ", ".join(modalities) or "text only"
        raise UsageError(f"this model does not read '{modality}'; it reads: {known}")
    return modalities[modality]["input"]
