"""One process of several: ``python -m onellm_core.training.worker``, started by ``launch``."""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings

from onellm_core.training.launch import die_with
from onellm_data.errors import EXIT_FAILED, OnellmError


def main() -> None:
    """Run as the process that the environment's RANK says, and exit with the error's code."""
    request = json.loads(sys.argv[1])
    die_with(request["parent"])
    warnings.filterwarnings("ignore", category=FutureWarning)
    rank = int(os.environ["RANK"])
    code = 0
    try:
        _run(request["config"])
    except OnellmError as error:
        from onellm_core.training.distributed import SharedError

        if rank == 0 or not isinstance(error, SharedError):
            sys.stderr.write(f"Error: {error}\n" if rank == 0 else f"Error in process {rank}: {error}\n")
        code = error.exit_code
    except Exception:  # noqa: BLE001 - the outermost frame: all is told
        traceback.print_exc()
        code = EXIT_FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    # DeepSpeed and gloo sometimes abort while the interpreter ends, after all work is done.
    os._exit(code)


def _run(data: dict[str, object]) -> None:
    from transformers.utils import logging

    from onellm_core.training import distributed
    from onellm_core.training.config_file import check
    from onellm_core.training.plan import make_plan
    from onellm_core.training.run import run

    logging.set_verbosity_error()
    config = check(data, "the configuration")
    run(config, make_plan(config), distributed.start())
    distributed.stop()


if __name__ == "__main__":
    main()
