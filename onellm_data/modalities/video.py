"""Films: the first frame of five clips spread over the whole length.

Source of the figures: OneLLM (arXiv 2312.03700) reads 5 clips of 1 s, keeps the first frame
of each and looks at 3 squares along its longer side; the encoder sees 15 pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onellm_data.errors import SignalError, UsageError, require
from onellm_data.modalities import drawing
from onellm_data.modalities.base import Modality, Options, SignalContract
from onellm_data.modalities.decoding import (
    TOO_LARGE,
    UNREADABLE,
    WRONG_SHAPE,
    check_not_empty,
    decoding,
)
from onellm_data.modalities.pictures import (
    MAX_ASPECT,
    PICTURE_OPTIONS,
    jpeg_bytes,
    normalised,
    open_picture,
    rgb_array,
    shape_for_clip,
)
from onellm_data.modalities.tokenizer_specs import PatchSpec

if TYPE_CHECKING:
    from PIL import Image

CLIPS = 5
CLIP_SECONDS = 1
CROPS = 3

MAX_FRAME_PIXELS = 36_000_000  # 8K
MAX_DECODED = 20_000
"""Frames decoded for one film, so that one with a single key frame cannot take for ever."""

SEEK_MARGINS = (0.0, 1.0, 5.0)
"""Seconds before the wanted frame to which seeking is tried, before all is decoded from the start."""

NO_VIDEO = "no pictures in file"
TRUNCATED = "truncated film"

DEMUXERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,m4v,h264,hevc,ivf,apng,webm"
"""FFmpeg's names of containers.  Playlists stay closed: they make it open other files and addresses."""

DRAWN_SIZE = 160


def read(paths: Sequence[Path]) -> np.ndarray:
    """Read five frames of a film by seeking to them.

    Returns:
        uint8 ``[5, H, W, 3]``, RGB, turned as the film says that it is to be seen.

    Raises:
        SignalError: The file holds no such film, or ends before the last clip begins.
    """
    (path,) = paths
    av = require("av", "video")
    options = {"format_whitelist": DEMUXERS}
    with (
        decoding(path, "a film", av.error.FFmpegError),
        path.open("rb") as file,  # not the path: FFmpeg gives meaning to some names
    ):
        check_not_empty(path)
        with av.open(file, container_options=options) as container:
            return _five_frames(container)


def _five_frames(container: Any) -> np.ndarray:
    """The first frame of each clip: uint8 ``[5, H, W, 3]``."""
    film = Film(container)
    frames = [film.frame_at(start) for start in clip_starts(film.seconds())]
    first = frames[0]
    return np.stack([_pixels(frame, first.width, first.height) for frame in frames])


def clip_starts(seconds: float) -> list[float]:
    """Where the clips of a film begin: ``k · max(seconds - 1, 0) / 5`` (pytorchvideo 0.1.5)."""
    sampling = require("pytorchvideo.data.clip_sampling", "video")
    sampler = sampling.ConstantClipsPerVideoSampler(CLIP_SECONDS, CLIPS)
    return [float(sampler(0.0, seconds, {}).clip_start_sec) for _ in range(CLIPS)]


class Film:
    """The pictures of an open ``av`` container, found by time.

    Raises:
        SignalError: There are none, or they are too large.
    """

    def __init__(self, container: Any) -> None:
        films = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
        if not films:
            raise SignalError(NO_VIDEO, "no video stream")
        self.container, self.stream = container, films[0]
        self.decoded = 0
        self.last: Any = None
        context = self.stream.codec_context
        context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
        _check_size(context.width, context.height)

    def seconds(self) -> float:
        """Length: as the stream says, else by frame count and rate, else to its last packet."""
        stream = self.stream
        if stream.duration:
            return float(stream.duration * stream.time_base)
        if stream.frames and stream.average_rate:
            return float(stream.frames / stream.average_rate)
        ends = [
            packet.pts + (packet.duration or 0)
            for packet in self.container.demux(stream)
            if packet.pts is not None
        ]
        if not ends:
            raise SignalError(NO_VIDEO, "the video stream has no pictures")
        return float((max(ends) - (stream.start_time or 0)) * stream.time_base)

    def frame_at(self, second: float) -> Any:
        """The first frame that is not before ``second``, counted from the stream's start.

        Raises:
            SignalError: The film ends before.
        """
        wanted = second - 1e-6  # times are multiples of a fraction
        if self.last is not None and self._time(self.last) >= wanted:
            return self.last
        for frame in self._frames_from(second):
            self.last = frame
            if self._time(frame) >= wanted:
                return frame
        raise SignalError(TRUNCATED, f"no frame at {second:.2f} s of {self.seconds():.2f} s")

    def _time(self, frame: Any) -> float:
        """Seconds from the stream's start."""
        return float((frame.pts - (self.stream.start_time or 0)) * self.stream.time_base)

    def _frames_from(self, second: float) -> Iterator[Any]:
        """Frames from a key frame before ``second`` on; some containers land late and need a longer way."""
        for margin in SEEK_MARGINS:
            frames = self._seek(second - margin)
            first = next(frames, None)
            if first is not None and self._time(first) <= second:
                yield first
                yield from frames
                return
        yield from self._seek(-1.0)

    def _seek(self, second: float) -> Iterator[Any]:
        """Decode from the key frame at or before ``second``."""
        stamp = int(second / self.stream.time_base) + (self.stream.start_time or 0)
        self.container.seek(stamp, stream=self.stream)
        for frame in self.container.decode(self.stream):
            self.decoded += 1
            if self.decoded > MAX_DECODED:
                raise SignalError(TOO_LARGE, f"{MAX_DECODED} frames were decoded to find {CLIPS}")
            if frame.pts is not None:
                yield frame


def _check_size(width: int, height: int) -> None:
    """Refuse frames without size, huge ones and ribbons."""
    if min(width, height) <= 0:
        raise SignalError(UNREADABLE, f"frames of {width} × {height} pixels")
    if width * height > MAX_FRAME_PIXELS:
        raise SignalError(TOO_LARGE, f"frames of {width} × {height} pixels; at most {MAX_FRAME_PIXELS:,}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise SignalError(WRONG_SHAPE, f"frames of {width} × {height} pixels")


def _pixels(frame: Any, width: int, height: int) -> np.ndarray:
    """A decoded frame as uint8 ``[H, W, 3]``, scaled if the film changes its size, and upright."""
    _check_size(frame.width, frame.height)
    pixels = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    return np.rot90(pixels, round(frame.rotation / 90))


def to_input(signal: np.ndarray, options: Options) -> np.ndarray:
    """Squares of each frame along its longer side: start, centre and end.

    Frames are scaled by plain bilinear interpolation, as the published weights were trained.

    Args:
        signal: uint8 ``[5, H, W, 3]``.
        options: ``size`` (pixels), ``crops`` (3, or 1 for the centre alone), ``mean``, ``std``.

    Returns:
        float32 ``[5 · crops, 3, size, size]``, all squares of the first frame first.
    """
    size, crops = options["size"], options["crops"]
    tall, wide = shape_for_clip(signal.shape[1], signal.shape[2], size)
    slack = max(tall, wide) - size
    centre = (slack + 1) // 2
    places = {1: (centre,), CROPS: (0, centre, slack)}.get(crops)
    if places is None:
        raise UsageError(f"the video option crops is {crops}; expected 1 or {CROPS}")
    squares = []
    for frame in signal:
        scaled = _bilinear(frame, tall, wide)
        for place in places:
            top, left = (place, 0) if tall > wide else (0, place)
            squares.append(scaled[top : top + size, left : left + size])
    return normalised(np.stack(squares), options)


def _bilinear(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation between pixel centres, without smoothing before: float32 ``[H, W, 3]``."""
    y0, y1, y = _neighbours(pixels.shape[0], height)
    x0, x1, x = _neighbours(pixels.shape[1], width)
    rows = pixels[y0] * (1 - y)[:, None, None] + pixels[y1] * y[:, None, None]
    return rows[:, x0] * (1 - x)[:, None] + rows[:, x1] * x[:, None]


def _neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each new pixel its two old neighbours and the second one's share."""
    place = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0)
    first = np.minimum(place.astype(np.int64), old - 1)
    return first, np.minimum(first + 1, old - 1), (place - first).astype(np.float32)


def store(signal: np.ndarray) -> dict[str, bytes]:
    """Five JPEG files of quality 95 with full colour resolution.

    The film is lossy already; PNG would be five to ten times larger for nothing that was in
    the film before its own compression.
    """
    return {f"{number:03d}.jpg": jpeg_bytes(frame) for number, frame in enumerate(signal)}


def load(members: Mapping[str, bytes]) -> np.ndarray:
    """The frames that ``store`` wrote, as JPEG kept them."""
    with decoding("shard member", f"{CLIPS} frames"):
        frames = [rgb_array(open_picture(members[name])) for name in sorted(members)]
        if len(frames) != CLIPS:
            raise SignalError(WRONG_SHAPE, f"{len(frames)} frames")
        return np.stack(frames)


def draw(signal: np.ndarray) -> Image.Image:
    """The five frames, side by side."""
    return drawing.row([drawing.thumbnail(frame, DRAWN_SIZE) for frame in signal])


MODALITY = Modality(
    name="video",
    title="film",
    contract=SignalContract(
        shape=f"[{CLIPS}, H, W, 3]",
        dtype="uint8",
        axes="clip, row (top first), column, colour (R, G, B)",
        units="sRGB, 0 to 255",
        rate="the first frame of 5 clips of 1 s, spread over the film",
    ),
    extra="video",
    suffixes=(
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts"),
        *(".flv", ".wmv", ".ogv", ".3gp", ".gif"),
    ),
    tokenizer=PatchSpec(),
    options={**PICTURE_OPTIONS, "crops": CROPS},
    input_shape=lambda options: (CLIPS * options["crops"], 3, options["size"], options["size"]),
    read=read,
    to_input=to_input,
    store=store,
    load=load,
    draw=draw,
)
