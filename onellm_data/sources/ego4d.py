"""Ego4D v2: motion recordings of head-worn cameras, and what people said they see in the videos.

Source of the formats: https://ego4d-data.org/docs/data/imu/ and …/annotations/narrations/; of the
windows and the cleaned text: the code of IMU2CLIP (Moon et al. 2022, arXiv 2210.14395).  A record is a
window around a narration of the camera wearer, with all that both passes narrate in it.
"""

from __future__ import annotations

import math
import os
import re
import string
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onellm_data.errors import SignalError, UsageError, require
from onellm_data.options import Option
from onellm_data.sources import ego4d_recording, json_rows
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import NO_CAPTION, WRONG_VALUE
from onellm_data.sources.inside import inside
from onellm_data.sources.tables import Row

PASSES = ("narration_pass_1", "narration_pass_2")
MAX_TEXT = 128
"""Characters of a caption: IMU2CLIP cuts there."""

OTHER_PERSON = "not the camera wearer"
OUTSIDE = "outside the video"
VIDEO_TOO_SHORT = "video too short"

WINDOW = Option("imu_window", "Whole seconds of each motion window, with the narration in its middle.", 2)

_WEARER = re.compile(r"#c(\s*c\b)?", re.IGNORECASE)
_UNSURE = re.compile(r"#unsure", re.IGNORECASE)


@dataclass(frozen=True)
class Window:
    """Reads one window of a recording; whole files are read once, one after another."""

    path: Path
    start: int
    end: int

    @property
    def where(self) -> str:
        """The file and the seconds."""
        return f"{self.path}:{self.start}-{self.end} s"

    def read(self) -> np.ndarray:
        """The canonical signal, float32 ``[6, n]``."""
        return ego4d_recording.load(self.path).window(self.start, self.end)


def window_of(time: float, duration: float, seconds: int) -> tuple[int, int]:
    """The window around a moment, as IMU2CLIP takes it: in its middle, or at the video's start or end.

    Args:
        time: The moment, in seconds.
        duration: Of the video, in seconds.
        seconds: Length of the window.

    Returns:
        Its first and last second, whole numbers.
    """
    if time <= seconds:
        return 0, seconds
    start = duration - seconds if time + seconds >= duration else time - seconds / 2
    return math.floor(start), math.floor(start) + seconds


def clean(text: str) -> str:
    """A narration as a caption.

    ``#C C`` (camera wearer) is taken out, ``#unsure`` becomes "something", punctuation and space at
    both ends go, letters become small, and what is longer than 128 characters is cut.
    """
    plain = _UNSURE.sub("something", _WEARER.sub("", text))
    return " ".join(plain.split()).strip(string.punctuation + " ").lower()[:MAX_TEXT].rstrip()


# ---- where things are


def _found(src: Path) -> tuple[str, str, str | None] | None:
    """Narrations, folder of recordings and ``ego4d.json``, by their names in ``src``."""
    for base in ("", "v2"):
        narrations = _first(
            src, [os.path.join(base, name) for name in ("annotations/narration.json", "narration.json")]
        )
        recordings = os.path.join(base, "imu")
        if narrations and (src / recordings).is_dir():
            return narrations, recordings, _first(src, [os.path.join(base, "ego4d.json"), "ego4d.json"])
    return None


def _first(src: Path, names: Iterable[str]) -> str | None:
    return next((name for name in names if (src / name).is_file()), None)


def detect(src: Path, modality: str) -> str | None:
    """What of this layout is in ``src``."""
    found = _found(src)
    return f"Ego4D: recordings in {found[1]}, {found[0]}" if found else None


def items(src: Path, modality: str, imu_window: int = WINDOW.default) -> Iterator[Item | Reject]:
    """Windows, video by video as ``narration.json`` has them, in the order of time.

    Raises:
        UsageError: Files are missing, or are not JSON; or the window is not 1 to 600 whole seconds.
    """
    found = _found(src)
    if found is None:
        raise UsageError(f"{src} has no {SOURCE.layout}; expected these files, or those of its folder v2")
    if not 1 <= imu_window <= 600:
        raise UsageError(f"got {WINDOW.flag} {imu_window}, expected 1 to 600 seconds")
    root, (narrations, recordings, catalogue) = os.path.realpath(src), found
    durations = _durations(inside(root, catalogue)) if catalogue else {}
    for uid, video in _videos(inside(root, narrations)):
        try:
            path = inside(root, os.path.join(recordings, f"{uid}.csv"))
            duration = durations.get(uid) or _recorded(path)
        except SignalError as error:
            yield Reject(uid, f"{recordings}/{uid}.csv", error.reason, error.detail)
            continue
        yield from _windows(uid, path, _rows(video), duration, imu_window)


def _durations(catalogue: Path) -> dict[str, float]:
    """Seconds of each video, from ``ego4d.json``."""
    durations = {}
    for row in json_rows.rows(catalogue, "videos"):
        uid, seconds = (
            (row.values.get("video_uid"), row.values.get("duration_sec")) if isinstance(row, Row) else (0, 0)
        )
        if isinstance(uid, str) and isinstance(seconds, (int, float)) and seconds > 0:
            durations[uid] = float(seconds)
    return durations


def _recorded(path: Path) -> float:
    """Seconds until the last sample, for a video whose duration is not known."""
    seconds = ego4d_recording.load(path).seconds
    return float(seconds[-1]) if len(seconds) else 0.0


def _videos(path: Path) -> Iterator[tuple[str, Any]]:
    """Videos with their narrations, one at a time; some releases wrap them in ``{"videos": …}``."""
    ijson = require("ijson", "imu")
    try:
        with path.open("rb") as stream:
            prefix = _wrapper(ijson.parse(stream))
            stream.seek(0)
            yield from ijson.kvitems(stream, prefix, use_float=True)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        what = f"{error}".partition("\n")[0]
        raise UsageError(f"{path} is no whole JSON file ({what}); fetch it again") from error


def _wrapper(events: Iterable[tuple[str, str, Any]]) -> str:
    """The place of the videos in the file: inside its first object, ``""`` or ``"videos"``."""
    for prefix, event, _ in events:
        if prefix and event == "start_map":
            return "videos" if prefix == "videos" else ""
    return ""


# ---- from narrations to windows


def _rows(video: Any) -> Iterator[Any]:
    """Narrations of both passes; either may be missing."""
    for name in PASSES:
        one = video.get(name) if isinstance(video, dict) else None
        rows = one.get("narrations") if isinstance(one, dict) else None
        yield from rows if isinstance(rows, list) else ()


def _windows(
    uid: str, path: Path, rows: Iterable[Any], duration: float, seconds: int
) -> Iterator[Item | Reject]:
    """Rejected narrations of a video, then its windows."""
    windows: dict[tuple[int, int], list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        try:
            time, text, narration = _narration(row)
            if time > duration or time < 0:
                raise SignalError(OUTSIDE, f"at {time:g} s of {duration:g} s")
            if duration < seconds:
                raise SignalError(VIDEO_TOO_SHORT, f"{duration:g} s, expected at least {seconds} s")
            windows[window_of(time, duration, seconds)].append((text, narration))
        except SignalError as error:
            yield Reject(f"{uid}/{_identity(row)}", str(path), error.reason, error.detail)
    for (start, end), narrated in sorted(windows.items()):
        yield _item(uid, Window(path, start, end), narrated)


def _identity(row: Any) -> str:
    """What a row calls itself."""
    value = row.get("annotation_uid") if isinstance(row, dict) else None
    return value if isinstance(value, str) else "narration"


def _narration(row: Any) -> tuple[float, str, str]:
    """Time, cleaned text and name of a narration by and about the camera wearer."""
    text, time = (
        (row.get("narration_text"), row.get("timestamp_sec")) if isinstance(row, dict) else (None, None)
    )
    if not isinstance(text, str) or not isinstance(time, (int, float)) or not math.isfinite(time):
        raise SignalError(WRONG_VALUE, f"got {row!r:.80}, expected 'narration_text' and 'timestamp_sec'")
    if "#c" not in text.lower():
        raise SignalError(OTHER_PERSON, f"got {text!r:.80}, expected #C")
    return float(time), clean(text), _identity(row)


def _item(uid: str, window: Window, narrated: list[tuple[str, str]]) -> Item | Reject:
    """A window with its texts, each once: both passes often say the same."""
    name = f"{uid}/{window.start}-{window.end}"
    captions = tuple(dict.fromkeys(text for text, _ in narrated if text))
    if not captions:
        return Reject(name, window.where, NO_CAPTION, "expected more than #C C")
    meta = {
        "video_uid": uid,
        "window_start": window.start,
        "window_end": window.end,
        "narration_uids": [narration for _, narration in narrated],
    }
    return Item(name, {"imu": window}, captions, meta=meta)


SOURCE = Source(
    name="ego4d",
    layout="imu/{video_uid}.csv and narration.json of Ego4D v2 (ego4d.json beside it if you have it)",
    modalities=("imu",),
    detect=detect,
    items=items,
    options=(WINDOW,),
    names_files=False,
)
