"""Films: frames found by seeking, whatever the container; no film is decoded as a whole."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from onellm_data.errors import SignalError, UsageError
from onellm_data.modalities import video

OPTIONS = video.MODALITY.options


def brightness(frames: np.ndarray) -> list[int]:
    """The number of each frame modulo 50, read from its grey (see the fixture ``make_film``)."""
    return [round((float(frame[20:, 20:].mean()) - 20) / 4) for frame in frames]


def expected_frames(frames: int, rate: int) -> list[int]:
    """First frame that is not before k · max(D - 1, 0) / 5."""
    spare = max(frames / rate - 1, 0)
    return [int(np.ceil(round(k * spare / 5 * rate, 6))) for k in range(5)]


@pytest.mark.parametrize(
    ("name", "codec", "frames", "rate"),
    [
        ("film.mp4", "libx264", 100, 20),
        ("film.mp4", "libx264", 97, 30),
        ("film.mkv", "libx264", 100, 20),
        ("film.webm", "libvpx-vp9", 60, 20),
        ("film.avi", "mpeg4", 100, 20),
        ("film.mov", "mpeg4", 100, 25),
        ("film.ts", "mpeg2video", 100, 25),
        ("film.mp4", "libx264", 5, 20),
        ("film.mp4", "libx264", 1, 20),
    ],
)
def test_the_right_frames_are_found(make_film, name, codec, frames, rate):
    signal = video.read([make_film(name, frames=frames, rate=rate, codec=codec)])
    assert signal.shape == (5, 48, 64, 3)
    assert signal.dtype == np.uint8
    assert brightness(signal) == [number % 50 for number in expected_frames(frames, rate)]


def test_clips_start_where_pytorchvideo_says():
    # Measured with pytorchvideo 0.1.5 on a film of 30.03 s.
    assert np.allclose(video.clip_starts(30.03), [0, 5.806, 11.612, 17.418, 23.224], atol=1e-9)
    assert video.clip_starts(0.4) == [0, 0, 0, 0, 0]


def test_a_long_film_is_not_decoded_as_a_whole(make_film, monkeypatch):
    films = []
    start = video.Film.__init__
    monkeypatch.setattr(video.Film, "__init__", lambda self, c: (start(self, c), films.append(self))[0])
    path = make_film(frames=1000, rate=20, codec="mpeg4")  # a key frame every 12
    assert video.read([path]).shape == (5, 48, 64, 3)
    assert films[0].decoded < 100


def test_seeking_equals_decoding_everything(make_film):
    av = pytest.importorskip("av")
    path = make_film(frames=90, rate=30)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    expected = np.stack([frames[number] for number in expected_frames(90, 30)])
    assert (video.read([path]) == expected).all()


def test_a_film_that_is_to_be_turned_is_turned(make_film):
    path = make_film()
    data = path.read_bytes()
    one, unit = 1 << 16, 1 << 30
    plain = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, unit)
    quarter = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, unit)  # shown turned clockwise
    at = data.index(plain, data.index(b"tkhd"))
    turned = path.with_name("turned.mp4")
    turned.write_bytes(data[:at] + quarter + data[at + len(plain) :])
    assert (video.read([turned]) == np.rot90(video.read([path]), -1, axes=(1, 2))).all()


def test_a_film_that_ends_early_is_refused(make_film):
    path = make_film(frames=100, options={"movflags": "faststart"})
    whole = path.read_bytes()
    cut = path.with_name("cut.mp4")
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(SignalError) as caught:
        video.read([cut])
    assert caught.value.reason in ("truncated film", "unreadable file")


def test_a_film_without_its_index_is_refused(make_film):
    path = make_film()
    cut = path.with_name("cut.mp4")
    cut.write_bytes(path.read_bytes()[:3000])  # the index stands at the end
    with pytest.raises(SignalError) as caught:
        video.read([cut])
    assert caught.value.reason in ("no pictures in file", "unreadable file")


def test_sound_alone_is_no_film(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "sound.ogg"
    soundfile.write(path, np.zeros(8000), 8000)
    with pytest.raises(SignalError) as caught:
        video.read([path])
    assert caught.value.reason == "no pictures in file"


def test_playlists_are_not_followed(tmp_path, make_film):
    film = make_film("segment.ts", codec="mpeg2video")
    playlist = tmp_path / "film.mp4"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:5,\n{film}\n#EXT-X-ENDLIST\n")
    with pytest.raises(SignalError) as caught:
        video.read([playlist])
    assert caught.value.reason == "unreadable file"


def test_decoding_is_bounded(make_film, monkeypatch):
    monkeypatch.setattr(video, "MAX_DECODED", 10)
    with pytest.raises(SignalError) as caught:
        video.read([make_film(frames=100, options={"g": "250"})])
    assert caught.value.reason == "too large"


def test_huge_frames_are_refused_before_they_are_decoded(make_film, monkeypatch):
    monkeypatch.setattr(video, "MAX_FRAME_PIXELS", 3000)
    with pytest.raises(SignalError) as caught:
        video.read([make_film()])
    assert caught.value.reason == "too large"


def test_frames_are_stored_as_jpeg_that_nobody_can_tell_apart(signals):
    members = video.store(signals["video"])
    assert list(members) == [f"{number:03d}.jpg" for number in range(5)]
    difference = video.load(members).astype(float) - signals["video"]
    assert (difference**2).mean() < 255**2 / 10**4  # peak signal to noise above 40 dB


@pytest.mark.parametrize(("height", "width"), [(48, 100), (100, 48), (60, 60)])
def test_three_squares_lie_along_the_longer_side(height, width):
    ramp = np.zeros((5, height, width, 3), np.uint8)
    along = np.linspace(0, 250, max(height, width)).astype(np.uint8)
    ramp[:] = along[:, None, None] if height > width else along[None, :, None]
    values = video.to_input(ramp, {**OPTIONS, "size": 28, "mean": [0] * 3, "std": [1] * 3})
    assert values.shape == (15, 3, 28, 28)
    middles = values.mean(axis=(1, 2, 3)).reshape(5, 3)
    if height == width:
        assert (values[0] == values[2]).all()
    else:
        assert (np.diff(middles, axis=1) > 0.1).all()  # all squares of one frame stand together
    only = video.to_input(ramp, {**OPTIONS, "size": 28, "crops": 1, "mean": [0] * 3, "std": [1] * 3})
    assert (only == values[1::3]).all()


def test_squares_are_scaled_as_pytorchvideo_scales(picture):
    torch = pytest.importorskip("torch")
    pixels = picture(90, 160)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(tensor, size=(56, 99), mode="bilinear", align_corners=False)
    ours = video._bilinear(pixels, 56, 99)
    assert np.abs(ours - expected[0].permute(1, 2, 0).numpy()).max() < 0.02  # of 255
    values = video.to_input(np.stack([pixels] * 5), {**OPTIONS, "size": 56, "mean": [0] * 3, "std": [1] * 3})
    for place, left in enumerate((0, 22, 43)):  # 99 - 56 = 43; its half is rounded up
        square = expected[0, :, :, left : left + 56].numpy() / 255
        assert np.abs(values[place] - square).max() < 1e-3


def test_another_number_of_squares_is_refused(signals):
    with pytest.raises(UsageError, match="crops is 2; expected 1 or 3"):
        video.to_input(signals["video"], {**OPTIONS, "crops": 2})
