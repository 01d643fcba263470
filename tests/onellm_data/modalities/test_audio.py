"""Sound: golden filter banks, every rate and format, and headers that lie."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_data.errors import SignalError, UsageError
from onellm_data.modalities import audio

OPTIONS = audio.MODALITY.options
GOLDEN = ["tone_16k_mono", "long_16k_mono", "chirp_44k_stereo"]


def sound_file(samples: np.ndarray, rate: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def read(folder, data: bytes) -> np.ndarray:
    path = folder / "sound.bin"
    path.write_bytes(data)
    return audio.read([path])


def tone(seconds: float, rate: int, pitch: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("name", GOLDEN)
def test_filter_banks_equal_the_published_ones(golden, golden_folder, name):
    with soundfile.SoundFile(golden_folder / f"{name}.wav") as sound:
        values = audio.to_input(audio.heard(sound), OPTIONS)
    assert np.abs(values[0].T - golden[f"fbank.{name}"]).max() < 2e-3


@pytest.mark.parametrize("name", GOLDEN)
def test_rounding_to_16_bits_changes_next_to_nothing(golden, golden_folder, name):
    values = audio.to_input(audio.read([golden_folder / f"{name}.wav"]), OPTIONS)
    difference = np.abs(values[0].T - golden[f"fbank.{name}"])
    # Two of 131072 energies, in the silence between the chirp's frequencies, differ by 0.003.
    assert difference.max() < 4e-3
    assert (difference > 2e-3).mean() < 1e-4


def test_exactly_what_1024_frames_see_is_kept(golden_folder):
    assert audio.MAX_SAMPLES == 164_080
    signal = audio.read([golden_folder / "long_16k_mono.wav"])  # 11.5 s
    assert len(signal) == audio.MAX_SAMPLES
    assert len(audio.filter_bank(signal, 128)) == 1024


def test_the_first_channel_is_taken(tmp_path):
    left, right = tone(1, 16_000, 300), tone(1, 16_000, 2000)
    signal = read(tmp_path, sound_file(np.stack([left, right], axis=1), 16_000))
    assert np.abs(signal - left).max() < 1e-4


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 32_000, 44_100, 44_101, 48_000, 96_000])
def test_every_rate_becomes_16_khz(tmp_path, rate):
    signal = read(tmp_path, sound_file(tone(1, rate), rate))
    assert abs(len(signal) - 16_000) <= 1
    middle = slice(1000, 15_000)
    assert np.abs(signal[middle] - tone(1, 16_000)[: len(signal)][middle]).max() < 5e-3


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("MP3", None),
        ("AIFF", "PCM_16"),
    ],
)
def test_every_format_is_heard(tmp_path, kind, subtype):
    signal = read(tmp_path, sound_file(tone(2, 32_000), 32_000, kind, subtype))
    spectrum = np.abs(np.fft.rfft(signal[8000:24_000]))
    assert abs(int(spectrum.argmax()) - 440) <= 1


class Counting(soundfile.SoundFile):
    """Knows how many samples were read."""

    frames_read = 0

    def read(self, frames=-1, **kwargs):
        block = super().read(frames, **kwargs)
        self.frames_read += len(block)
        return block


def test_reading_ends_where_the_model_stops_hearing(tmp_path):
    sound = np.concatenate([tone(10.5, 48_000), np.full(48_000 * 5, 0.9)])
    path = tmp_path / "long.wav"
    path.write_bytes(sound_file(sound, 48_000))
    with Counting(str(path)) as file:
        assert len(audio.heard(file)) == audio.MAX_SAMPLES
        assert file.frames_read < 10.3 * 48_000


def rising(seconds: float, rate: int) -> np.ndarray:
    """A sound that tells its place: the sample at each moment is the share of the file that is behind."""
    return np.arange(round(seconds * rate)) / round(seconds * rate)


@pytest.mark.parametrize("rate", [16_000, 32_000, 44_100])
@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_random_window_follows_from_seed_and_name(tmp_path, rate, kind):
    data = sound_file(rising(30, rate), rate, kind)
    starts = {}
    for seed in range(8):
        for folder in ("here", "there"):
            path = tmp_path / folder / "sound.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            signal = audio.read([path], audio_window="random", seed=seed)
            assert len(signal) == audio.MAX_SAMPLES
            starts.setdefault(seed, []).append(signal[100])
            behind = np.diff(signal[100:-100:1000]) * 30 * 16_000  # samples of the file between these
            assert np.abs(behind - 1000).max() < 35
    assert all(here == there for here, there in starts.values())
    assert len({here for here, _ in starts.values()}) == 8
    assert max(starts.values())[0] <= 1 - audio.MAX_SAMPLES / 16_000 / 30 + 0.01


def test_random_windows_are_spread_over_the_file():
    places = np.sort([audio._place(f"{number}.flac", 0) for number in range(1000)])
    assert np.abs(places - np.linspace(0, 1, 1000)).max() < 0.05


def test_a_short_sound_has_one_window(tmp_path):
    path = tmp_path / "short.wav"
    path.write_bytes(sound_file(tone(10, 16_000), 16_000))
    assert (audio.read([path], audio_window="random") == audio.read([path])).all()


@pytest.mark.parametrize("place", [0.1, 0.5, 0.99])
def test_a_window_of_18_hours_is_found_without_decoding_them(tmp_path, place):
    path = tmp_path / "long.wav"
    seconds, rate = 67_109, 8_000
    header = sound_file(np.zeros(1), rate, subtype="PCM_U8")[:-2]
    size = struct.pack("<I", seconds * rate)
    with path.open("wb") as file:
        file.write(header[:-4] + size)
        file.seek(round(len(header) + place * (seconds - 10.4) * rate))
        file.write(bytes(128 + round(64 * value) for value in tone(10.4, rate)))
        file.truncate(len(header) + seconds * rate)  # a hole: takes no room on the disk
    with Counting(str(path)) as sound:
        assert sound.frames == seconds * rate
        assert audio.seek(sound, place)
        signal = audio.heard(sound)
        assert sound.frames_read < 10.5 * rate
    assert abs(int(np.abs(np.fft.rfft(signal[:160_000])).argmax()) - 4400) <= 10


@pytest.mark.parametrize("samples", [0, 2**36 - 1])
def test_a_flac_of_unknown_length_gives_its_beginning(tmp_path, samples):
    data = bytearray(sound_file(rising(30, 16_000), 16_000, "FLAC"))
    data[21] = data[21] & 0xF0 | samples >> 32  # 36 bits of STREAMINFO
    data[22:26] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
    path = tmp_path / "stream.flac"
    path.write_bytes(data)
    assert (audio.read([path], audio_window="random") == audio.read([path])).all()


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_file_that_was_cut_off_gives_a_window_that_is_there(tmp_path, kind):
    data = sound_file(rising(60, 16_000), 16_000, kind)
    path = tmp_path / "cut.bin"
    path.write_bytes(data[: len(data) // 2])
    for seed in range(6):
        assert len(audio.read([path], audio_window="random", seed=seed)) == audio.MAX_SAMPLES


def test_an_unknown_window(tmp_path):
    path = tmp_path / "sound.wav"
    path.write_bytes(sound_file(tone(1, 16_000), 16_000))
    with pytest.raises(UsageError, match="unknown audio window 'last'"):
        audio.read([path], audio_window="last")


def test_padding_is_zero_before_normalisation():
    values = audio.to_input(audio.quantised(tone(1, 16_000).astype(np.float32)), OPTIONS)
    assert np.allclose(values[0, :, 98:], 4.2677393 / 9.1379948)  # 0.467; 98 frames hold 1 s
    assert (values[0, :, :98] != values[0, 0, 1000]).any()


def test_masks_are_bounded_and_silent():
    values = np.full((1, 128, 1024), 9.0, np.float32)
    widest = [0, 0]
    for seed in range(200):
        masked = audio.augment(values, OPTIONS, np.random.default_rng(seed))[0]
        hidden = masked != 9.0
        assert np.allclose(masked[hidden], 4.2677393 / 9.1379948)
        bins, frames = int(hidden.all(axis=1).sum()), int(hidden.all(axis=0).sum())
        widest = [max(widest[0], bins), max(widest[1], frames)]
        assert hidden.sum() == bins * 1024 + frames * 128 - bins * frames
    assert 40 <= widest[0] <= 48
    assert 170 <= widest[1] <= 192


def test_own_flac_is_kept_and_nothing_else():
    canonical = audio.quantised(tone(1, 16_000).astype(np.float32))
    assert audio.keep(audio.store(canonical)["flac"]) == "flac"
    for samples, rate, kind, subtype in (
        (canonical, 16_000, "WAV", "PCM_16"),
        (canonical, 16_000, "FLAC", "PCM_24"),
        (canonical, 32_000, "FLAC", "PCM_16"),
        (np.stack([canonical] * 2, axis=1), 16_000, "FLAC", "PCM_16"),
        (np.zeros(audio.MAX_SAMPLES + 1), 16_000, "FLAC", "PCM_16"),
        (np.zeros(100), 16_000, "FLAC", "PCM_16"),
    ):
        assert audio.keep(sound_file(samples, rate, kind, subtype)) is None


@settings(deadline=None, max_examples=30)
@given(count=st.integers(400, 5000), loudness=st.floats(0, 4), seed=st.integers(0, 99))
def test_any_sound_survives_the_shard_bit_by_bit(count, loudness, seed):
    loud = np.random.default_rng(seed).normal(0, loudness, count).astype(np.float32)
    signal = audio.quantised(loud)
    assert signal.min() >= -1
    assert signal.max() < 1
    assert np.abs(signal - loud.clip(-1, 32767 / 32768)).max() <= 0.5 / 32768
    assert (audio.load(audio.store(signal)) == signal).all()


def wav_that_promises(frames: int, channels: int = 1, rate: int = 16_000) -> bytes:
    """A WAV header that promises ``frames``, before 1000 frames of silence."""
    size = min(frames * channels * 2, 2**32 - 100)
    kind = struct.pack("<HHIIHH", 1, channels, rate, min(rate * channels * 2, 2**32 - 1), channels * 2, 16)
    body = b"\0" * (2000 * channels)
    return b"".join(
        [
            b"RIFF",
            struct.pack("<I", size + 36),
            b"WAVEfmt ",
            struct.pack("<I", 16),
            kind,
            b"data",
            struct.pack("<I", size),
            body,
        ]
    )


def test_a_header_that_promises_more_gives_what_is_there(tmp_path):
    assert read(tmp_path, wav_that_promises(2**31)).shape == (1000,)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (wav_that_promises(1000, rate=4_000_000), "unlikely rate"),
        (wav_that_promises(1000, rate=3), "unlikely rate"),
        (wav_that_promises(1000, channels=500), "too large"),
        (sound_file(np.zeros(100), 16_000), "too short"),
        (sound_file(np.zeros(0), 16_000), "too short"),
        (sound_file(np.full(16_000, np.nan), 16_000, "WAV", "FLOAT"), "NaN in signal"),
        (b"RIFF" + b"\0" * 40, "unreadable file"),
    ],
)
def test_what_is_wrong_with_a_sound_has_a_fixed_reason(tmp_path, data, reason):
    with pytest.raises(SignalError) as caught:
        read(tmp_path, data)
    assert caught.value.reason == reason
