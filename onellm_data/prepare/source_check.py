"""Whether a source still gives the items that an earlier run saw, before anything is added to its result."""

from __future__ import annotations

import json
from collections.abc import Iterator

from onellm_data.errors import UsageError
from onellm_data.prepare.state import RunState
from onellm_data.prepare.tasks import Task


def check_source(tasks: Iterator[Task], state: RunState) -> None:
    """Go through the items as far as an earlier run did.

    Args:
        tasks: All items of the source, from the first.
        state: The unfinished folder.

    Raises:
        UsageError: They are others.
    """
    if state.base is not None:
        _check_rejected(tasks, state)
    else:
        _check_marks(tasks, state)


def _check_marks(tasks: Iterator[Task], state: RunState) -> None:
    """The digests of all commits are met."""
    marks = state.marks()
    for index, chain in marks:
        task = next((task for task in tasks if task.index == index), None)
        if task is None:
            raise _changed(f"item {index} is not there any more")
        if task.chain != chain:
            raise _changed(f"item {index} ({task.item.name}) or one before it is another")


def _changed(what: str) -> UsageError:
    return UsageError(
        f"the source is not what it was in the first run: {what}; restore it, or prepare the data again in "
        "another folder"
    )


def _check_rejected(tasks: Iterator[Task], state: RunState) -> None:
    """What was rejected has the same numbers, and there are as many items as there were."""
    assert state.base is not None, "a retry starts from a manifest"
    todo = state.todo()
    index, line = next(todo, (-1, b""))
    count = 0
    for task in tasks:
        count += 1
        if task.index == index:
            _check_name(task, json.loads(line)["what"])
            index, line = next(todo, (-1, b""))
    if count != state.base.read:
        raise UsageError(
            f"the source has {count} items, it had {state.base.read} when {state.out} was prepared; restore "
            "it, or prepare it anew in another folder"
        )


def _check_name(task: Task, before: str) -> None:
    """A retried item is the one that was rejected; a row that could not be read had no name yet."""
    if task.item.name != before and not before.startswith("row "):
        raise UsageError(
            f"item {task.index} of the source is {task.item.name}, but {before} was rejected under that "
            "number; retrying needs the same items in the same order: prepare it anew in another folder"
        )
