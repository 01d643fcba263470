"""Two modalities for tests: what a file holds says what reading it does.

``toy`` reads ``.toy`` files: ``number 7``, or one of the misdeeds below. ``pair`` reads two of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from onellm_data.errors import MissingExtra, SignalError
from onellm_data.modalities.base import Modality, SignalContract
from onellm_data.modalities.tokenizer_specs import LinearSpec
from onellm_data.options import Option
from onellm_data.sources.base import Item, Source


def _number(text: str) -> np.ndarray:
    return np.full(int(os.environ.get("TOY_LENGTH", "4")), int(text.split()[0]), np.int64)


def _reject(text: str) -> np.ndarray:
    raise SignalError(text, "as the file says")


def _defect(text: str) -> np.ndarray:
    raise KeyError(text)


def _missing(text: str) -> np.ndarray:
    raise MissingExtra(f"the package '{text}' is not installed")


def _crash(text: str) -> np.ndarray:
    os.kill(os.getpid(), signal.Signals[text])
    signal.pause()
    raise AssertionError("killed before")


def _wait(text: str) -> np.ndarray:
    """Stop until somebody opens the pipe for writing and writes a line with a number."""
    with Path(text).open() as pipe:
        return _number(pipe.readline())


_DEEDS = {
    "number": _number,
    "reject": _reject,
    "defect": _defect,
    "missing": _missing,
    "crash": _crash,
    "wait": _wait,
}


def _read_file(path: Path) -> np.ndarray:
    if "TOY_LOG" in os.environ:
        with Path(os.environ["TOY_LOG"]).open("a") as log:
            log.write(f"{path.name}\n")
    deed, _, text = path.read_text().partition(" ")
    return _DEEDS[deed](text.strip())


def _read(paths: Sequence[Path], plus: int = 0, sign: str = "same") -> np.ndarray:
    number = np.concatenate([_read_file(path) for path in paths]) + plus
    return -number if sign == "other" else number


def _store(signal: np.ndarray) -> dict[str, bytes]:
    return {"i64": signal.tobytes()}


def _load(members: Mapping[str, bytes]) -> np.ndarray:
    if "kept" in members:
        return np.full(1, int(members["kept"].split()[1]))
    return np.frombuffer(members["i64"], np.int64)


def _keep(data: bytes) -> str | None:
    return "kept" if data.endswith(b"as it is") else None


def _modality(name: str, parts: tuple[str, ...]) -> Modality:
    return Modality(
        name=name,
        title=f"{name} for tests",
        contract=SignalContract(shape="[N]", dtype="int64", axes="sample", units="none"),
        extra="dev",
        suffixes=(".toy",),
        tokenizer=LinearSpec(n_tokens=1),
        input_shape=lambda options: (1, 4),
        read=_read,
        to_input=lambda signal, options: signal.astype(np.float32)[None],
        store=_store,
        load=_load,
        draw=lambda signal: Image.new("L", (8, 8)),
        parts=parts,
        keep=_keep if len(parts) == 1 else None,
        read_options=(
            Option("plus", "Added to each number.", 0),
            Option("sign", "Which sign numbers get.", "same", ("same", "other")),
        ),
    )


def _items(src: Path, modality: str, caption: str | None = None, loud: bool = False) -> Iterator[Item]:
    text = caption or "a toy"
    for path in sorted(src.glob("*.toy")):
        yield Item(path.name, {modality: (path,)}, (text.upper() if loud else text,))


SOURCE = Source(
    name="toys",
    layout="files *.toy",
    modalities=("toy",),
    detect=lambda src, modality: None,
    items=_items,
    options=(Option("caption", "What every toy is called."), Option("loud", "Say it louder.", False)),
)
"""A layout that tests register; it recognises nothing by itself."""


TOY = _modality("toy", ("signal",))
PAIR = _modality("pair", ("left", "right"))
