"""Sound: 16 kHz, one channel, 10.255 seconds (the first, or others), as a log-mel picture.

Source of the figures: OneLLM (arXiv 2312.03700) after AST (Gong et al. 2021): Kaldi's filter
bank with 128 bins and 1024 frames, minus the mean and over twice the deviation of AudioSet.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from onellm_data.errors import SignalError, require, unknown
from onellm_data.modalities import drawing
from onellm_data.modalities.base import Modality, Options, SignalContract
from onellm_data.modalities.decoding import (
    NOT_FINITE,
    TOO_LARGE,
    TOO_SHORT,
    UNLIKELY_RATE,
    WRONG_SHAPE,
    check_not_empty,
    decoding,
)
from onellm_data.modalities.resampling import resample
from onellm_data.modalities.tokenizer_specs import Conv2dSpec
from onellm_data.options import Option

if TYPE_CHECKING:
    from PIL import Image

RATE = 16_000
FRAME_SHIFT, FRAME_LENGTH = 160, 400  # samples: 10 ms and 25 ms
BINS, FRAMES = 128, 1024

MAX_SAMPLES = FRAME_LENGTH + (FRAMES - 1) * FRAME_SHIFT
"""Samples that 1024 frames see: 164080, or 10.255 s."""

AUDIOSET_MEAN, AUDIOSET_STD = -4.2677393, 4.5689974
MASKED_BINS, MASKED_FRAMES = 48, 192
"""Most that a training mask covers (SpecAugment; figures of AST on AudioSet)."""

MIN_RATE, MAX_RATE, MAX_CHANNELS = 1_000, 768_000, 64
PCM_16 = 32768
BLOCK = 65_536


WINDOWS = ("first", "random")
WINDOW = Option(
    "audio_window",
    "Which 10.255 s of a longer sound are taken: the first, or others that follow from --seed and "
    "the file's name.",
    "first",
    WINDOWS,
)
SEED = Option("seed", "Another number gives other windows with --audio-window random.", 0)


def read(paths: Sequence[Path], audio_window: str = "first", seed: int = 0) -> np.ndarray:
    """Read 10.255 s of the first channel of a sound file.

    Args:
        paths: One file.
        audio_window: ``first``, or ``random``: where in the file follows from its name and the seed.
        seed: Chooses among random windows.

    Returns:
        float32 ``[N]`` at 16 kHz, -1 to 1 in steps of 16-bit PCM, so that FLAC keeps it exactly.

    Raises:
        SignalError: The file holds no sound, or less than one frame of 25 ms.
        UsageError: There is no such window.
    """
    (path,) = paths
    if audio_window not in WINDOWS:
        raise unknown("audio window", audio_window, WINDOWS)
    place = _place(path.name, seed) if audio_window == "random" else 0.0
    # A file object, not the path: the bytes decide the format, the ending does not.
    with decoding(path, "a sound file"), path.open("rb") as file:
        check_not_empty(path)
        return quantised(_heard_at(file, place))


def _place(name: str, seed: int) -> float:
    """0 to below 1: evenly spread over names, and the same wherever the file lies."""
    digest = hashlib.blake2b(f"{seed} {name}".encode("utf-8", "surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _heard_at(file: BinaryIO, place: float) -> np.ndarray:
    soundfile = require("soundfile", "audio")
    with soundfile.SoundFile(file) as sound:
        if seek(sound, place):
            return heard(sound)
    file.seek(0)  # a decoder that could not seek is of no use any more
    with soundfile.SoundFile(file) as sound:
        return heard(sound)


def seek(sound: Any, place: float) -> bool:
    """Go to a window of an open file without decoding what lies before it.

    Args:
        sound: A ``soundfile.SoundFile``.
        place: 0 for the earliest window to 1 for the latest.

    Returns:
        Whether all of the window is there; if not, the file has no length, or is shorter than its
        header says.
    """
    wanted = _wanted(sound)
    start = int(place * max(0, sound.frames - wanted + 1))
    if not start:
        return True
    try:
        sound.seek(start + wanted - 1)
        is_there = len(sound.read(1)) == 1
        sound.seek(start)
    except RuntimeError:  # what soundfile's own errors are
        return False
    return is_there


def _wanted(sound: Any) -> int:
    """Samples of the file's own rate that make a whole window."""
    # 16 more samples: the resampler's filter looks 6 samples of the lower rate ahead.
    return (MAX_SAMPLES + 16) * sound.samplerate // RATE + 16


def heard(sound: Any) -> np.ndarray:
    """First channel of an open ``soundfile.SoundFile`` at 16 kHz, as long as the model hears.

    What a header promises is never allocated: samples are read in blocks until they end.

    Returns:
        float32 ``[N]``, N at most ``MAX_SAMPLES``.
    """
    if not MIN_RATE <= sound.samplerate <= MAX_RATE:
        raise SignalError(UNLIKELY_RATE, f"{sound.samplerate} Hz; expected {MIN_RATE} to {MAX_RATE} Hz")
    if sound.channels > MAX_CHANNELS:
        raise SignalError(TOO_LARGE, f"{sound.channels} channels; expected at most {MAX_CHANNELS}")
    samples = _samples(sound, _wanted(sound))
    if not np.isfinite(samples).all():
        raise SignalError(NOT_FINITE, "expected finite samples")
    signal = resample(samples, sound.samplerate, RATE, extra="audio")[:MAX_SAMPLES]
    if len(signal) < FRAME_LENGTH:
        raise SignalError(
            TOO_SHORT, f"{len(signal)} samples at 16 kHz; expected at least {FRAME_LENGTH} (25 ms)"
        )
    return signal


def _samples(sound: Any, wanted: int) -> np.ndarray:
    """float32 ``[N]``: at most ``wanted`` samples of the first channel."""
    blocks = [np.zeros(0, np.float32)]
    while wanted > 0:
        block = sound.read(min(wanted, BLOCK), dtype="float32", always_2d=True)
        if not len(block):
            break
        blocks.append(block[:, 0])
        wanted -= len(block)
    return np.concatenate(blocks)


def quantised(signal: np.ndarray) -> np.ndarray:
    """Round to the steps of 16-bit PCM; what is louder than full scale is clipped."""
    steps = np.clip(np.round(signal * PCM_16), -PCM_16, PCM_16 - 1)
    return (steps / PCM_16).astype(np.float32)


def filter_bank(signal: np.ndarray, bins: int) -> np.ndarray:
    """Logarithmic energies of Kaldi's mel filters.

    Args:
        signal: float32 ``[N]`` at 16 kHz, N at least 400.
        bins: Number of filters.

    Returns:
        float32 ``[1 + (N - 400) // 160, bins]``.
    """
    torch, kaldi = require("torch", "audio"), require("torchaudio.compliance.kaldi", "audio")
    with torch.inference_mode():
        energies = kaldi.fbank(
            torch.from_numpy(signal - signal.mean())[None],
            sample_frequency=RATE,
            num_mel_bins=bins,
            window_type="hanning",
            htk_compat=True,
            use_energy=False,
            dither=0.0,
        )
    return energies.numpy()


def to_input(signal: np.ndarray, options: Options) -> np.ndarray:
    """Log-mel picture: filter bank, cut or padded with zeros to ``frames``, then normalised.

    The padding is zero before normalisation, as published: 0.467 after it.

    Args:
        signal: float32 ``[N]`` at 16 kHz.
        options: ``bins``, ``frames``, ``mean`` and ``std`` of the energies.

    Returns:
        float32 ``[1, bins, frames]``.
    """
    energies = filter_bank(signal, options["bins"])[: options["frames"]]
    padded = np.zeros((options["frames"], options["bins"]), dtype=np.float32)
    padded[: len(energies)] = energies
    return np.ascontiguousarray(((padded - options["mean"]) / options["std"]).T[None], dtype=np.float32)


def augment(planes: np.ndarray, options: Options, rng: np.random.Generator) -> np.ndarray:
    """Mask one band of frequencies and one span of time, each of random width, with zero energy."""
    masked = planes.copy()
    silence = np.float32((0 - options["mean"]) / options["std"])
    for axis, most in ((1, MASKED_BINS), (2, MASKED_FRAMES)):
        size = masked.shape[axis]
        width = rng.integers(min(most, size) + 1)
        start = rng.integers(size - width + 1)
        band = [slice(None)] * 3
        band[axis] = slice(start, start + width)
        masked[tuple(band)] = silence
    return masked


def store(signal: np.ndarray) -> dict[str, bytes]:
    """The sound as 16-bit FLAC, 16 kHz, one channel: nothing is lost."""
    buffer = io.BytesIO()
    steps = np.round(signal * PCM_16).astype(np.int16)
    require("soundfile", "audio").write(buffer, steps, RATE, format="FLAC", subtype="PCM_16")
    return {"flac": buffer.getvalue()}


def load(members: Mapping[str, bytes]) -> np.ndarray:
    """The inverse of ``store``."""
    with (
        decoding("shard member", "16-bit FLAC of one channel at 16 kHz"),
        require("soundfile", "audio").SoundFile(io.BytesIO(members["flac"])) as sound,
    ):
        if not _canonical(sound):
            raise SignalError(WRONG_SHAPE, f"{sound.channels} channels at {sound.samplerate} Hz")
        return sound.read(dtype="float32")


def keep(data: bytes) -> str | None:
    """``flac`` if the file's bytes already are what ``store`` would write."""
    with (
        decoding("sound", "a sound file"),
        require("soundfile", "audio").SoundFile(io.BytesIO(data)) as sound,
    ):
        return "flac" if _canonical(sound) else None


def _canonical(sound: Any) -> bool:
    """Whether an open file is 16-bit FLAC, 16 kHz, one channel and of the right length."""
    kind = (sound.format, sound.subtype, sound.samplerate, sound.channels)
    return kind == ("FLAC", "PCM_16", RATE, 1) and FRAME_LENGTH <= sound.frames <= MAX_SAMPLES


def draw(signal: np.ndarray) -> Image.Image:
    """The wave above its log-mel spectrogram, low tones at the bottom."""
    seconds = len(signal) / RATE
    energies = filter_bank(signal, BINS).T[::-1]
    low, high = np.percentile(energies, (2, 99.8))
    colors = drawing.colored(energies, float(low), float(high))
    spectrogram = drawing.from_array(colors, (480, 2 * BINS))
    wave = drawing.curves(signal[None], f"sound, {seconds:.2f} s", (), seconds)
    return drawing.stack([wave, drawing.titled(spectrogram, "log-mel energy, 20 Hz to 8 kHz upwards")])


MODALITY = Modality(
    name="audio",
    title="sound",
    contract=SignalContract(
        shape=f"[N], N at most {MAX_SAMPLES}",
        dtype="float32",
        axes="sample",
        units="-1 to 1, in steps of 1/32768",
        rate="16 kHz",
    ),
    extra="audio",
    suffixes=(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".au"),
    tokenizer=Conv2dSpec(kernel=16, stride=10),
    options={"bins": BINS, "frames": FRAMES, "mean": AUDIOSET_MEAN, "std": 2 * AUDIOSET_STD},
    input_shape=lambda options: (1, options["bins"], options["frames"]),
    read=read,
    to_input=to_input,
    store=store,
    load=load,
    draw=draw,
    keep=keep,
    augment=augment,
    read_options=(WINDOW, SEED),
)
