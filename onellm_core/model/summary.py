"""What ``onellm inspect model`` tells of a model folder, read from its headers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onellm_core.convert.tensors import Checkpoint, TensorInfo
from onellm_core.model import builders
from onellm_core.model.config import OneLLMConfig
from onellm_core.model.folder import load_config
from onellm_core.model.modeling import PARTS
from onellm_core.model.processor import CONFIG_NAME


def summarise(folder: Path) -> dict[str, Any]:
    """Sizes and choices of a model folder; no tensor is read.

    Returns:
        ``parts`` (name → tensors, parameters, bytes, dtypes), ``modalities`` (name → input shape,
        tokens, input options, tokenizer), ``llm``, ``encoder``, ``projection``, ``router``,
        ``modality_tokens``, ``template`` and the totals ``parameters`` and ``bytes``.

    Raises:
        UsageError: The path is not a OneLLM model folder.
    """
    config = load_config(folder)
    infos = list(Checkpoint(folder).infos.values())
    processor = folder / CONFIG_NAME
    text = config.text_config
    return {
        "folder": str(folder),
        "parameters": sum(map(_parameters, infos)),
        "bytes": sum(info.bytes for info in infos),
        "parts": {part: _part([i for i in infos if i.name.startswith(p)]) for part, p in PARTS.items()},
        "modalities": {name: _modality(config, name) for name in config.modalities},
        "modality_tokens": config.modality_tokens,
        "llm": {
            "type": text.model_type,
            "hidden_size": text.hidden_size,
            "layers": text.num_hidden_layers,
            "vocabulary": text.vocab_size,
        },
        "encoder": dict(config.encoder),
        "projection": dict(config.projection),
        "router": dict(config.router),
        "template": json.loads(processor.read_text("utf-8"))["template"] if processor.is_file() else None,
    }


def _parameters(info: TensorInfo) -> int:
    return info.bytes // info.dtype.itemsize


def _part(infos: list[TensorInfo]) -> dict[str, Any]:
    return {
        "tensors": len(infos),
        "parameters": sum(map(_parameters, infos)),
        "bytes": sum(info.bytes for info in infos),
        "dtypes": sorted({str(info.dtype).removeprefix("torch.") for info in infos}),
    }


def _modality(config: OneLLMConfig, name: str) -> dict[str, Any]:
    shape = builders.input_shape(config, name)
    spec = builders.tokenizer_spec(config.modalities[name])
    return {
        "input_shape": list(shape),
        "tokens": spec.tokens(shape, config.encoder["patch_size"]),
        **config.modalities[name],
    }
