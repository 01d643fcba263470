"""Strict loading: every tensor is loaded, missing or unexpected, and the last two must be explained."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from onellm_data.errors import UsageError

SHOWN = 20
"""How many names of one list a message shows."""


def name_list(title: str, names: Collection[str]) -> str:
    """One list of an error message: how many, and the first of them."""
    shown = "".join(f"\n    {name}" for name in sorted(names)[:SHOWN])
    rest = f"\n    … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"\n  {title} ({len(names)}){':' if names else ''}{shown}{rest}"


def check_names(
    where: object, loaded: Collection[str], missing: Collection[str], unexpected: Collection[str]
) -> None:
    """Accept a set of tensors only if it is exactly the model's.

    Raises:
        UsageError: With the three lists.
    """
    if missing or unexpected:
        raise UsageError(
            f"the weights in {where} are not this model's; expected exactly its tensors, got"
            + f"\n  loaded ({len(loaded)})"
            + name_list("missing", missing)
            + name_list("unexpected", unexpected)
        )


def check_loading(where: object, model: nn.Module, info: Mapping[str, Any]) -> None:
    """The same for what transformers reports after ``from_pretrained``.

    Raises:
        UsageError: With the lists.
    """
    mismatched = [
        f"{name}: {list(got)} in the file, {list(expected)} in the model"
        for name, got, expected in info.get("mismatched_keys", ())
    ]
    missing = set(info["missing_keys"])
    loaded = set(model.state_dict()) - missing
    check_names(where, loaded, missing | set(mismatched), set(info["unexpected_keys"]))
