"""Makes demo/motions from the data set BasicMotions as the package aeon ships it.

Kept so that anyone can see where the recordings come from; nothing needs to run it again:

    pip download --no-deps aeon==1.6.0
    python demo/make_data.py aeon-1.6.0-py3-none-any.whl

Numbers are copied as text, digit by digit; only the layout changes.
"""

from __future__ import annotations

import csv
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent / "motions"
MEMBER = "aeon/datasets/data/BasicMotions/BasicMotions_{part}.ts"
LICENCE = "aeon-1.6.0.dist-info/licenses/LICENSE"

COLUMNS = ("accl_x", "accl_y", "accl_z", "gyro_x", "gyro_y", "gyro_z")
SAMPLES = 100
SAMPLES_PER_SECOND = 10
CAPTIONS = {
    "Standing": "A person is standing.",
    "Walking": "A person is walking.",
    "Running": "A person is running.",
    "Badminton": "A person is playing badminton.",
}


def recordings(text: str) -> Iterator[tuple[list[list[str]], str]]:
    """The recordings of one .ts file: six channels of numbers as text, and the label."""
    for line in text.partition("@data")[2].split():
        *channels, label = line.split(":")
        values = [channel.split(",") for channel in channels]
        assert len(values) == len(COLUMNS), f"{len(values)} channels"
        assert {len(channel) for channel in values} == {SAMPLES}, "a recording of another length"
        yield values, label


def write_recording(path: Path, channels: list[list[str]]) -> None:
    """One CSV: the time in seconds, then the six channels."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("timestamp_s", *COLUMNS))
        for index, values in enumerate(zip(*channels, strict=True)):
            rows.writerow((f"{index / SAMPLES_PER_SECOND:.1f}", *values))


def main(wheel: str) -> None:
    """Write the recordings, metadata.csv and the licence."""
    FOLDER.mkdir(exist_ok=True)
    table = [("file", "caption", "split")]
    with zipfile.ZipFile(wheel) as archive:
        for split, part in (("train", "TRAIN"), ("test", "TEST")):
            for channels, label in recordings(archive.read(MEMBER.format(part=part)).decode()):
                name = f"recording-{len(table):02d}.csv"
                write_recording(FOLDER / name, channels)
                table.append((name, CAPTIONS[label], split))
        (FOLDER / "LICENSE").write_bytes(archive.read(LICENCE))
    with (FOLDER / "metadata.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    print(f"{len(table) - 1} recordings in {FOLDER}")


if __name__ == "__main__":
    main(*sys.argv[1:])
