"""What a model folder is: ``config.json``, safetensors, and the processor's files."""

from __future__ import annotations

import json
from pathlib import Path

from onellm_core.model.config import OneLLMConfig
from onellm_data.errors import UsageError


def check_model_folder(folder: Path) -> None:
    """Make sure that ``folder`` is a OneLLM model before anything heavy is loaded.

    Raises:
        UsageError: It is not; the message says what it is instead.
    """
    expected = "expected a model folder that `onellm init`, `train` or `convert` wrote"
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "does not exist"
        raise UsageError(f"{folder} {what}; {expected}")
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{folder} holds no config.json; {expected}") from error
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be read as JSON ({error}); {expected}") from error
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind != OneLLMConfig.model_type:
        raise UsageError(f"{path} describes a model of type '{kind}', not 'onellm'; {expected}")
    if not any(folder.glob("*.safetensors")):
        raise UsageError(f"{folder} holds no .safetensors file; {expected}")


def load_config(folder: Path) -> OneLLMConfig:
    """The configuration of a model folder.

    Raises:
        UsageError: The path is not a OneLLM model folder.
    """
    check_model_folder(folder)
    config: OneLLMConfig = OneLLMConfig.from_pretrained(folder)
    return config
