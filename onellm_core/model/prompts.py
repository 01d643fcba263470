"""How text stands around a signal: the LLM's chat template, OneLLM's ``###`` template, plain captions.

A template renders turns to text and says which stretches of characters are answers, so that
labels come from positions and never from searching the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from onellm_data.errors import UsageError, unknown
from onellm_data.records import Turn

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the human's questions."
)
"""The system line of the published model's template (its weights were trained on these words)."""

_SPEAKERS = {"user": "### Human: ", "assistant": "### Assistant: "}


@dataclass(frozen=True)
class Rendered:
    """A text and the stretches of it that are learned.

    Attributes:
        text: What is tokenized; the start token is put before it if it does not open with it.
        answers: Character ranges (start, end) that the model is to say.
        ends: Whether the tokenizer's end token follows, and is learned too.
    """

    text: str
    answers: tuple[tuple[int, int], ...] = ()
    ends: bool = False


class CaptionTemplate:
    """A caption and the end token, after an optional prompt on a line of its own."""

    name = "caption"
    stop_strings: tuple[str, ...] = ()

    def prompt(self, turns: Sequence[Turn]) -> str:
        """The text to be continued.

        Raises:
            UsageError: More than one turn: captions are no conversation.
        """
        if len(turns) != 1:
            raise UsageError(
                f"the caption template takes one prompt, got a conversation of {len(turns)} turns; "
                "use the chat or onellm template for conversations"
            )
        return f"{turns[0].text}\n" if turns[0].text else ""

    def render(self, turns: Sequence[Turn]) -> Rendered:
        """Prompt and caption; only the caption and the end token are learned."""
        prompt = self.prompt(turns[:-1])
        text = prompt + turns[-1].text
        return Rendered(text, ((len(prompt), len(text)),), ends=True)


class OneLLMTemplate:
    """The published model's template: a system line, then ``### Human:`` and ``### Assistant:`` turns.

    The same at training and at inference: a blank stands before each question and each answer.
    """

    name = "onellm"
    stop_strings = ("\n###",)

    def prompt(self, turns: Sequence[Turn]) -> str:
        """The text up to where the assistant speaks."""
        return self.render(turns).text + " Assistant:"

    def render(self, turns: Sequence[Turn]) -> Rendered:
        """All turns; the answers with the ``###`` that ends each are learned."""
        text = f"{SYSTEM}\n\n"
        answers = []
        for turn in turns:
            # The blank before an answer belongs to it: a prompt ends with the colon.
            text += _SPEAKERS[turn.role]
            start = len(text) - 1
            text += f"{turn.text}\n"
            if turn.role == "assistant":
                answers.append((start, len(text) + len("###")))
        return Rendered(text + "###", tuple(answers))


class ChatTemplate:
    """The language model's own chat template."""

    name = "chat"
    stop_strings: tuple[str, ...] = ()

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.chat_template:
            raise UsageError("the language model's tokenizer has no chat template; use the onellm template")
        self.tokenizer = tokenizer

    def prompt(self, turns: Sequence[Turn]) -> str:
        """The text up to where the assistant speaks."""
        return self._render(turns, add_generation_prompt=True)

    def render(self, turns: Sequence[Turn]) -> Rendered:
        """All turns; the answers with the end token of each are learned.

        Raises:
            UsageError: The template renders a turn differently when others follow it.
        """
        text = self._render(turns)
        answers = []
        for i, turn in enumerate(turns):
            if turn.role != "assistant":
                continue
            before = self.prompt(turns[:i])
            through = self._render(turns[: i + 1]).rstrip()
            if not (text.startswith(before) and text.startswith(through)):
                raise UsageError(
                    "the chat template renders a turn differently when others follow it, so answers "
                    "cannot be told from questions; use the onellm template"
                )
            answers.append((len(before), len(through)))
        return Rendered(text, tuple(answers))

    def _render(self, turns: Sequence[Turn], add_generation_prompt: bool = False) -> str:
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        assert isinstance(text, str)
        return text


Template = CaptionTemplate | OneLLMTemplate | ChatTemplate

TEMPLATES = ("chat", "onellm", "caption")


def build_template(name: str, tokenizer: PreTrainedTokenizerBase) -> Template:
    """The template called ``name``.

    Raises:
        UsageError: There is none, or the tokenizer has no chat template.
    """
    if name == "chat":
        return ChatTemplate(tokenizer)
    if name == "onellm":
        return OneLLMTemplate()
    if name == "caption":
        return CaptionTemplate()
    raise unknown("template", name, TEMPLATES)
