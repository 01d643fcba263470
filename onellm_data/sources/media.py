"""Where the files of a data set were unpacked: folders are found, not prescribed."""

from __future__ import annotations

import os
from collections.abc import Sequence


def folders_with(root: str, suffixes: Sequence[str]) -> list[str]:
    """Folders that hold a file with one of these endings, in order, ``""`` for ``root`` itself.

    Links to folders are not followed: what is linked inside ``root`` is found in its own place.
    Nothing is kept of the files, of which there may be millions.

    Args:
        root: A real path (``os.path.realpath``).
        suffixes: In lower case, with the dot.
    """
    found, todo = [], [""]
    while todo:
        folder = todo.pop()
        has_media = False
        with os.scandir(os.path.join(root, folder)) as listed:
            for entry in listed:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(os.path.join(folder, entry.name))
                elif not has_media:
                    has_media = os.path.splitext(entry.name)[1].lower() in suffixes
        if has_media:
            found.append(folder)
    return sorted(found)
