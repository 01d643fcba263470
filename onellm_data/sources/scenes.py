"""Names of indoor scenes as captions: NYU Depth v2 and SUN RGB-D, and the classes of their benchmarks."""

from __future__ import annotations

from collections.abc import Mapping

from onellm_data.errors import SignalError, UsageError
from onellm_data.options import Option
from onellm_data.sources.folder import NO_CAPTION

CAPTION = Option(
    "caption", "What is told of a scene; {scene} becomes its kind, such as living room.", "{scene}"
)
CLASSES = Option(
    "scene_classes",
    "Kinds of scenes as annotated, or those of the benchmark.",
    "annotated",
    ("annotated", "benchmark"),
)

NOT_IN_BENCHMARK = "not in the benchmark"

OTHERS = "others"
NYU_BENCHMARK: Mapping[str, str] = {
    name: name.replace("_", " ")
    for name in (
        "bedroom",
        "living_room",
        "kitchen",
        "bathroom",
        "dining_room",
        "office",
        "home_office",
        "classroom",
        "bookstore",
    )
}
"""Nine of NYU's 27 kinds; every other is "others" (ImageBind, arXiv 2305.05665, and ViT-Lens)."""

SUN_BENCHMARK = frozenset(
    (
        "bathroom",
        "bedroom",
        "classroom",
        "computer_room",
        "conference_room",
        "corridor",
        "dining_area",
        "dining_room",
        "discussion_area",
        "furniture_store",
        "home_office",
        "kitchen",
        "lab",
        "lecture_theatre",
        "library",
        "living_room",
        "office",
        "rest_space",
        "study_space",
    )
)
"""The 19 kinds with more than 80 pictures each (Song et al. 2015, SUN RGB-D)."""


def caption(template: str, scene: str) -> str:
    """The caption of a scene.

    Raises:
        SignalError: The scene has no kind.
    """
    if not scene or scene == "idk":  # "I don't know" in SUN RGB-D
        raise SignalError(NO_CAPTION, f"got the scene {scene!r}, expected its kind")
    return template.replace("{scene}", scene.replace("_", " "))


def check_template(template: str) -> None:
    """Refuse a caption that would be the same for all.

    Raises:
        UsageError: It has no ``{scene}``.
    """
    if "{scene}" not in template:
        raise UsageError(f"got {CAPTION.flag} {template!r}, expected a text with {{scene}}")


def nyu_class(scene: str) -> str:
    """A kind of scene as one of the ten classes of NYU's benchmark."""
    return NYU_BENCHMARK.get(scene, OTHERS)


def sun_class(scene: str) -> str:
    """A kind of scene if it is one of the 19 of SUN RGB-D's benchmark.

    Raises:
        SignalError: It is not.
    """
    if scene not in SUN_BENCHMARK:
        raise SignalError(NOT_IN_BENCHMARK, f"got the scene {scene!r}")
    return scene
