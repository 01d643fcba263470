"""Captions and conversations."""

from __future__ import annotations

from typing import Any

import pytest

from onellm_data.errors import SignalError
from onellm_data.records import Turn
from onellm_data.sources.folder import NO_CAPTION, NOT_UTF8, WRONG_VALUE
from onellm_data.sources.texts import (
    NOT_IN_TURN,
    UNKNOWN_ROLE,
    captions_of,
    check_text,
    identity,
    turns_of,
    without_tags,
)


def test_captions_are_on_one_line_and_blank_ones_left_out() -> None:
    assert captions_of(["one\n", " ", None, "two \t lines\r\nof text"]) == ("one", "two lines of text")


@pytest.mark.parametrize(
    ("values", "reason"),
    [([], NO_CAPTION), (["", None], NO_CAPTION), (["a", 5], WRONG_VALUE), (["a\0"], WRONG_VALUE)],
)
def test_no_captions(values: list[object], reason: str) -> None:
    with pytest.raises(SignalError) as caught:
        captions_of(values)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<image>\nWhat?", "What?"),
        ("What?\n<image>", "What?"),
        ("<video><audio>\nWhat?", "What?"),
        ("Look at <image> and tell", "Look at and tell"),
        ("one\n<image>\ntwo", "one\ntwo"),
        ("<image><image>", ""),
        ("a <Image> of <point>", "a <Image> of <point>"),
    ],
)
def test_placeholders_are_taken_out(text: str, expected: str) -> None:
    assert without_tags(text, ["image", "video", "audio"]) == expected


def test_a_conversation() -> None:
    told = [
        {"from": "HUMAN", "value": " Q "},
        {"from": "assistant", "value": "A\n"},
        {"from": "user", "value": "R"},
    ]
    assert turns_of(told) == (Turn("user", "Q"), Turn("assistant", "A"), Turn("user", "R"))


@pytest.mark.parametrize(
    ("roles", "reason"),
    [
        ([], NOT_IN_TURN),
        (["human"], NOT_IN_TURN),
        (["gpt", "human"], NOT_IN_TURN),
        (["human", "gpt", "gpt"], NOT_IN_TURN),
        (["human", "system"], UNKNOWN_ROLE),
        (["human", None], UNKNOWN_ROLE),
        (["human", 5], WRONG_VALUE),
    ],
)
def test_no_conversation(roles: list[Any], reason: str) -> None:
    with pytest.raises(SignalError) as caught:
        turns_of([{"from": role, "value": "x"} for role in roles])
    assert caught.value.reason == reason


def test_an_identity_is_text_or_a_whole_number() -> None:
    assert (identity(0, "id"), identity(" a ", "id")) == ("0", "a")
    for value in (None, "", 1.5, True, []):
        with pytest.raises(
            SignalError, match=r"wrong value: got .* in 'id'|wrong value: got nothing in 'id'"
        ):
            identity(value, "id")


@pytest.mark.parametrize(("value", "reason"), [("\ud800", NOT_UTF8), ({"a": float("nan")}, WRONG_VALUE)])
def test_text_that_cannot_be_written(value: object, reason: str) -> None:
    with pytest.raises(SignalError) as caught:
        check_text("good", value)
    assert caught.value.reason == reason
