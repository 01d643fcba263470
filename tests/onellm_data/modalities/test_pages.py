"""docs/modalities: one page for each modality, with the facts that the code has."""

from __future__ import annotations

import pytest

from onellm_data import modalities

NAMES = modalities.names()[:8]


@pytest.fixture
def page(repository, name) -> str:
    return (repository / f"docs/modalities/{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_page_names_the_extra_the_parts_and_every_ending(page, name):
    modality = modalities.get(name)
    endings = set(modality.suffixes)
    if len(modality.parts) == 2:  # the page points to the picture's
        endings -= set(modalities.get("image").suffixes)
        assert "(image.md)" in page
    assert f"Extra: `{modality.extra}`" in page
    assert [ending for ending in sorted(endings) if f"`{ending}`" not in page] == []
    assert [part for part in modality.parts if len(modality.parts) == 2 and f"`{part}`" not in page] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_page_states_every_option_and_its_published_value(page, name):
    for option, value in modalities.get(name).options.items():
        (row,) = (
            line for line in page.splitlines() if line.startswith("|") and f"`{option}`" in line.split("|")[1]
        )
        if isinstance(value, list):
            if "CLIP's |" in row:
                assert value == modalities.get("image").options[option]
                continue
            values = sorted(set(value)) if len(set(value)) == 1 else value
        else:
            values = [value]
        for number in values:
            assert f"{number:.10g}".replace("-", "−") in row.split("|", 2)[2], (option, number)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_states_shape_and_number_of_tokens(page, name):
    modality = modalities.get(name)
    shape = modality.input_shape(modality.options)
    assert str(list(shape)) in page
    assert str(modality.tokenizer.tokens(shape, patch=14)) in page
