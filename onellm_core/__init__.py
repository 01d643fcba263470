"""The model, its training, inference and evaluation.

The public classes are imported on first use, so that ``import onellm_core`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onellm_core.model.config import OneLLMConfig
    from onellm_core.model.modeling import OneLLMForConditionalGeneration
    from onellm_core.model.processor import OneLLMProcessor

__all__ = ["OneLLMConfig", "OneLLMForConditionalGeneration", "OneLLMProcessor"]

_HOME = {
    "OneLLMConfig": "onellm_core.model.config",
    "OneLLMForConditionalGeneration": "onellm_core.model.modeling",
    "OneLLMProcessor": "onellm_core.model.processor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'onellm_core' has no attribute '{name}'")
    from onellm_core.model import register

    register()
    return getattr(importlib.import_module(_HOME[name]), name)
