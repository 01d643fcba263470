"""Tar members as bytes."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onellm_data.shards import tar

NAMES = st.text(st.characters(whitelist_categories=("Ll", "Nd")), min_size=1, max_size=20)
FILES = st.lists(st.tuples(NAMES, st.binary(max_size=1500)), min_size=1, max_size=5)


@given(FILES)
def test_tarfile_reads_what_we_write(files: list[tuple[str, bytes]]) -> None:
    archive = b"".join(tar.member(name, data) for name, data in files) + tar.END
    with tarfile.open(fileobj=io.BytesIO(archive)) as reader:
        found = [(info.name, reader.extractfile(info).read()) for info in reader]
    assert found == files


@given(FILES)
def test_we_read_what_we_write(files: list[tuple[str, bytes]]) -> None:
    run = b"".join(tar.member(name, data) for name, data in files)
    assert list(tar.members(run)) == files


def test_nothing_of_the_machine_is_in_a_member() -> None:
    with tarfile.open(fileobj=io.BytesIO(tar.member("a", b"x") + tar.END)) as reader:
        (info,) = reader.getmembers()
    assert (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) == (0, 0, 0, "", "", 0o644)


@pytest.mark.parametrize("name", ["x" * 101, "ü" * 51])
def test_a_name_that_does_not_fit(name: str) -> None:
    with pytest.raises(tar.BadTar, match="expected at most 100"):
        tar.member(name, b"")


def test_a_member_that_promises_more_than_there_is() -> None:
    run = tar.member("a", b"x" * 600)
    with pytest.raises(tar.BadTar, match="'a' claims 600 bytes, 512 are left"):
        list(tar.members(run[:1024]))


@pytest.mark.parametrize("damage", [0, 100, 124, 148])
def test_a_damaged_header(damage: int) -> None:
    run = bytearray(tar.member("name", b"x"))
    run[damage] ^= 0x55
    with pytest.raises(tar.BadTar, match="damaged tar header"):
        list(tar.members(bytes(run)))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE])
def test_only_plain_files_are_read(kind: bytes) -> None:
    info = tarfile.TarInfo("evil")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(tar.BadTar, match="'evil' is no plain file"):
        list(tar.members(info.tobuf(tarfile.USTAR_FORMAT)))


@given(st.binary(max_size=2000))
def test_any_bytes_end_in_members_or_in_our_error(data: bytes) -> None:
    with suppress(tar.BadTar):
        assert sum(len(content) for _, content in tar.members(data)) <= len(data)
