"""What third-party libraries print, where a command has its own messages and bars."""

from __future__ import annotations

import os
import warnings


def quiet_libraries(*, offline: bool = False) -> None:
    """Silence progress bars and notices of transformers; call it before anything heavy is imported.

    Args:
        offline: Also forbid every call to a hub.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning)

    import torch

    if not torch.cuda.is_available():
        # DeepSpeed, which transformers imports when it is installed, otherwise says so on stdout.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")

    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
