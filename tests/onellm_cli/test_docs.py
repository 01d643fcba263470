"""The documentation: current, complete, without dead links."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from onellm_cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("demo/**/*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```", re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def commands_page() -> ModuleType:
    """The script that writes docs/commands.md."""
    spec = importlib.util.spec_from_file_location("write_commands", ROOT / "docs" / "write_commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_commands_page_is_current(commands_page: ModuleType) -> None:
    written = commands_page.PAGE.read_text(encoding="utf-8")
    assert written == commands_page.page(), "run `make docs` and commit docs/commands.md"


def test_every_command_and_option_has_help(commands_page: ModuleType) -> None:
    for ctx in commands_page.contexts(cli, None, "onellm"):
        assert ctx.command.get_short_help_str(), f"{ctx.command_path} says nothing about itself"
        for parameter in ctx.command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help, f"{ctx.command_path} {parameter.opts[-1]} has no help"


def _anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make, as code hosts and Markdown tools derive them."""
    headings = _HEADING.findall(_CODE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _links(page: Path) -> list[str]:
    """Targets of all links of a page that stay in the repository."""
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    return [link for link in _LINK.findall(text) if "://" not in link and not link.startswith("mailto:")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    for link in _links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.relative_to(ROOT)} links to {link}"
        assert target.is_relative_to(ROOT), f"{page.relative_to(ROOT)} links out of the repository: {link}"
        if anchor:
            assert anchor in _anchors(target), f"{page.relative_to(ROOT)}: no heading for {link}"


def test_every_page_is_reached_from_the_index() -> None:
    todo, reached = [ROOT / "docs" / "index.md"], set()
    while todo:
        page = todo.pop()
        if page.suffix == ".md" and page not in reached:
            reached.add(page)
            todo += [(page.parent / link.partition("#")[0]).resolve() for link in _links(page)]
    lost = {str(page.relative_to(ROOT)) for page in set(ROOT.glob("docs/**/*.md")) - reached}
    assert not lost, f"docs/index.md leads to no link to {', '.join(sorted(lost))}"
