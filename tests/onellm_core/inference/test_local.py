"""The local engine: answers in order, each file encoded once, neighbours without influence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from onellm_core.inference.local import LocalEngine, TextStream
from onellm_core.inference.requests import Failed, Request
from onellm_core.inference.sampling import GumbelNoise, Sampling
from onellm_core.model.processor import OneLLMProcessor
from onellm_data.errors import OnellmError, UsageError
from onellm_data.records import Turn

SHORT = Sampling(max_new_tokens=6)


@pytest.fixture
def motions(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.npy" for i in range(3)]
    for path in paths:
        np.save(path, rng.normal(size=(6, 400)).astype(np.float32))
    return paths


@pytest.fixture
def engine(tiny: Path) -> LocalEngine:
    return LocalEngine.load(tiny, device="cpu", batch_size=4)


def ask(number: int, text: str, *files: Path) -> Request:
    return Request(number, tuple(("imu", (file,)) for file in files), (Turn("user", text),))


def requests(motions: list[Path]) -> list[Request]:
    return [ask(i, "x" * (i * 7 % 23), *motions[: i % 3]) for i in range(11)]


def test_answers_come_in_order_and_equal_those_one_by_one(engine: LocalEngine, motions: list[Path]) -> None:
    asked = requests(motions)
    together = list(engine.answers(asked, SHORT))
    assert [answer.id for answer in together] == list(range(11))
    assert together == [answer for one in asked for answer in engine.answers([one], SHORT)]
    assert len({answer.text for answer in together}) >= 3, "the requests are too alike to prove anything"


def test_each_distinct_file_is_encoded_once(
    engine: LocalEngine, motions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []
    block = engine.model.block
    monkeypatch.setattr(engine.model, "block", lambda name, x: encoded.append(len(x)) or block(name, x))
    list(engine.answers(requests(motions) * 2, SHORT))
    assert sum(encoded) == 2, "two files are named by any request"


def test_the_cache_is_bounded(
    engine: LocalEngine, motions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onellm_core.inference.local.CACHED_SIGNALS", 1)
    first = list(engine.answers([ask(i, "?", motion) for i, motion in enumerate(motions)], SHORT))
    assert len(engine._blocks) == 1
    assert first == list(engine.answers([ask(i, "?", motion) for i, motion in enumerate(motions)], SHORT))


def test_bad_requests_are_error_lines_and_the_rest_is_answered(
    engine: LocalEngine, motions: list[Path], tmp_path: Path
) -> None:
    asked = [
        ask(0, "?", motions[0]),
        ask(1, "?", tmp_path / "absent.npy"),
        Failed(2, UsageError("no request")),
        Request(3, (("fmri", (motions[0],)),), (Turn("user", "?"),)),
        ask(4, "?", motions[1]),
    ]
    answers = list(engine.answers(asked, SHORT))
    assert [answer.error is None for answer in answers] == [True, False, False, False, True]
    assert "absent.npy" in str(answers[1].error)
    assert answers[2].error == "no request"
    assert "does not read 'fmri'; it reads: audio, image, imu" in str(answers[3].error)


def test_requests_are_read_as_they_are_needed(engine: LocalEngine) -> None:
    read = []
    source = (read.append(i) or ask(i, "?") for i in range(1000))
    next(engine.answers(source, SHORT))
    assert len(read) == 32, "one window: 8 batches of 4"


def test_sampled_answers_do_not_depend_on_their_neighbours(engine: LocalEngine, motions: list[Path]) -> None:
    sampling = Sampling(max_new_tokens=6, temperature=1.0, top_p=0.9, seed=3)
    asked = [ask(i, "?", motions[0]) for i in range(4)]
    together = list(engine.answers(asked, sampling))
    engine.batch_size = 1
    assert together == list(engine.answers(asked, sampling))
    assert len({answer.text for answer in together}) > 1, "each request draws for itself"
    again = Sampling(max_new_tokens=6, temperature=1.0, top_p=0.9, seed=4)
    assert together != list(engine.answers(asked, again))


def test_gumbel_noise_draws_from_the_softmax() -> None:
    probabilities = torch.tensor([0.6, 0.3, 0.1, 0.0])
    noise = GumbelNoise([7])
    draws = torch.stack([noise(torch.zeros(1, 0), probabilities.log()[None]).argmax() for _ in range(4000)])
    shares = torch.bincount(draws, minlength=4) / 4000
    # Four standard deviations of a share of 4000 draws.
    assert (shares - probabilities).abs().max() < 4 * (0.25 / 4000) ** 0.5
    assert shares[3] == 0


def test_streamed_pieces_are_the_answer(engine: LocalEngine, motions: list[Path]) -> None:
    pieces: list[str] = []
    request = ask(0, "What?", motions[0])
    text = engine.stream(request, Sampling(max_new_tokens=30), pieces.append)
    assert "".join(pieces) == text
    assert text == next(iter(engine.answers([request], Sampling(max_new_tokens=30)))).text


def test_stream_of_an_unreadable_file_is_an_error(engine: LocalEngine, tmp_path: Path) -> None:
    with pytest.raises(OnellmError, match="absent"):
        engine.stream(ask(0, "?", tmp_path / "absent.npy"), SHORT, print)


def test_a_stream_never_shows_what_may_become_the_stop(tiny: Path) -> None:
    processor = OneLLMProcessor.from_pretrained(tiny, template="onellm")
    shown: list[str] = []
    stream = TextStream(processor, shown.append)
    stream.put(torch.zeros(1, 0, dtype=torch.long))
    for token in processor.tokenizer(" Größe 1.\n### Hum").input_ids:
        stream.put(torch.tensor([token]))
    stream.end()
    assert "".join(shown) == "Größe 1."


def test_stop_strings_end_an_answer(make_tiny: Callable[..., Path]) -> None:
    engine = LocalEngine.load(make_tiny(modalities=("imu",)), device="cpu", template="onellm")
    script = engine.processor.tokenizer(" Yes.\n### Human: more").input_ids

    def says_the_script(*args: object, **kwargs: object) -> object:
        output = forward(*args, **kwargs)
        output.logits[:, -1] = (
            torch.nn.functional.one_hot(torch.tensor(script[len(said)]), len_vocabulary) * 99.0
        )
        said.append(script[len(said)])
        return output

    said: list[int] = []
    forward, len_vocabulary = engine.model.llm.forward, engine.model.config.text_config.vocab_size
    engine.model.llm.forward = says_the_script
    (answer,) = engine.answers([ask(0, "?")], Sampling(max_new_tokens=20))
    assert answer.text == "Yes."
    assert engine.processor.tokenizer.decode(said) == " Yes.\n###"


def test_an_unknown_device_is_refused(tiny: Path) -> None:
    with pytest.raises(UsageError, match="cannot use the device 'cudax'"):
        LocalEngine.load(tiny, device="cudax")
