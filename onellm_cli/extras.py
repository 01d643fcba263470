"""The extras of the installed package: what each needs, and what of it is missing here.

Read from the package's own metadata, so there is no second list to keep in step.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "onellm"

_IMPORT_NAMES = {"PIL": "pillow", "open_clip": "open-clip-torch", "yaml": "pyyaml", "sklearn": "scikit-learn"}
"""Import name → package, where they differ; a package that is not installed cannot be asked."""


def names() -> list[str]:
    """All extras, in the order of pyproject.toml."""
    return distribution(PACKAGE).metadata.get_all("Provides-Extra") or []


@cache
def _requirements() -> tuple[Requirement, ...]:
    """Every requirement of the package, with its ``extra == …`` marker."""
    return tuple(Requirement(line) for line in distribution(PACKAGE).requires or [])


def requirements(extra: str) -> Iterator[Requirement]:
    """What ``extra`` adds on this machine, other extras that it includes resolved."""
    for requirement in _own_requirements(extra):
        if canonicalize_name(requirement.name) != PACKAGE:
            yield requirement
        for included in sorted(requirement.extras) if requirement.name == PACKAGE else ():
            yield from requirements(included)


def _own_requirements(extra: str) -> Iterator[Requirement]:
    """The lines of ``extra`` itself."""
    for requirement in _requirements():
        marker = requirement.marker
        if marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            yield requirement


def missing(extra: str) -> list[str]:
    """What of ``extra`` is not installed here or too old, as a person reads it."""
    found = {text for requirement in requirements(extra) if (text := _lack(requirement))}
    return sorted(found, key=str.lower)


def _lack(requirement: Requirement) -> str | None:
    """What is wrong with the installed version, or None if it meets ``requirement``."""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return requirement.name
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    return f"{requirement.name}{requirement.specifier} (installed: {installed})"


def extra_of_module(module: str) -> str | None:
    """The first extra whose own lines bring the package that holds ``module``."""
    package = canonicalize_name(_IMPORT_NAMES.get(module, module))
    for extra in names():
        if package in {canonicalize_name(requirement.name) for requirement in _own_requirements(extra)}:
            return extra
    return None


def install_command(extra: str) -> str:
    """What to type for ``extra``."""
    return f"pip install '{PACKAGE}[{extra}]'"
