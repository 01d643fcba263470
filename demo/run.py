"""The demo: a language model learns to say what a smart watch felt; nothing is precomputed.

    make demo

Each command is printed as you would type it and then run, from the repository's root. It starts
from nothing each time: demo-run/ is removed first.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from score import digest, exact_matches, linear_answers, recordings

ROOT = Path(__file__).parents[1]
OUT = Path("demo-run")
QUESTION = "Describe the motion."
ONELLM = Path(sys.executable).with_name("onellm")


def onellm(command: str) -> None:
    """Print a command, run it, print how long it took; end the demo where it fails."""
    print(f"\n$ onellm {command}", flush=True)
    begin = time.monotonic()
    code = subprocess.run([str(ONELLM), *shlex.split(command)], check=False).returncode
    if code:
        sys.exit(f"the demo ends here: the command above left with exit code {code}")
    print(f"  [{time.monotonic() - begin:.0f} s]", flush=True)


def write_requests(path: Path, files: list[Path]) -> None:
    """One request for each recording: the same question about another file."""
    lines = [json.dumps({"signals": {"imu": os.path.relpath(file)}, "prompt": QUESTION}) for file in files]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_answers(path: Path) -> list[str]:
    """The answers, in the order of the requests; a request that failed has none."""
    return [json.loads(line).get("answer", "") for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Run the commands and print the table."""
    os.chdir(ROOT)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    begin = time.monotonic()
    model, trained = OUT / "model", OUT / "run" / "model"
    onellm(f"init {model} --preset smol --modalities imu --set imu.rate=40")
    before = {part: digest(model, part) for part in ("llm", "encoder")}
    onellm(f"prepare imu --src demo/motions --out {OUT}/shards")
    onellm("train --config configs/quickstart/motion.yaml")

    train, test = recordings("train"), recordings("test")
    files, captions = [file for file, _ in test], [caption for _, caption in test]
    write_requests(OUT / "requests.jsonl", files)
    print(f"\n{OUT}/requests.jsonl asks about the {len(files)} held-out recordings; its first line:")
    print((OUT / "requests.jsonl").read_text(encoding="utf-8").splitlines()[0])
    onellm(f"infer --model {trained} --input {OUT}/requests.jsonl --output {OUT}/answers.jsonl")
    onellm(f'infer --model {trained} --imu {os.path.relpath(files[20])} "{QUESTION}"')

    answers = read_answers(OUT / "answers.jsonl")
    linear = linear_answers(train, files)
    kinds = len(set(captions))
    print(f"\nheld-out recordings answered exactly right, of {len(files)}")
    for name, right in (
        ("onellm, generated answers", exact_matches(answers, captions)),
        ("linear model on each channel's mean and spread", exact_matches(linear, captions)),
        (f"chance (one of {kinds} captions)", len(files) / kinds),
    ):
        print(f"  {name:<50}{right:>5g}  {right / len(files):6.1%}")

    print("\nSHA-256 of the frozen tensors in the two folders' files, before and after training")
    for part, old in before.items():
        new = digest(trained, part)
        print(f"  {part:<8} {old[:32]}  {new[:32]}  {'identical' if old == new else 'CHANGED'}")
        if old != new:
            sys.exit(f"the part '{part}' is frozen and has changed: this is a defect of onellm")
    print(f"\ndone in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
