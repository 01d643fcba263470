"""``onellm`` that kills itself at its N-th durable step: ``python dying.py N prepare …``.

Durable steps are those that a later run can see: flushing to the disk, renaming, removing, making a
folder. Every possible crash lies between two of them.
"""

import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any

_left = int(sys.argv[1]) if __name__ == "__main__" else -1


def _counted(step: Callable[..., Any]) -> Callable[..., Any]:
    def counting(*args: Any, **kwargs: Any) -> Any:
        global _left
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*args, **kwargs)

    return counting


if __name__ == "__main__":  # not in worker processes, which import this file under another name
    os.fsync = _counted(os.fsync)
    pathlib.Path.replace = _counted(pathlib.Path.replace)
    pathlib.Path.unlink = _counted(pathlib.Path.unlink)
    pathlib.Path.mkdir = _counted(pathlib.Path.mkdir)

    from onellm_cli.main import main

    sys.argv[1:] = sys.argv[2:]
    main()
