"""What ``onellm convert`` does: a published checkpoint → a model folder, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from onellm_core.convert import reference
from onellm_core.convert.reference import PREFIX, Heads, Rule
from onellm_core.convert.tensors import Checkpoint, TensorInfo, write_model, write_safetensors
from onellm_core.model.config import OneLLMConfig
from onellm_core.model.folder import load_config
from onellm_core.model.modeling import OneLLMForConditionalGeneration
from onellm_core.model.processor import OneLLMProcessor
from onellm_core.model.strict import check_names
from onellm_core.model.text_tokenizer import load_text_tokenizer
from onellm_data.errors import UsageError
from onellm_data.files import atomic_file, atomic_folder


def from_reference(weights: Path, out: Path, heads: Heads, tokenizer: Path | None = None) -> OneLLMConfig:
    """Convert a checkpoint with the published names into a model folder.

    Args:
        weights: A ``.pth`` or ``.safetensors`` file.
        out: The folder to make.
        heads: Attention heads, which no tensor tells.
        tokenizer: The language model's tokenizer: a SentencePiece ``tokenizer.model``, or a folder.
            Without it the folder holds the model alone.

    Returns:
        The new model's configuration.

    Raises:
        UsageError: The file is no such checkpoint; the message lists loaded, missing, unexpected.
    """
    checkpoint = Checkpoint(weights)
    theirs = {name.removeprefix(PREFIX): info for name, info in checkpoint.infos.items()}
    config = reference.read_config(theirs, heads)
    head_dim = config.text_config.hidden_size // heads.llm
    plan: dict[str, tuple[str, Rule]] = {}
    unexpected = []
    for full_name in checkpoint.infos:
        name = full_name.removeprefix(PREFIX)
        mapped = reference.to_ours(name)
        if mapped is not None:
            plan[mapped[0]] = (full_name, mapped[1])
        elif not reference.dropped(name):
            unexpected.append(full_name)
    infos = _check_against_model(weights, config, plan, unexpected, checkpoint.infos)
    config.dtype = checkpoint.infos[plan["llm.model.embed_tokens.weight"][0]].dtype

    def stream(names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        read = checkpoint.stream([plan[name][0] for name in names])
        for name, (_, tensor) in zip(names, read, strict=True):
            yield name, reference.change(tensor, plan[name][1], head_dim)

    processor = (
        None if tokenizer is None else OneLLMProcessor(load_text_tokenizer(tokenizer), config.modalities)
    )
    with atomic_folder(out) as folder:
        write_model(folder, list(infos.values()), stream)
        config.architectures = [OneLLMForConditionalGeneration.__name__]
        config.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
    return config


def _check_against_model(
    weights: Path,
    config: OneLLMConfig,
    plan: Mapping[str, tuple[str, Rule]],
    unexpected: Sequence[str],
    theirs: Mapping[str, TensorInfo],
) -> dict[str, TensorInfo]:
    """Our tensors' names, shapes and dtypes, after checking them against the model without memory.

    Raises:
        UsageError: With the three lists.
    """
    with torch.device("meta"):
        expected = OneLLMForConditionalGeneration(config).state_dict()
    stage_one = _is_stage_one(config)
    missing = [
        published[0] if (published := reference.to_theirs(name, stage_one=stage_one)) else name
        for name in expected
        if name not in plan
    ]
    wrong = []
    infos = {}
    for name, (full_name, rule) in plan.items():
        if name not in expected:
            wrong.append(full_name)
            continue
        info = theirs[full_name]
        shape = tuple(expected[name].shape)
        if reference.changed_shape(info.shape, rule) != shape:
            wrong.append(f"{full_name}: {list(info.shape)} in the file, {list(shape)} in the model")
            continue
        infos[name] = TensorInfo(name, shape, info.dtype)
    loaded = [plan[name][0] for name in infos]
    check_names(weights, loaded, missing, [*unexpected, *wrong])
    return infos


def _is_stage_one(config: OneLLMConfig) -> bool:
    """Whether the checkpoint is one of the first stage: one expert, named after the image."""
    return config.projection["experts"] == 1 and config.router["kind"] == "constant"


def to_reference(folder: Path, out: Path) -> int:
    """Give a converted model back under the published names, bit for bit.

    Args:
        folder: A model folder whose language model is a LLaMA.
        out: The ``.safetensors`` file to write.

    Returns:
        The number of tensors written.

    Raises:
        UsageError: The folder is no such model, or ``out`` exists.
    """
    if out.exists():
        raise UsageError(f"{out} already exists; expected a file that does not exist yet")
    config = load_config(folder)
    reference.check_expressible(config)
    checkpoint = Checkpoint(folder)
    head_dim = config.text_config.hidden_size // config.text_config.num_attention_heads
    stage_one = _is_stage_one(config)
    plan, unknown_names = {}, []
    for name in checkpoint.infos:
        mapped = reference.to_theirs(name, stage_one=stage_one)
        if mapped is None:
            unknown_names.append(name)
        else:
            plan[name] = mapped
    check_names(folder, list(plan), [], unknown_names)
    infos = [
        TensorInfo(theirs, (*info.shape, 1, 1) if rule.change == "pointwise" else info.shape, info.dtype)
        for info, (theirs, rule) in ((checkpoint.infos[name], plan[name]) for name in plan)
    ]
    tensors = (
        (plan[name][0], reference.undo(tensor, plan[name][1], head_dim))
        for name, tensor in checkpoint.stream(list(plan))
    )
    with atomic_file(out) as work:
        write_safetensors(work, infos, tensors)
    return len(infos)
