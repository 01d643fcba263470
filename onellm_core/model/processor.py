"""``OneLLMProcessor``: files or arrays plus text → what the model reads.

The signal's way from file to model input is ``Modality.read`` and ``Modality.to_input``, the same
in training, inference and evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from onellm_core.model.config import read_options
from onellm_core.model.folder import load_config
from onellm_core.model.prompts import ChatTemplate, Rendered, build_template
from onellm_core.model.splice import IGNORE_INDEX
from onellm_data import modalities
from onellm_data.errors import UsageError
from onellm_data.modalities.base import Signal
from onellm_data.records import Turn

CONFIG_NAME = "processor_config.json"

SignalSource = str | Path | Sequence[str | Path] | np.ndarray | Signal
"""A file, the files of one signal of several parts, or a canonical signal."""

SampleSignals = Mapping[str, SignalSource] | Iterable[tuple[str, SignalSource]]
"""One sample's signals in order; pairs allow several of one modality."""

Text = str | Sequence[Mapping[str, str]] | Sequence[Turn]
"""A question, or chat turns as ``{"role", "content"}`` or ``Turn``."""


@dataclass(frozen=True)
class TrainingSample:
    """One sample whose answers are to be learned.

    Attributes:
        signals: (modality, model input as ``to_input`` makes it), in order.
        turns: Questions and answers; for a plain caption an answer alone, or after one prompt.
    """

    signals: Sequence[tuple[str, np.ndarray]]
    turns: Sequence[Turn]

    @classmethod
    def of_caption(
        cls, signals: Sequence[tuple[str, np.ndarray]], caption: str, prompt: str = ""
    ) -> TrainingSample:
        """A sample that learns ``caption``, after ``prompt`` if there is one."""
        return cls(signals, (Turn("user", prompt), Turn("assistant", caption)))


class ModelInputs(dict[str, Any]):
    """Keyword arguments of the model's ``forward`` and ``generate``."""

    def to(self, device: torch.device | str) -> ModelInputs:
        """The same with every tensor on ``device``."""
        moved = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in self.items()}
        moved["signals"] = {name: signal.to(device) for name, signal in self["signals"].items()}
        return ModelInputs(moved)


class OneLLMProcessor:
    """Makes model inputs from files or arrays and text.

    Args:
        tokenizer: The language model's tokenizer.
        modalities: ``OneLLMConfig.modalities``: what the model reads, and how inputs are made.
        template: ``chat`` (the language model's own), ``onellm`` (the published ``###`` template) or
            ``caption``; by default the first that the tokenizer can have.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        modalities: Mapping[str, Mapping[str, Any]],
        template: str | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.modalities = modalities
        default = "chat" if tokenizer.chat_template else "onellm"
        self.template = build_template(template or default, tokenizer)
        if tokenizer.eos_token_id is None:
            raise UsageError("the language model's tokenizer has no end token; set its eos_token")
        self.start_id = self._find_start()
        pad = tokenizer.pad_token_id
        self.pad_id: int = tokenizer.eos_token_id if pad is None else pad

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, template: str | None = None, **kwargs: Any
    ) -> OneLLMProcessor:
        """Load the processor of a model folder.

        Args:
            pretrained_model_name_or_path: A model folder.
            template: Use this template instead of the stored one.
            **kwargs: Passed on to the tokenizer.

        Raises:
            UsageError: Not a model folder, or one without a tokenizer.
        """
        folder = Path(pretrained_model_name_or_path)
        config = load_config(folder)
        path = folder / CONFIG_NAME
        if not path.is_file():
            raise UsageError(
                f"{folder} holds a model but no {CONFIG_NAME}; "
                "convert the checkpoint again with --tokenizer FILE"
            )
        stored = json.loads(path.read_text(encoding="utf-8"))
        for key in ("_from_auto", "trust_remote_code", "code_revision", "_commit_hash"):
            kwargs.pop(key, None)
        tokenizer = AutoTokenizer.from_pretrained(folder, **kwargs)
        return cls(tokenizer, config.modalities, template or stored["template"])

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Write the tokenizer and the template's name into a model folder."""
        folder = Path(save_directory)
        self.tokenizer.save_pretrained(folder, **kwargs)
        stored = {"processor_class": type(self).__name__, "template": self.template.name}
        (folder / CONFIG_NAME).write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")

    def modality_input(self, modality: str, source: SignalSource) -> np.ndarray:
        """One model input.

        Args:
            modality: Its name.
            source: A file, the files of a signal of several parts, or a canonical signal.

        Returns:
            float32, of the shape that the model expects.

        Raises:
            UsageError: The model does not read ``modality``, or the number of files is wrong.
            SignalError: A file does not hold such a signal.
        """
        options = read_options(self.modalities, modality)
        declared = modalities.get(modality)
        files = _as_files(source)
        if files is not None and len(files) != len(declared.parts):
            raise UsageError(
                f"one {modality} signal is {len(declared.parts)} file(s) ({', '.join(declared.parts)}), "
                f"got {len(files)}: {', '.join(map(str, files))}"
            )
        signal = source if files is None else declared.read(files)
        return declared.to_input(signal, options)

    def prompt_ids(self, text: Text) -> list[int]:
        """Token ids of a prompt up to where the model is to speak, start token first."""
        prompt = self.template.prompt(_as_turns(text))
        return self._from_start(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])

    def __call__(
        self,
        text: Text | Sequence[Text],
        signals: SampleSignals | Sequence[SampleSignals] | None = None,
    ) -> ModelInputs:
        """Model inputs for ``generate``, padded on the left.

        Args:
            text: A question or the turns of a chat, or a list of such for a batch.
            signals: The sample's signals, or for a batch a list as long as ``text``.  A file that
                several samples name is read once.

        Returns:
            ``input_ids [B, T]``, ``attention_mask [B, T]``, ``signals`` (modality → ``[n, …]``),
            ``blocks`` (for each sample its (modality, row) in order).

        Raises:
            UsageError: The lists differ in length, or the model does not read a modality.
            SignalError: A file does not hold such a signal.
        """
        texts, samples = _as_batch(text, signals)
        rows = _Rows(self.modality_input)
        blocks = [[(name, rows.add(name, source)) for name, source in sample] for sample in samples]
        ids = [self.prompt_ids(one) for one in texts]
        return ModelInputs(**pad_rows(ids, self.pad_id, left=True), signals=rows.stack(), blocks=blocks)

    def training_batch(self, samples: Sequence[TrainingSample]) -> ModelInputs:
        """Model inputs with ``labels``, padded on the right.

        Raises:
            UsageError: A sample with nothing to learn.
        """
        rows = _Rows(lambda _name, array: array)
        blocks = [[(name, rows.add(name, array)) for name, array in sample.signals] for sample in samples]
        encoded = [self.training_ids(sample.turns) for sample in samples]
        inputs = pad_rows([ids for ids, _ in encoded], self.pad_id, left=False)
        labels = pad_rows([labels for _, labels in encoded], IGNORE_INDEX, left=False)["input_ids"]
        return ModelInputs(**inputs, labels=labels, signals=rows.stack(), blocks=blocks)

    def training_ids(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """Token ids with the start token, and their labels: −100 wherever nothing is to be learned.

        Raises:
            UsageError: There is nothing to learn.
        """
        rendered = self.template.render(turns)
        encoding = self.tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)
        ids = list(encoding["input_ids"])
        labels = [
            token if _overlaps(span, rendered) else IGNORE_INDEX
            for token, span in zip(ids, encoding["offset_mapping"], strict=True)
        ]
        if rendered.ends:
            ids.append(self.tokenizer.eos_token_id)
            labels.append(self.tokenizer.eos_token_id)
        if all(label == IGNORE_INDEX for label in labels[: len(labels) - rendered.ends]):
            raise UsageError(f"a sample has no answer to learn; its text is {rendered.text[:200]!r}")
        whole = self._from_start(ids)
        return whole, [IGNORE_INDEX] * (len(whole) - len(ids)) + labels

    def decode(self, ids: Tensor | list[int]) -> str:
        """An answer's text: without special tokens, up to the template's stop string, stripped."""
        text = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        for stop in self.template.stop_strings:
            text = text.split(stop)[0]
        return text.strip()

    def batch_decode(self, ids: Tensor | list[list[int]]) -> list[str]:
        """``decode`` for each row."""
        return [self.decode(row) for row in ids]

    def stopping(self) -> dict[str, Any]:
        """Arguments of ``generate`` that end an answer where this processor's template ends it."""
        ends: dict[str, Any] = {"eos_token_id": self.tokenizer.eos_token_id, "pad_token_id": self.pad_id}
        if self.template.stop_strings:
            ends |= {"stop_strings": list(self.template.stop_strings), "tokenizer": self.tokenizer}
        return ends

    def _from_start(self, ids: list[int]) -> list[int]:
        """``ids`` with the start token first; a chat template often opens with it already."""
        return list(ids) if ids[:1] == [self.start_id] else [self.start_id, *ids]

    def _find_start(self) -> int:
        """The token that a signal's blocks follow: the start token, or what opens the LLM's chats."""
        if self.tokenizer.bos_token_id is not None:
            return int(self.tokenizer.bos_token_id)
        if not self.tokenizer.chat_template:
            return int(self.tokenizer.eos_token_id)
        opening = ChatTemplate(self.tokenizer).prompt([Turn("user", "")])
        return int(self.tokenizer(opening, add_special_tokens=False)["input_ids"][0])


class _Rows:
    """Model inputs of a batch by modality, each distinct source once."""

    def __init__(self, make: Callable[[str, Any], np.ndarray]) -> None:
        self.make = make
        self.arrays: dict[str, list[np.ndarray]] = {}
        self.known: dict[tuple[str, object], int] = {}

    def add(self, name: str, source: SignalSource) -> int:
        """The row of ``source`` among ``name``'s inputs, made if it is new."""
        files = _as_files(source)
        key = (name, id(source) if files is None else files)
        if key not in self.known:
            row = self.arrays.setdefault(name, [])
            row.append(self.make(name, source))
            self.known[key] = len(row) - 1
        return self.known[key]

    def stack(self) -> dict[str, Tensor]:
        """Modality → ``[n, …]``."""
        return {name: torch.from_numpy(np.stack(arrays)) for name, arrays in self.arrays.items()}


def pad_rows(rows: Sequence[Sequence[int]], value: int, *, left: bool) -> dict[str, Tensor]:
    """``input_ids`` and ``attention_mask``, each ``[B, T]`` int64, of rows of different lengths."""
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), value)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    for b, row in enumerate(rows):
        span = slice(length - len(row), length) if left else slice(0, len(row))
        ids[b, span] = torch.tensor(row)
        mask[b, span] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _overlaps(span: tuple[int, int], rendered: Rendered) -> bool:
    return any(span[0] < end and start < span[1] for start, end in rendered.answers)


def _as_files(source: SignalSource) -> tuple[Path, ...] | None:
    """The files that a source names, or None if it is a signal."""
    if isinstance(source, (str, Path)):
        return (Path(source),)
    if isinstance(source, (list, tuple)) and all(isinstance(part, (str, Path)) for part in source):
        return tuple(Path(part) for part in source)
    return None


def _as_turns(text: Text) -> list[Turn]:
    if isinstance(text, str):
        return [Turn("user", text)]
    return [turn if isinstance(turn, Turn) else Turn(turn["role"], turn["content"]) for turn in text]


def _as_pairs(signals: SampleSignals | None) -> list[tuple[str, SignalSource]]:
    return list(signals.items() if isinstance(signals, Mapping) else signals or ())


def _as_batch(text: Any, signals: Any) -> tuple[list[Text], list[list[tuple[str, SignalSource]]]]:
    """Texts and their signals, one entry for each sample."""
    single = isinstance(text, str) or (len(text) > 0 and isinstance(text[0], (Mapping, Turn)))
    if single:
        return [text], [_as_pairs(signals)]
    texts = list(text)
    samples = [()] * len(texts) if signals is None else list(signals)
    if isinstance(signals, Mapping) or len(samples) != len(texts):
        raise UsageError(
            f"got {len(texts)} texts and {'one mapping' if isinstance(signals, Mapping) else len(samples)} "
            "of signals; expected for a batch one list or mapping of signals for each text"
        )
    return texts, [_as_pairs(sample) for sample in samples]
