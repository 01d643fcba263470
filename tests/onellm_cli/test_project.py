"""The project's own files agree with each other: dependencies, pins, imports, layers."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from onellm_cli import extras
from onellm_cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PACKAGES = ("onellm_cli", "onellm_core", "onellm_data")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
COMMAND_FILES = sorted({target.partition(":")[0] for target in COMMANDS.values()})
MAY_IMPORT = {
    "onellm_data": {"onellm_data"},
    "onellm_core": {"onellm_core", "onellm_data"},
    "onellm_cli": set(PACKAGES),
}


def _imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    """Names of the modules that a file imports; with ``top_level`` those that importing it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _at_import(tree) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when a module is imported: not inside functions, nor for type checkers only."""
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not typing_only and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _at_import(child)


def _declared() -> dict[str, Requirement]:
    """Everything that the package requires, extras included."""
    found = [Requirement(line) for line in requires("onellm") or []]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def _pins() -> dict[str, Requirement]:
    """constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in pins}


def test_every_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    pins = _pins()
    for name, requirement in _declared().items():
        assert name in pins, f"{name} is not pinned in constraints.txt"
        (pin,) = pins[name].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), f"{requirement} excludes its pin {pin}"


_BROUGHT_BY = {"pydantic_core": "pydantic"}
"""A module of another package that a declared one documents as its own."""


def test_every_import_is_of_a_declared_dependency() -> None:
    distributions = packages_distributions()
    declared = set(_declared())
    for path in SOURCES:
        for module in _imports(path):
            top = _BROUGHT_BY.get(module.partition(".")[0], module.partition(".")[0])
            if top in sys.stdlib_module_names or top in PACKAGES:
                continue
            bringing = {canonicalize_name(name) for name in distributions.get(top, [])}
            assert bringing & declared, f"{path.relative_to(ROOT)} imports {module}: declare its package"


def _required(path: Path) -> Iterator[tuple[str, str]]:
    """(module, extra) of each call of ``require`` that names both."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "require":
            module, extra = node.args
            if isinstance(module, ast.Constant) and isinstance(extra, ast.Constant):
                yield str(module.value), str(extra.value)


def test_the_extra_that_a_message_names_brings_the_module() -> None:
    distributions = packages_distributions()
    for path in SOURCES:
        for module, extra in _required(path):
            brought = {canonicalize_name(requirement.name) for requirement in extras.requirements(extra)}
            bringing = {canonicalize_name(name) for name in distributions.get(module.partition(".")[0], [])}
            assert bringing & brought, (
                f"{path.relative_to(ROOT)}: the extra '{extra}' does not bring {module}"
            )


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        ours = {module.partition(".")[0] for module in _imports(path)} & set(PACKAGES)
        assert ours <= MAY_IMPORT[package], f"{path.relative_to(ROOT)} imports {ours - MAY_IMPORT[package]}"


@pytest.mark.parametrize("command", COMMAND_FILES)
def test_commands_import_only_what_is_light(command: str) -> None:
    path = ROOT / f"{command.replace('.', '/')}.py"
    light = {"click", "packaging", *sys.stdlib_module_names}
    for module in _imports(path, top_level=True):
        allowed = module.partition(".")[0] in light or module.startswith(("onellm_cli", "onellm_data.errors"))
        assert allowed or module == "onellm_data.modalities", (
            f"{path.name} imports {module} at its top; import it inside the function, so that help stays fast"
        )


def _unsafe(node: ast.AST) -> bool:
    """Whether an expression can run code that a file brings."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.value.id in ("pickle", "cloudpickle", "dill", "joblib") and node.attr != "UnpicklingError"
    if not isinstance(node, ast.Call):
        return False
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    called = ast.unparse(node.func)
    if called == "torch.load":
        return given.get("weights_only") != "True"
    return called in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False"


@pytest.mark.parametrize("code", ["pickle.load(f)", "torch.load(f)", "np.load(f, allow_pickle=True)"])
def test_the_check_for_pickles_sees(code: str) -> None:
    assert any(_unsafe(node) for node in ast.walk(ast.parse(code)))


def test_nothing_unpickles() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not _unsafe(node), f"{path}:{getattr(node, 'lineno', 0)} can unpickle: {ast.unparse(node)}"
