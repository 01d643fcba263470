"""``LocalEngine``: answers on this machine, with transformers.

Each distinct file is read and encoded once, however many requests name it; requests are answered
in batches of similar length and given back in their own order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from onellm_core.inference.batching import batches, windows
from onellm_core.inference.requests import Answer, Failed, Request
from onellm_core.inference.sampling import Sampling, logits_processors
from onellm_core.model.folder import check_model_folder
from onellm_core.model.modeling import OneLLMForConditionalGeneration
from onellm_core.model.processor import OneLLMProcessor, pad_rows
from onellm_data.errors import MissingExtra, OnellmError, UsageError

Source = tuple[str, tuple[Path, ...]]
"""One signal of a request: its modality and its files."""

WINDOW_BATCHES = 8
"""Batches' worth of requests that are read ahead and sorted by length."""

MAX_BATCH_TOKENS = 16384
"""Tokens of a batch, answers included: what bounds the key/value cache."""

CACHED_SIGNALS = 1024
"""Encoded signals that are kept; of a 7B each is 32 x 4096 numbers."""


@dataclass(frozen=True)
class _Ready:
    """A request whose text is tokens and whose signals are encoded."""

    number: int
    request: Request
    ids: list[int]
    blocks: list[Tensor]

    @property
    def length(self) -> int:
        """Prompt length in tokens."""
        return len(self.ids) + sum(block.shape[0] for block in self.blocks)


class LocalEngine:
    """Answers requests with a model in this process.

    Args:
        model: The model, in evaluation mode on its device.
        processor: Its processor.
        batch_size: Requests that share a batch at most.
    """

    def __init__(
        self, model: OneLLMForConditionalGeneration, processor: OneLLMProcessor, batch_size: int = 16
    ) -> None:
        self.model = model.eval()
        self.processor = processor
        self.batch_size = batch_size
        self._blocks: OrderedDict[Source, Tensor] = OrderedDict()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        dtype: str = "auto",
        device: str = "auto",
        template: str | None = None,
        batch_size: int = 16,
    ) -> LocalEngine:
        """An engine for a model folder.

        Args:
            folder: The model folder.
            dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto``: as the folder's config says.
            device: A torch device, or ``auto``: the GPU if there is one.
            template: Use this prompt template instead of the stored one.
            batch_size: Requests that share a batch at most.

        Raises:
            UsageError: Not a model folder, or a device that this machine does not have.
        """
        check_model_folder(folder)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        processor = OneLLMProcessor.from_pretrained(folder, template=template)
        model = OneLLMForConditionalGeneration.from_pretrained(folder, dtype=dtype)
        try:
            model = model.to(device)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"cannot use the device '{device}': {str(error).splitlines()[0]}") from error
        return cls(model, processor, batch_size)

    def answers(self, requests: Iterable[Request | Failed], sampling: Sampling) -> Iterator[Answer]:
        """Answers in the order of the requests; a request that fails has an error in its place."""
        numbered = enumerate(requests)
        for window in windows(numbered, self.batch_size * WINDOW_BATCHES):
            done: dict[int, Answer] = {}
            ready: list[_Ready] = []
            for number, outcome in self._prepare(window):
                if isinstance(outcome, Failed):
                    done[number] = Answer(outcome.id, error=str(outcome.error))
                else:
                    ready.append(outcome)
            lengths = [one.length for one in ready]
            for group in batches(lengths, sampling.max_new_tokens, self.batch_size, MAX_BATCH_TOKENS):
                rows = [ready[i] for i in group]
                for row, text in zip(rows, self._generate(rows, sampling), strict=True):
                    done[row.number] = Answer(row.request.id, text=text)
            yield from (done[number] for number, _ in window)

    def stream(self, request: Request, sampling: Sampling, write: Any) -> str:
        """Answer one request, calling ``write`` with each new piece of text.

        Raises:
            OnellmError: The request cannot be answered.
        """
        ((_, outcome),) = self._prepare([(0, request)])
        if isinstance(outcome, Failed):
            raise outcome.error
        streamer = TextStream(self.processor, write)
        (text,) = self._generate([outcome], sampling, streamer=streamer)
        return text

    def _prepare(
        self, window: Sequence[tuple[int, Request | Failed]]
    ) -> Iterator[tuple[int, _Ready | Failed]]:
        """Tokens and encoded signals for each request of a window."""
        requests = [one for _, one in window if isinstance(one, Request)]
        failures = self._encode_all(dict.fromkeys(source for one in requests for source in one.signals))
        for number, one in window:
            if isinstance(one, Failed):
                yield number, one
                continue
            error = next((failures[source] for source in one.signals if source in failures), None)
            try:
                ids = self.processor.prompt_ids(one.turns)
            except OnellmError as refused:
                error = error or refused
            if error is not None:
                yield number, Failed(one.id, error)
            else:
                yield number, _Ready(number, one, ids, [self._blocks[source] for source in one.signals])
        while len(self._blocks) > CACHED_SIGNALS:
            self._blocks.popitem(last=False)

    def _encode_all(self, sources: Iterable[Source]) -> dict[Source, OnellmError]:
        """Encode what is not known yet, in batches by modality; returns what could not be read."""
        failures: dict[Source, OnellmError] = {}
        waiting: dict[str, list[tuple[Source, np.ndarray]]] = {}
        for source in sources:
            if source in self._blocks:
                self._blocks.move_to_end(source)
                continue
            try:
                array = self.processor.modality_input(*source)
            except MissingExtra:
                raise  # no fault of this request
            except OnellmError as error:
                failures[source] = UsageError(str(error))
                continue
            group = waiting.setdefault(source[0], [])
            group.append((source, array))
            if len(group) == self.batch_size:
                self._encode(source[0], waiting.pop(source[0]))
        for modality, group in waiting.items():
            self._encode(modality, group)
        return failures

    @torch.inference_mode()
    def _encode(self, modality: str, group: Sequence[tuple[Source, np.ndarray]]) -> None:
        signal = torch.from_numpy(np.stack([array for _, array in group])).to(self.model.device)
        for (source, _), block in zip(group, self.model.block(modality, signal), strict=True):
            self._blocks[source] = block

    @torch.inference_mode()
    def _generate(
        self, rows: Sequence[_Ready], sampling: Sampling, streamer: BaseStreamer | None = None
    ) -> list[str]:
        padded = pad_rows([row.ids for row in rows], self.processor.pad_id, left=True)
        prompt = self.model.splice_blocks(
            padded["input_ids"].to(self.model.device),
            padded["attention_mask"].to(self.model.device),
            [row.blocks for row in rows],
        )
        ids = self.model.generate_from(
            prompt,
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,
            logits_processor=logits_processors(sampling, [row.number for row in rows]),
            streamer=streamer,
            **self.processor.stopping(),
        )
        return self.processor.batch_decode(ids)


class TextStream(BaseStreamer):
    """Gives an answer's text on as it grows, never a piece that the next token could still change."""

    def __init__(self, processor: OneLLMProcessor, write: Any) -> None:
        self.processor = processor
        self.write = write
        self.ids: list[int] = []
        self.shown = 0
        self.prompt_seen = False

    def put(self, value: Tensor) -> None:
        """New token ids; the first call holds the prompt's."""
        if self.prompt_seen:
            self.ids.extend(value.flatten().tolist())
            self._show(self._stable(self.processor.decode(self.ids)))
        self.prompt_seen = True

    def end(self) -> None:
        """The answer is whole."""
        self._show(self.processor.decode(self.ids))

    def _show(self, text: str) -> None:
        if len(text) > self.shown:
            self.write(text[self.shown :])
            self.shown = len(text)

    def _stable(self, text: str) -> str:
        """``text`` without half a character and without what may become a stop string."""
        text = text.rstrip("\ufffd")
        for stop in self.processor.template.stop_strings:
            for size in range(len(stop.strip()), 0, -1):
                text = text.removesuffix(stop.strip()[:size])
        return text.rstrip()
