"""What a modality declares about itself: the one place where its name means something.

A modality is a file in this package, or in another package that registers under the
entry-point group ``onellm.modalities``; everything else reads these fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from onellm_data.modalities.tokenizer_specs import TokenizerSpec
from onellm_data.options import Option

if TYPE_CHECKING:
    from PIL import Image

Signal = Any
"""A canonical signal: a NumPy array, or for a pair of pictures the modality's own dataclass."""

Options = Mapping[str, Any]
"""How ``to_input`` makes the model's input; a model's config stores one set for each modality."""


@dataclass(frozen=True)
class SignalContract:
    """What the canonical signal is, in words that docs and error messages quote."""

    shape: str
    dtype: str
    axes: str
    units: str
    rate: str = "none"


@dataclass(frozen=True)
class Modality:
    """One kind of signal, from file to model input.

    Attributes:
        name: The modality's name, also the member name in shards and the command-line flag.
        title: What a person calls the signal, for tables and help texts ("motion sensor").
        contract: Shape, dtype, axes, units and rate of the canonical signal.
        extra: The extra of the package ``onellm`` that installs what this modality imports.
        parts: What each file of one signal is: ``("signal",)``, or ``("rgb", "depth")`` for a pair.
        suffixes: File endings (lower case, with the dot) that ``read`` understands.
        options: Options of ``to_input`` with the published model's values.
        new_model_options: Values that a new, untrained model takes instead, where they are better.
        tokenizer: How the model's input becomes tokens.
        input_shape: Shape of one model input (no batch axis) for given options.
        read: One file for each part, as a sequence of paths → canonical signal. Raises
            ``SignalError`` for a bad file. May take ``read_options`` as keyword arguments.
        to_input: Canonical signal and options → float32 array of ``input_shape``; deterministic,
            and the same in training, inference and evaluation.
        store: Canonical signal → shard members, ending → bytes (``{"npy": …}``, or for frames
            ``{"000.jpg": …, "001.jpg": …}``).
        load: The inverse of ``store``.
        draw: Canonical signal → a picture for a person.
        keep: File bytes → the member ending under which they may be stored as they are, because
            they already are canonical; None if they must be stored anew.
        augment: Model input, options and generator → model input, for training only.
        facts: Canonical signal → what a record's ``meta`` says of it, JSON values: what the stored
            numbers alone do not tell.
        read_options: Keyword arguments of ``read`` that ``onellm prepare`` offers as flags.
    """

    name: str
    title: str
    contract: SignalContract
    extra: str
    suffixes: tuple[str, ...]
    tokenizer: TokenizerSpec
    input_shape: Callable[[Options], tuple[int, ...]]
    read: Callable[..., Signal]
    to_input: Callable[[Signal, Options], np.ndarray]
    store: Callable[[Signal], dict[str, bytes]]
    load: Callable[[Mapping[str, bytes]], Signal]
    draw: Callable[[Signal], Image.Image]
    parts: tuple[str, ...] = ("signal",)
    options: Options = field(default_factory=dict)
    new_model_options: Options = field(default_factory=dict)
    keep: Callable[[bytes], str | None] | None = None
    augment: Callable[[np.ndarray, Options, np.random.Generator], np.ndarray] | None = None
    facts: Callable[[Signal], Mapping[str, Any]] | None = None
    read_options: tuple[Option, ...] = ()
