"""The model: configuration, encoder, tokenizers, projection, language model, processor.

============  ==================================================================
file          holds
============  ==================================================================
config        ``OneLLMConfig``: every size and choice, as ``config.json`` stores it
builders      config values → modules, the one place where names become objects
encoder       the frozen vision tower that reads every modality's tokens
tokenizers    the layers that a declarative tokenizer spec stands for
projection    experts, routers, the universal projection module
splice        modality blocks into the text, right after the start token
modeling      ``OneLLMForConditionalGeneration``
prompts       chat template, ``###`` template, plain captions
processor     ``OneLLMProcessor``: files or arrays plus text → model inputs
create        a new, untrained model folder
summary       what ``onellm inspect model`` prints
============  ==================================================================
"""

from __future__ import annotations

from functools import cache


@cache
def register() -> None:
    """Make the Auto classes of transformers know ``model_type: onellm``."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

    from onellm_core.model.config import OneLLMConfig
    from onellm_core.model.modeling import OneLLMForConditionalGeneration
    from onellm_core.model.processor import OneLLMProcessor

    AutoConfig.register(OneLLMConfig.model_type, OneLLMConfig)
    AutoModelForCausalLM.register(OneLLMConfig, OneLLMForConditionalGeneration)
    AutoProcessor.register(OneLLMConfig, OneLLMProcessor)
