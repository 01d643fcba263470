"""From a YAML file and ``--set`` changes to a ``TrainConfig``, or a message that says what is wrong where."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from onellm_core.training.config import TrainConfig
from onellm_data.errors import UsageError

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "dict_type": "a section of keys and values",
    "model_type": "a section of keys and values",
    "literal_error": "{expected}",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "too_short": "{min_length} or more entries",
    "too_long": "at most {max_length} entries",
    "string_pattern_mismatch": "text that matches {pattern}",
}
"""pydantic's kind of error → what the message says was expected."""


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number (as in YAML 1.2) and a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key '{key}' stands twice in one section", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load_config(path: Path, changes: Sequence[str] = ()) -> TrainConfig:
    """Read and check a configuration.

    Args:
        path: A YAML file.
        changes: ``a.b=value`` each, as of ``--set``; the value is YAML, and a list's entries are
            counted from 0 (``stages.0.steps=100``).

    Raises:
        UsageError: The file cannot be read, or a key or value is wrong; the message names all of them.
    """
    if not path.is_file():
        raise UsageError(f"{path} is not a file; expected a training configuration in YAML")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    data = _parse(text, str(path))
    if not isinstance(data, dict):
        raise UsageError(f"{path}: got {_shown(data)}, expected a section of keys and values")
    for change in changes:
        apply_change(data, change)
    return check(data, str(path))


def check(data: Mapping[str, Any], where: str) -> TrainConfig:
    """The configuration that ``data`` describes.

    Raises:
        UsageError: With one line for each thing that is wrong, by its dotted path.
    """
    try:
        # Through JSON, so that a list may become a tuple and a text a path while all else is strict.
        return TrainConfig.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        lines = [_explain(detail) for detail in _innermost(error.errors())]
        raise UsageError("\n  ".join([f"{where} is not a valid configuration:", *lines])) from error


def apply_change(data: dict[str, Any], change: str) -> None:
    """Set one value in place, ``a.b=value``; sections that are not there yet are made.

    Raises:
        UsageError: Not of that form, or the path leads through a value that is not a section.
    """
    path, equals, text = change.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise UsageError(f"--set got '{change}', expected KEY=VALUE such as stages.0.steps=100")
    section: Any = data
    for depth, key in enumerate(keys[:-1]):
        section = _enter(section, key, ".".join(keys[: depth + 1]), change)
    _assign(section, keys[-1], _parse(text, f"--set {path}"), change)


def _enter(section: Any, key: str, path: str, change: str) -> Any:
    if isinstance(section, list):
        return section[_index(section, key, change)]
    inner = section.setdefault(key, {})
    if inner is None:
        inner = section[key] = {}
    if not isinstance(inner, dict | list):
        raise UsageError(f"--set {change}: {path} is {_shown(inner)}, not a section, so it has no keys")
    return inner


def _assign(section: Any, key: str, value: Any, change: str) -> None:
    if isinstance(section, list):
        section[_index(section, key, change)] = value
    else:
        section[key] = value


def _index(section: list[Any], key: str, change: str) -> int:
    if not key.isdigit() or int(key) >= len(section):
        raise UsageError(
            f"--set {change}: got '{key}' for a list of {len(section)} entries; "
            f"expected a number from 0 to {len(section) - 1}"
        )
    return int(key)


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not valid YAML: {error}") from error


def _innermost(details: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Without what pydantic says of a list because an entry of it is wrong."""
    places = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if not any(
            len(place) > len(detail["loc"]) and place[: len(detail["loc"])] == detail["loc"]
            for place in places
        )
    ]


def _explain(detail: ErrorDetails) -> str:
    """One line for one error: the dotted path, what was got, what was expected."""
    location = detail["loc"]
    path = ".".join(str(key) for key in location)
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(location, path)
    if kind == "missing" and isinstance(location[-1], int):
        return f"{path} is missing: the list is too short"
    if kind == "missing":
        return f"{path} is missing; expected: {_fields(location[:-1])[str(location[-1])]}"
    if kind == "value_error":
        return f"{path}: {context['error']}" if path else str(context["error"])
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else detail["msg"]
    return f"{path}: got {_shown(detail['input'])}, expected {expected}"


def _unknown_key(location: tuple[int | str, ...], path: str) -> str:
    known = list(_fields(location[:-1]))
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    parent = ".".join(str(key) for key in location[:-1])
    hint = f"; did you mean '{f'{parent}.' if parent else ''}{near[0]}'?" if near else ""
    return f"unknown key '{path}'{hint} (known here: {', '.join(known)})"


def _fields(location: tuple[int | str, ...]) -> dict[str, str]:
    """Name → description of the fields of the section at ``location``."""
    annotation: Any = TrainConfig
    for key in location:
        annotation = _inner(annotation, str(key))
    assert isinstance(annotation, type)
    assert issubclass(annotation, BaseModel)
    return {name: (field.description or "").split("\n")[0] for name, field in annotation.model_fields.items()}


def _inner(annotation: Any, key: str) -> Any:
    """The type of what stands under ``key`` in a value of type ``annotation``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_fields[key].annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _inner(arguments[0], key)
    return arguments[1] if origin is dict else arguments[0]


def _shown(value: Any) -> str:
    """A value as a person wrote it, with its kind where that is not plain."""
    if isinstance(value, str):
        return f"the text '{value}'"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else json.dumps(value)
