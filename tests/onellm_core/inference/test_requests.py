"""Request lines: what is read, what is refused, and that nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onellm_core.inference.batching import batches, windows
from onellm_core.inference.requests import Answer, Failed, Request, read_requests
from onellm_data.records import Turn


def one(line: str) -> Request | Failed:
    (request,) = read_requests([line])
    return request


def test_a_request_with_everything() -> None:
    line = {
        "id": {"any": 1},
        "signals": [{"imu": "a.csv", "depth": ["rgb.png", "map.png"]}, {"imu": "b.csv"}],
        "messages": [
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": "A"},
            {"role": "user", "content": "R"},
        ],
    }
    assert one(json.dumps(line)) == Request(
        {"any": 1},
        (("imu", (Path("a.csv"),)), ("depth", (Path("rgb.png"), Path("map.png"))), ("imu", (Path("b.csv"),))),
        (Turn("user", "Q"), Turn("assistant", "A"), Turn("user", "R")),
    )


def test_what_is_left_out_has_a_default() -> None:
    assert list(read_requests(["\n", '{"prompt": "Q"}'])) == [Request(2, (), (Turn("user", "Q"),))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "line 1: got list, expected a JSON object"),
        ('{"promt": "Q"}', "line 1: unknown key 'promt'; did you mean 'prompt'?"),
        ('{"prompt": 3}', "'prompt' is 3; expected a string"),
        ('{"prompt": "a", "messages": []}', "got both 'prompt' and 'messages'"),
        ('{"messages": []}', "'messages' is []; expected"),
        ('{"messages": [{"role": "assistant", "content": ""}]}', "message 1 has the role 'assistant'"),
        ('{"messages": [{"role": "user"}]}', "message 1 is {'role': 'user'}"),
        (
            '{"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]}',
            "the last of 2 messages is the assistant's",
        ),
        ('{"signals": "a.csv"}', "'signals' holds 'a.csv'; expected objects"),
        ('{"signals": {"imu": 3}}', "the signal 'imu' is 3; expected a file name"),
        ('{"signals": {"imu": []}}', "the signal 'imu' is []; expected a file name"),
    ],
)
def test_a_line_that_is_no_request_says_why(line: str, message: str) -> None:
    failed = one(line)
    assert isinstance(failed, Failed)
    assert message in str(failed.error)


def test_a_failed_line_keeps_its_id() -> None:
    failed = one('{"id": "x", "promt": ""}')
    assert isinstance(failed, Failed)
    assert failed.id == "x"


@given(st.lists(st.text(st.characters(blacklist_characters="\n\r"), max_size=30)))
def test_any_lines_give_one_outcome_each(lines: list[str]) -> None:
    assert len(list(read_requests(lines))) == sum(bool(line.strip()) for line in lines)


def test_answers_are_one_line_each() -> None:
    assert Answer(1, text="two\nlines é").to_json() == '{"id": 1, "answer": "two\\nlines é"}'
    assert Answer("a", error="no").to_json() == '{"id": "a", "error": "no"}'


@given(
    st.lists(st.integers(1, 500), max_size=60),
    st.integers(1, 100),
    st.integers(1, 9),
    st.integers(100, 2000),
)
def test_batches_hold_each_request_once_within_the_budget(
    lengths: list[int], new_tokens: int, rows: int, tokens: int
) -> None:
    groups = batches(lengths, new_tokens, rows, tokens)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) <= rows
        longest = max(lengths[i] for i in group)
        assert len(group) == 1 or len(group) * (longest + new_tokens) <= tokens


def test_windows_read_no_further_than_they_must() -> None:
    seen = []
    groups = windows((seen.append(i) or i for i in range(10)), 4)
    assert next(groups) == [0, 1, 2, 3]
    assert seen == [0, 1, 2, 3]
    assert list(groups) == [[4, 5, 6, 7], [8, 9]]
