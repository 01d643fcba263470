"""The extras of the installed package: what each needs, and what of it is missing here.

Read from the package's own metadata, so there is no second list to keep in step.
"""

from __future__ import annotations

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
def requirements(extra: str) -> tuple[Requirement, ...]:
    """What ``extra`` adds to the base install; the build has resolved extras that include others."""
    lines = [Requirement(line) for line in distribution(PACKAGE).requires or []]
    return tuple(
        line
        for line in lines
        if line.marker and line.marker.evaluate({"extra": extra}) and not line.marker.evaluate({"extra": ""})
    )


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
    """The smallest extra that brings the package which holds ``module``; of equal ones ``model``."""
    package = canonicalize_name(_IMPORT_NAMES.get(module, module))
    bringing = [
        extra for extra in names() if package in {canonicalize_name(r.name) for r in requirements(extra)}
    ]
    return min(bringing, key=lambda extra: (len(requirements(extra)), extra != "model"), default=None)


def install_command(extra: str) -> str:
    """What to type for ``extra``."""
    return f"pip install '{PACKAGE}[{extra}]'"
