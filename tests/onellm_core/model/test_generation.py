"""Decoding equals training: with a cache, in a batch, with any neighbours; and it ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onellm_core import OneLLMForConditionalGeneration, OneLLMProcessor
from onellm_data.errors import UsageError

SEED = np.random.default_rng(5)
GREEDY = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}

SAMPLES = [
    ("What moves?", [("imu", SEED.normal(size=(6, 2000)).astype(np.float32))]),
    ("Hi", []),
    (
        "What is to be seen here, and what is to be heard? Tell me everything.",
        [
            ("image", SEED.integers(0, 255, (40, 30, 3), dtype=np.uint8)),
            ("audio", SEED.normal(size=16000).astype(np.float32) / 10),
        ],
    ),
    (
        "And the other way round?",
        [
            ("audio", SEED.normal(size=8000).astype(np.float32) / 10),
            ("image", SEED.integers(0, 255, (30, 50, 3), dtype=np.uint8)),
            ("image", SEED.integers(0, 255, (28, 28, 3), dtype=np.uint8)),
        ],
    ),
]


def test_cached_decoding_equals_a_full_forward_pass(
    tiny_model: OneLLMForConditionalGeneration, tiny_processor: OneLLMProcessor
) -> None:
    for text, signals in SAMPLES:
        inputs = tiny_processor(text, signals)
        cached = tiny_model.generate(**inputs, **GREEDY)
        ids = inputs["input_ids"]
        for t in range(GREEDY["max_new_tokens"]):
            with torch.no_grad():
                logits = tiny_model(ids, signals=inputs["signals"], blocks=inputs["blocks"]).logits[0, -1]
            # min_new_tokens forbids the end token.
            logits[tiny_processor.tokenizer.eos_token_id] = -torch.inf
            assert logits.argmax() == cached[0, t], f"token {t} of {text!r}"
            ids = torch.cat([ids, cached[:, t : t + 1]], dim=1)


def test_a_mixed_batch_answers_as_one_by_one(
    tiny_model: OneLLMForConditionalGeneration, tiny_processor: OneLLMProcessor
) -> None:
    texts, signals = [s[0] for s in SAMPLES], [s[1] for s in SAMPLES]
    together = tiny_model.generate(**tiny_processor(texts, signals), **GREEDY)
    for row, (text, own) in zip(together, SAMPLES, strict=True):
        alone = tiny_model.generate(**tiny_processor(text, own), **GREEDY)
        assert torch.equal(row, alone[0]), text


def test_generation_stops_at_the_end_token(
    tiny_model: OneLLMForConditionalGeneration, tiny_processor: OneLLMProcessor
) -> None:
    inputs = tiny_processor(SAMPLES[0][0], SAMPLES[0][1])
    first = tiny_model.generate(**inputs, **GREEDY)[0]
    # Whatever the model says third becomes the end token.
    end = first[2].item()
    ends_at = first.tolist().index(end)
    answer = tiny_model.generate(
        **inputs, max_new_tokens=8, do_sample=False, eos_token_id=end, pad_token_id=2
    )
    assert answer[0].tolist() == first[: ends_at + 1].tolist()


def test_signals_change_the_answer_and_keep_their_order(
    tiny_model: OneLLMForConditionalGeneration, tiny_processor: OneLLMProcessor
) -> None:
    text, signals = SAMPLES[2]
    with torch.no_grad():
        one = tiny_model(**tiny_processor(text, signals)).logits[0, -1]
        other = tiny_model(**tiny_processor(text, signals[::-1])).logits[0, -1]
        none = tiny_model(**tiny_processor(text)).logits[0, -1]
    assert not torch.allclose(one, other)
    assert not torch.allclose(one, none)


def test_default_blocks_are_one_of_each_modality_for_each_text(
    tiny_model: OneLLMForConditionalGeneration, tiny_processor: OneLLMProcessor
) -> None:
    inputs = tiny_processor([SAMPLES[2][0]] * 2, [SAMPLES[2][1]] * 2)
    assert inputs["blocks"] == [[("image", 0), ("audio", 0)]] * 2, "equal signals are one row"
    signals = {name: rows.expand(2, *rows.shape[1:]) for name, rows in inputs["signals"].items()}
    mask = inputs["attention_mask"]
    with torch.no_grad():
        explicit = tiny_model(**inputs).logits
        default = tiny_model(inputs["input_ids"], attention_mask=mask, signals=signals).logits
        torch.testing.assert_close(explicit, default)
    with pytest.raises(UsageError, match=r"signals\['image'\] has 1 rows for 2 texts"):
        tiny_model(inputs["input_ids"], signals={"image": signals["image"][:1]})


def test_logits_to_keep_gives_the_last_and_the_same_loss(
    tiny_model: OneLLMForConditionalGeneration, tiny_processor: OneLLMProcessor
) -> None:
    inputs = tiny_processor(*SAMPLES[0])
    labels = inputs["input_ids"].clone()
    labels[:, :-4] = -100
    with torch.no_grad():
        whole = tiny_model(**inputs, labels=labels)
        last = tiny_model(**inputs, labels=labels, logits_to_keep=5)
    torch.testing.assert_close(last.logits, whole.logits[:, -5:])
    torch.testing.assert_close(last.loss, whole.loss)
    expected = torch.nn.functional.cross_entropy(whole.logits[0, -5:-1], labels[0, -4:])
    torch.testing.assert_close(whole.loss, expected)


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        ({"imux": torch.zeros(1, 6, 400)}, "this model does not read 'imux'; it reads: audio, image, imu"),
        ({"imu": torch.zeros(1, 400, 6)}, r"inputs has the shape \[1, 400, 6\]; expected \[batch, 6, 400\]"),
    ],
)
def test_wrong_signals_are_refused(
    tiny_model: OneLLMForConditionalGeneration, signals: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        tiny_model(torch.ones(1, 3, dtype=torch.long), signals=signals)
