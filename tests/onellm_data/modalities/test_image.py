"""Pictures: every pixel format, CLIP's preprocessing to the pixel, bytes that may be kept."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from onellm_data.errors import SignalError
from onellm_data.modalities import image, pictures

EXIF_QUARTER_TURN = 6  # the picture must be turned clockwise to be seen upright


def read(folder, data: bytes) -> np.ndarray:
    path = folder / "picture.bin"
    path.write_bytes(data)
    return image.read([path])


def file_of(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[pictures.EXIF_ORIENTATION] = EXIF_QUARTER_TURN
    return exif


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "JPEG", "WEBP"])
def test_every_format_gives_its_colours(tmp_path, encoded, picture, kind):
    pixels = picture(32, 48)
    loss = {"GIF": 12, "JPEG": 6, "WEBP": 12}.get(kind, 0)  # mean difference that the format may make
    read_back = read(tmp_path, encoded(pixels, kind))
    assert read_back.shape == pixels.shape
    assert read_back.dtype == np.uint8
    assert np.abs(read_back.astype(int) - pixels).mean() <= loss


def test_the_bytes_decide_the_format_not_the_ending(tmp_path, encoded, picture):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encoded(picture(8, 9), "PNG"))
    assert (image.read([path]) == picture(8, 9)).all()


def test_grey_palette_and_one_bit_pictures_become_rgb(tmp_path, picture):
    gray = picture(16, 20)[..., 0]
    assert (read(tmp_path, file_of(Image.fromarray(gray), "PNG")) == gray[..., None]).all()
    palette = Image.fromarray(picture(16, 20)).quantize(16)
    assert (read(tmp_path, file_of(palette, "PNG")) == np.asarray(palette.convert("RGB"))).all()
    bits = Image.fromarray(gray > 127)
    assert (read(tmp_path, file_of(bits, "PNG")) == np.where(gray > 127, 255, 0)[..., None]).all()


def test_transparency_is_laid_on_white(tmp_path, picture):
    alpha = np.zeros((10, 10, 4), np.uint8)
    alpha[:, :5] = 200, 100, 0, 255
    alpha[:5, 5:] = 0, 0, 0, 128
    pixels = read(tmp_path, file_of(Image.fromarray(alpha), "PNG"))
    assert pixels[0, 0].tolist() == [200, 100, 0]
    assert pixels[9, 9].tolist() == [255, 255, 255]
    assert abs(int(pixels[0, 9, 0]) - 127) <= 1
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert (read(tmp_path, file_of(palette, "PNG", transparency=1)) == 255).all()


def test_sixteen_bits_keep_their_upper_byte(tmp_path):
    deep = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    pixels = read(tmp_path, file_of(Image.fromarray(deep), "PNG"))
    assert (pixels[..., 0] == np.arange(256).reshape(16, 16)).all()


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = read(tmp_path, file_of(ink, "JPEG", quality=95))
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() < 12


def test_exif_orientation_is_applied(tmp_path, picture):
    pixels = picture(20, 30)
    turned = read(tmp_path, file_of(Image.fromarray(pixels), "PNG", exif=turned_exif()))
    assert (turned == np.rot90(pixels, -1)).all()


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_defined_white_are_refused(tmp_path, mode):
    with pytest.raises(SignalError, match="8 or 16 bits"):
        read(tmp_path, file_of(Image.new(mode, (4, 4), 3), "TIFF"))


@pytest.mark.parametrize(
    ("height", "width"), [(300, 500), (500, 300), (224, 224), (225, 224), (31, 200), (1000, 777), (640, 361)]
)
@pytest.mark.parametrize("size", [224, 96])
def test_preprocessing_equals_torchvision_to_the_pixel(picture, height, width, size):
    transforms = pytest.importorskip("torchvision.transforms")
    pixels = picture(height, width)
    bicubic = transforms.InterpolationMode.BICUBIC
    theirs = transforms.Compose([transforms.Resize(size, bicubic), transforms.CenterCrop(size)])
    expected = np.asarray(theirs(Image.fromarray(pixels)))
    assert (pictures.resize_and_crop(pixels, size) == expected).all()


def test_normalisation_is_clips(picture):
    values = image.to_input(np.full((50, 60, 3), 255, np.uint8), image.MODALITY.options)
    # (1 - mean) / std of CLIP, by hand.
    assert np.allclose(values[:, 0, 0], [1.9303361, 2.0748837, 2.1458970], atol=1e-5)


def test_ordinary_jpeg_and_png_are_kept_as_they_are(encoded, picture):
    pixels = picture(24, 32)
    for kind, ending in (("JPEG", "jpg"), ("PNG", "png")):
        data = encoded(pixels, kind)
        assert image.keep(data) == ending
        assert image.load({ending: data}).shape == pixels.shape


def test_what_is_not_canonical_is_not_kept(encoded, picture):
    pixels = picture(24, 32)
    others = [
        encoded(pixels, "WEBP"),
        encoded(pixels[..., 0], "PNG"),
        encoded(np.dstack([pixels, pixels[..., :1]]), "PNG"),
        file_of(Image.fromarray(pixels), "JPEG", exif=turned_exif()),
        file_of(Image.fromarray(pixels).convert("CMYK"), "JPEG"),
        file_of(Image.fromarray(pixels), "PNG", transparency=(1, 2, 3)),
    ]
    assert [image.keep(data) for data in others] == [None] * len(others)


@settings(deadline=None, max_examples=40)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 9))
def test_any_picture_survives_the_shard_and_becomes_an_input(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert (image.load(image.store(pixels)) == pixels).all()
    values = image.to_input(pixels, {**image.MODALITY.options, "size": 14})
    assert values.shape == (3, 14, 14)


def png_that_promises(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [(60_000, 60_000, "too large"), (12_000, 12_000, "too large"), (5000, 10, "wrong shape")],
)
def test_a_small_file_that_promises_a_huge_picture_is_refused(tmp_path, width, height, reason):
    with pytest.raises(SignalError) as caught:
        read(tmp_path, png_that_promises(width, height))
    assert caught.value.reason == reason


def test_truncated_pictures_are_refused(tmp_path, encoded, picture):
    for kind in ("JPEG", "PNG"):
        data = encoded(picture(64, 64), kind)
        with pytest.raises(SignalError) as caught:
            read(tmp_path, data[: len(data) // 2])
        assert caught.value.reason == "unreadable file"


def test_postscript_is_not_opened(tmp_path):
    with pytest.raises(SignalError):
        read(tmp_path, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")


def test_the_training_crop_shows_most_of_the_picture(picture):
    planes = image.to_input(picture(224, 224), image.MODALITY.options)
    areas, ratios = [], []
    for seed in range(300):
        left, top, right, bottom = pictures._crop_box(224, np.random.default_rng(seed))
        assert 0 <= left < right <= 224
        assert 0 <= top < bottom <= 224
        areas.append((right - left) * (bottom - top) / 224**2)
        ratios.append((right - left) / (bottom - top))
    assert 0.89 < min(areas) < 0.92
    assert max(areas) > 0.98
    assert min(ratios) >= 3 / 4
    assert max(ratios) <= 4 / 3
    cropped = image.augment(planes, image.MODALITY.options, np.random.default_rng(0))
    assert np.corrcoef(planes.ravel(), cropped.ravel())[0, 1] > 0.8


def test_the_message_for_what_is_no_picture_is_the_same_every_time(tmp_path):
    messages = set()
    for _ in range(3):
        with pytest.raises(SignalError) as caught:
            read(tmp_path, b"<html>")
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert "known kind (JPEG, PNG" in messages.pop()
