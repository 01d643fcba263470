"""What holds for all eight modalities: contract, round trip, input, picture, hostile bytes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from onellm_data import modalities
from onellm_data.errors import SignalError, UsageError

NAMES = ["image", "video", "audio", "point", "depth", "normal", "imu", "fmri"]

# Shapes of the published model's inputs and numbers of its tokens (paper and released weights).
INPUTS = {
    "image": ((3, 224, 224), 256),
    "video": ((15, 3, 224, 224), 256),
    "audio": ((1, 128, 1024), 1212),
    "point": ((8192, 6), 1024),
    "depth": ((2, 3, 224, 224), 256),
    "normal": ((2, 3, 224, 224), 256),
    "imu": ((6, 400), 391),
    "fmri": ((1, 15724), 8),
}


def same(one: object, other: object) -> bool:
    if dataclasses.is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one)
        )
    return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())


def test_the_eight_are_registered_in_the_order_of_the_paper():
    assert modalities.names()[:8] == NAMES


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(UsageError, match="did you mean 'audio'"):
        modalities.get("adio")


def test_listing_names_imports_neither_numpy_nor_a_modality():
    code = (
        "import sys; from onellm_data import modalities; modalities.names(); "
        "assert 'numpy' not in sys.modules and 'onellm_data.modalities.image' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_importing_a_modality_imports_no_heavy_package():
    heavy = ["torch", "torchaudio", "PIL", "av", "soundfile", "trimesh", "h5py", "nibabel", "pytorchvideo"]
    code = (
        "import sys; from onellm_data import modalities; [modalities.get(n) for n in modalities.names()]; "
        f"found = [m for m in {heavy} if m in sys.modules]; assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", NAMES)
def test_input_has_the_published_shape_and_number_of_tokens(name, signals):
    modality = modalities.get(name)
    shape, tokens = INPUTS[name]
    assert modality.input_shape(modality.options) == shape
    assert modality.tokenizer.tokens(shape, patch=14) == tokens
    values = modality.to_input(signals[name], modality.options)
    assert values.shape == shape
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert values.flags.c_contiguous


@pytest.mark.parametrize("name", NAMES)
def test_input_is_deterministic_and_leaves_the_signal_alone(name, signals):
    modality = modalities.get(name)
    members = modality.store(signals[name])
    first = modality.to_input(signals[name], modality.options)
    assert (first == modality.to_input(signals[name], modality.options)).all()
    assert modality.store(signals[name]) == members


@pytest.mark.parametrize("name", [name for name in NAMES if name != "video"])
def test_store_and_load_are_bit_exact(name, signals):
    modality = modalities.get(name)
    assert same(modality.load(modality.store(signals[name])), signals[name])


@pytest.mark.parametrize("name", NAMES)
def test_new_model_options_only_change_known_ones_and_keep_the_shape(name, signals):
    modality = modalities.get(name)
    assert modality.new_model_options.keys() <= modality.options.keys()
    options = {**modality.options, **modality.new_model_options}
    assert modality.to_input(signals[name], options).shape == modality.input_shape(options)


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_shows_something(name, signals):
    drawn = modalities.get(name).draw(signals[name])
    assert drawn.mode == "RGB"
    assert min(drawn.size) >= 32
    assert max(drawn.size) <= 1024
    assert np.asarray(drawn).std() > 5


@pytest.mark.parametrize("name", NAMES)
def test_augmentation_keeps_the_shape_changes_the_values_and_follows_its_generator(name, signals):
    modality = modalities.get(name)
    if modality.augment is None:
        assert name in ("video", "point", "imu", "fmri"), "the published recipe augments only the others"
        return
    plain = modality.to_input(signals[name], modality.options)
    untouched = plain.copy()
    one, again, other = (
        modality.augment(plain, modality.options, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert one.shape == plain.shape
    assert one.dtype == np.float32
    assert (plain == untouched).all()
    assert (one == again).all()
    assert (one != other).any()
    assert (one != plain).any()


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_missing_empty_or_a_web_page_are_signal_errors_that_name_them(name, tmp_path):
    modality = modalities.get(name)
    for suffix in modality.suffixes:
        assert suffix == suffix.lower()
        assert suffix.startswith(".")
        missing, empty, noise = (tmp_path / f"{word}{suffix}" for word in ("missing", "empty", "page"))
        empty.write_bytes(b"")
        noise.write_bytes(b"<html><body>404 Not Found</body></html>\n" * 50)
        for path, reasons in (
            (missing, {"missing file"}),
            (empty, {"empty file"}),
            (noise, {"unreadable file", "missing columns"}),
        ):
            with pytest.raises(SignalError) as caught:
                modality.read([path] * len(modality.parts))
            assert caught.value.reason in reasons, (path.name, str(caught.value))
            assert path.name in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_shard_members_are_signal_errors(name, signals):
    modality = modalities.get(name)
    members = modality.store(signals[name])
    with pytest.raises(SignalError):
        modality.load({ending: data[: len(data) // 3] for ending, data in members.items()})
