"""Answers a second of ``onellm infer`` with batches against one by one, in the same run.

    python benchmarks/infer_batching.py MODEL [float32|bfloat16]

MODEL is a model folder that reads motion (``onellm init MODEL --preset smol --modalities imu``);
its training does not matter.  32 requests with prompts of 1 to 60 words about 8 recordings; every
answer has 32 tokens, so that both sides do the same work, and in float32 both must answer alike.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onellm_cli.quiet import quiet_libraries

REQUESTS, RECORDINGS, NEW_TOKENS = 32, 8, 32
LIMIT_RATIO = 3.0


def main(folder: str, dtype: str = "float32") -> None:
    """Print the table; end with 1 below the limit."""
    quiet_libraries(offline=True)
    from onellm_core.inference.local import LocalEngine
    from onellm_core.inference.requests import Answer, Request
    from onellm_core.inference.sampling import Sampling
    from onellm_data.records import Turn

    rng = np.random.default_rng(0)
    words = ["what", "does", "the", "person", "who", "carries", "this", "sensor", "do", "at", "first", "then"]
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name, f"{i}.npy") for i in range(RECORDINGS)]
        for file in files:
            np.save(file, rng.normal(size=(6, 400)).astype(np.float32))
        requests = [
            Request(
                i,
                (("imu", (files[i % RECORDINGS],)),),
                (Turn("user", " ".join(rng.choice(words, rng.integers(1, 61)))),),
            )
            for i in range(REQUESTS)
        ]
        engine = LocalEngine.load(Path(folder), dtype=dtype)
        # An end token that no answer holds: every answer has NEW_TOKENS.
        stopping = engine.processor.stopping()
        engine.processor.stopping = lambda: stopping | {"eos_token_id": [], "min_new_tokens": NEW_TOKENS}

        def timed(batch_size: int, asked: Sequence[Request]) -> tuple[float, list[Answer]]:
            engine.batch_size = batch_size
            engine._blocks.clear()
            begin = time.perf_counter()
            answers = list(engine.answers(asked, Sampling(max_new_tokens=NEW_TOKENS)))
            return time.perf_counter() - begin, answers

        timed(1, requests[:1])  # what is slow only once
        batched, together = timed(REQUESTS, requests)
        single, alone = timed(1, requests)
    alike = sum(one == other for one, other in zip(together, alone, strict=True))
    print(f"{REQUESTS} requests, {NEW_TOKENS} new tokens each, {dtype}")
    fast, slow = REQUESTS / batched, REQUESTS / single
    print(f"{'what':<22}{f'batches of {REQUESTS}':>16}{'one by one':>14}{'ratio':>8}")
    print(f"{'answers a second':<22}{fast:>16.2f}{slow:>14.2f}{fast / slow:>8.1f}")
    print(f"answers alike: {alike} of {REQUESTS}")
    if single / batched < LIMIT_RATIO:
        sys.exit(f"batches are less than {LIMIT_RATIO} times as fast")
    if dtype == "float32" and alike < REQUESTS:
        sys.exit("batches change answers")


if __name__ == "__main__":
    main(*sys.argv[1:])
