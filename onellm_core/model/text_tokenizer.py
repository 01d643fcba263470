"""The language model's tokenizer: from a folder, a SentencePiece file, or made of bytes."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from onellm_data.errors import UsageError

BYTE_CHAT_TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def load_text_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """A tokenizer from a folder, or from a SentencePiece ``tokenizer.model`` of a LLaMA.

    Raises:
        UsageError: There is no tokenizer that can be read.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected a tokenizer.model file or a tokenizer's folder")
    try:
        if path.is_dir():
            return AutoTokenizer.from_pretrained(path)
        with tempfile.TemporaryDirectory() as folder:
            shutil.copyfile(path, Path(folder, "tokenizer.model"))
            Path(folder, "tokenizer_config.json").write_text(
                json.dumps({"tokenizer_class": "LlamaTokenizer"})
            )
            return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise UsageError(
            f"{path} holds no tokenizer that can be read ({error}); expected a SentencePiece "
            "tokenizer.model file, or a folder with tokenizer.json"
        ) from error


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose 256 tokens are bytes, after ``<s>``, ``</s>`` and ``<pad>``; needs no file."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["<s>", "</s>", "<pad>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=BYTE_CHAT_TEMPLATE,
    )
