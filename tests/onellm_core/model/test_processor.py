"""Text around signals: what is tokenized, what is learned, what is read once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

from onellm_core import OneLLMForConditionalGeneration, OneLLMProcessor
from onellm_core.model.processor import TrainingSample
from onellm_core.model.splice import IGNORE_INDEX
from onellm_data import modalities
from onellm_data.errors import UsageError
from onellm_data.records import Turn

TURNS = [Turn("user", "Q?"), Turn("assistant", "An answer."), Turn("user", "R?"), Turn("assistant", "Yes.")]


def with_template(folder: Path, name: str) -> OneLLMProcessor:
    return OneLLMProcessor.from_pretrained(folder, template=name)


def learned(processor: OneLLMProcessor, turns: list[Turn]) -> list[str]:
    """The stretches of text that labels cover."""
    ids, labels = processor.training_ids(turns)
    assert len(ids) == len(labels)
    assert all(label in (token, IGNORE_INDEX) for token, label in zip(ids, labels, strict=True))
    runs: list[list[int]] = [[]]
    for label in labels:
        if label == IGNORE_INDEX:
            runs.append([])
        else:
            runs[-1].append(label)
    return [processor.tokenizer.decode(run) for run in runs if run]


def test_chat_labels_cover_answers_and_their_end_tokens(tiny: Path) -> None:
    assert learned(with_template(tiny, "chat"), TURNS) == ["An answer.</s>", "Yes.</s>"]


def test_onellm_labels_cover_answers_and_the_mark_that_ends_them(tiny: Path) -> None:
    processor = with_template(tiny, "onellm")
    assert learned(processor, TURNS) == [" An answer.\n###", " Yes.\n###"]
    ids, _ = processor.training_ids(TURNS)
    text = processor.tokenizer.decode(ids[1:])
    assert text.endswith("### Human: Q?\n### Assistant: An answer.\n### Human: R?\n### Assistant: Yes.\n###")
    assert text.startswith("A chat between a curious human and an artificial intelligence assistant. ")


def test_caption_labels_cover_the_caption_and_the_end_token(tiny: Path) -> None:
    processor = with_template(tiny, "caption")
    ids, labels = processor.training_ids([Turn("user", ""), Turn("assistant", "A cat.")])
    assert processor.tokenizer.decode(ids) == "<s>A cat.</s>"
    assert labels == [IGNORE_INDEX, *ids[1:]]
    assert learned(processor, [Turn("user", "What?"), Turn("assistant", "A cat.")]) == ["A cat.</s>"]


@pytest.mark.parametrize("template", ["chat", "onellm", "caption"])
@settings(max_examples=30, deadline=None)
@given(question=st.text(max_size=20), answer=st.text(min_size=1, max_size=20))
def test_a_prompt_is_what_training_showed_before_the_answer(
    tiny: Path, template: str, question: str, answer: str
) -> None:
    processor = with_template(tiny, template)
    ids, labels = processor.training_ids([Turn("user", question), Turn("assistant", answer)])
    prompt = processor.prompt_ids(question)
    assert ids[: len(prompt)] == prompt
    assert labels[: len(prompt)] == [IGNORE_INDEX] * len(prompt)
    assert labels[len(prompt)] == ids[len(prompt)]


@pytest.mark.parametrize("template", ["chat", "onellm", "caption"])
def test_a_sample_with_nothing_to_learn_is_an_error(tiny: Path, template: str) -> None:
    turns = [Turn("user", "Q?"), Turn("assistant", "")] if template == "caption" else [Turn("user", "Q?")]
    with pytest.raises(UsageError, match="no answer to learn"):
        with_template(tiny, template).training_ids(turns)


def test_captions_are_no_conversation(tiny: Path) -> None:
    with pytest.raises(UsageError, match="one prompt, got a conversation of 3 turns"):
        with_template(tiny, "caption").training_ids(TURNS)


def test_a_chat_template_that_rewrites_earlier_turns_is_refused(tiny: Path) -> None:
    processor = with_template(tiny, "chat")
    processor.tokenizer.chat_template = "{{ messages | length }}" + processor.tokenizer.chat_template
    with pytest.raises(UsageError, match="renders a turn differently when others follow it"):
        processor.training_ids(TURNS)


def test_a_start_token_that_the_template_writes_is_not_doubled(tiny: Path) -> None:
    processor = with_template(tiny, "chat")
    plain = processor.prompt_ids("Hi")
    processor.tokenizer.chat_template = "<s>" + processor.tokenizer.chat_template
    assert processor.prompt_ids("Hi") == plain
    assert plain.count(processor.start_id) == 1


def test_without_a_start_token_the_chats_first_token_starts(tiny: Path) -> None:
    tokenizer = with_template(tiny, "chat").tokenizer
    tokenizer.bos_token = None
    processor = OneLLMProcessor(tokenizer, {}, "caption")
    assert processor.start_id == tokenizer("[").input_ids[0]


def test_decoding_ends_at_the_templates_stop(tiny: Path) -> None:
    processor = with_template(tiny, "onellm")
    ids = processor.tokenizer(" Yes, it is.\n### Human: and").input_ids
    assert processor.decode(ids) == "Yes, it is."
    assert processor.stopping()["stop_strings"] == ["\n###"]


def test_a_file_that_several_samples_name_is_one_row(tiny_processor: OneLLMProcessor, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(6, 400)).astype(np.float32))
    a, b = str(tmp_path / "a.npy"), tmp_path / "b.npy"
    inputs = tiny_processor(["1", "2", "3"], [{"imu": a}, [("imu", b), ("imu", a)], {}])
    assert inputs["signals"]["imu"].shape == (2, 6, 400)
    assert inputs["blocks"] == [[("imu", 0)], [("imu", 1), ("imu", 0)], []]
    declared = modalities.get("imu")
    options = tiny_processor.modalities["imu"]["input"]
    expected = declared.to_input(declared.read([b]), options)
    assert np.array_equal(inputs["signals"]["imu"][1].numpy(), expected)


def test_chat_turns_and_batches_of_them(tiny_processor: OneLLMProcessor) -> None:
    chat = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Ho"},
        {"role": "user", "content": "?"},
    ]
    one = tiny_processor(chat)
    two = tiny_processor([chat, "Hi"])
    assert tiny_processor.tokenizer.decode(one["input_ids"][0]).endswith(
        "[user]Hi[assistant]Ho</s>[user]?[assistant]"
    )
    assert torch.equal(two["input_ids"][0], one["input_ids"][0])
    padding = (two["attention_mask"][1] == 0).sum().item()
    assert two["attention_mask"][1].tolist() == [0] * padding + [1] * (len(one["input_ids"][0]) - padding)


@pytest.mark.parametrize(
    ("text", "signals", "message"),
    [
        (["a", "b"], {"imu": "x"}, "got 2 texts and one mapping of signals"),
        (["a", "b"], [{}], "got 2 texts and 1 of signals"),
        ("a", {"fmri": "x"}, "does not read 'fmri'; it reads: audio, image, imu"),
        ("a", {"imu": ["x", "y"]}, r"one imu signal is 1 file\(s\) \(signal\), got 2: x, y"),
    ],
)
def test_wrong_batches_are_refused(
    tiny_processor: OneLLMProcessor, text: object, signals: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        tiny_processor(text, signals)


def test_training_batch_pads_on_the_right(tiny: Path) -> None:
    processor = with_template(tiny, "caption")
    signal = np.zeros((6, 400), np.float32)
    samples = [TrainingSample.of_caption([("imu", signal + i)], "a" * (2 + 3 * i), "Q") for i in range(2)]
    batch = processor.training_batch(samples)
    assert batch["attention_mask"].tolist() == [[1] * 6 + [0] * 3, [1] * 9]
    assert batch["labels"][0].tolist()[:3] == [IGNORE_INDEX] * 3
    assert batch["labels"][0].tolist()[6:] == [IGNORE_INDEX] * 3
    assert torch.equal(batch["signals"]["imu"], torch.from_numpy(np.stack([signal, signal + 1])))
    assert batch["blocks"] == [[("imu", 0)], [("imu", 1)]]


def test_auto_classes_know_the_folder(tiny: Path) -> None:
    assert type(AutoConfig.from_pretrained(tiny)).__name__ == "OneLLMConfig"
    assert isinstance(AutoModelForCausalLM.from_pretrained(tiny), OneLLMForConditionalGeneration)
    assert isinstance(AutoProcessor.from_pretrained(tiny), OneLLMProcessor)


def test_saved_and_loaded_is_the_same(
    tiny_model: OneLLMForConditionalGeneration, tiny_processor: OneLLMProcessor, tmp_path: Path
) -> None:
    tiny_model.save_pretrained(tmp_path)
    OneLLMProcessor(tiny_processor.tokenizer, tiny_processor.modalities, "caption").save_pretrained(tmp_path)
    again = OneLLMForConditionalGeneration.from_pretrained(tmp_path)
    assert again.config.to_diff_dict() == tiny_model.config.to_diff_dict()
    ours, theirs = tiny_model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert OneLLMProcessor.from_pretrained(tmp_path).template.name == "caption"


def test_new_models_are_reproducible_and_seeds_differ(make_tiny: Callable[..., Path]) -> None:
    folders = [make_tiny(modalities=("imu",), seed=seed) for seed in (1, 1, 2)]
    one, same, other = ((folder / "model.safetensors").read_bytes() for folder in folders)
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"modalities": ("imux",)}, "unknown modality 'imux'; did you mean 'imu'?"),
        ({"settings": {"imu.rat": 40}}, "unknown option of the modality 'imu' 'rat'; did you mean 'rate'?"),
        ({"settings": {"video.size": 40}}, "unknown modality of this model 'video'"),
        ({"settings": {"imu": 40}}, "got the setting 'imu'; expected MODALITY.OPTION=VALUE"),
        ({"encoder": "ViT-B-33"}, "unknown encoder 'ViT-B-33'; did you mean 'ViT-B-32'?"),
        ({"encoder": "RN50"}, "'RN50' is not a plain vision transformer"),
        (
            {"llm": "/nowhere", "offline": True},
            "'/nowhere' is not a causal language model that can be loaded",
        ),
        ({"encoder_weights": Path("/nowhere.safetensors")}, "/nowhere.safetensors does not exist"),
    ],
)
def test_a_new_model_of_impossible_things_is_refused(
    make_tiny: Callable[..., Path], fields: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make_tiny(**{"modalities": ("imu",), **fields})


def test_encoder_weights_fill_the_tower_exactly(make_tiny: Callable[..., Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    first = make_tiny(modalities=("imu",), seed=1)
    tower = {
        name.removeprefix("encoder.tower."): value
        for name, value in load_file(first / "model.safetensors").items()
        if name.startswith("encoder.")
    }
    path = tmp_path / "clip.safetensors"
    save_file(
        {f"visual.{name}": value for name, value in tower.items()} | {"logit_scale": torch.ones(1)}, path
    )
    second = load_file(make_tiny(modalities=("imu",), seed=2, encoder_weights=path) / "model.safetensors")
    assert all(torch.equal(second[f"encoder.tower.{name}"], value) for name, value in tower.items())
    tower.pop("ln_post.bias")
    save_file(tower, path)
    with pytest.raises(UsageError, match=r"missing \(1\):\n    ln_post.bias"):
        make_tiny(modalities=("imu",), encoder_weights=path)


def test_new_tokens_are_as_large_as_words(tiny_model: OneLLMForConditionalGeneration) -> None:
    words = tiny_model.get_input_embeddings().weight.square().mean().sqrt()
    with torch.no_grad():
        tokens = tiny_model.block("imu", torch.randn(1, 6, 400)).square().mean().sqrt()
    assert 0.5 < tokens / words < 2
