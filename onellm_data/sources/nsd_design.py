"""Which picture each trial of the Natural Scenes Dataset showed.

Three files tell it, and any one is enough: ``nsd_expdesign.mat``, the subject's ``responses.tsv``, or
``nsd_stim_info_merged.csv``.  The first two count pictures from 1, the last from 0; here it is from 0.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onellm_data.errors import UsageError
from onellm_data.sources.mat_files import numbers
from onellm_data.sources.nsd_captions import STIMULI, find, stimuli_of

EXPERIMENT = "nsd_expdesign.mat"
RESPONSES = "nsddata/ppdata/{subject}/behav/responses.tsv"
SHARED = 1000
"""The first pictures of each subject's 10,000 are those that all subjects saw."""


@dataclass(frozen=True)
class Design:
    """The experiment of one subject.

    Attributes:
        pictures: Trial, from 0 over all sessions → picture, from 0.
        shared: The pictures that all subjects saw.
    """

    pictures: dict[int, int]
    shared: frozenset[int]


def load(src: Path, subject: str) -> Design:
    """The design of ``subject``, from the first of the three files that is there.

    Raises:
        UsageError: There is none, or it is not what it should be.
    """
    experiment, stimuli = find(src, EXPERIMENT), find(src, STIMULI)
    responses = src / RESPONSES.format(subject=subject)
    if experiment:
        return from_experiment(experiment, int(subject.removeprefix("subj")))
    if responses.is_file():
        return from_responses(responses)
    if stimuli:
        return from_stimuli(stimuli, subject)
    raise UsageError(
        f"{src} does not say what the trials showed; expected nsddata/experiments/nsd/{EXPERIMENT} or "
        f"{STIMULI}, or {responses.relative_to(src)}"
    )


def from_experiment(path: Path, subject: int) -> Design:
    """From ``masterordering`` [1, trials], places from 1 in a row of ``subjectim`` [8, pictures]."""
    order, own, shared = numbers(path, ("masterordering", "subjectim", "sharedix"))
    if own.ndim != 2 or not 1 <= subject <= len(own):
        raise UsageError(
            f"{path}: got subjectim {own.shape}, expected a row for each subject; fetch it again"
        )
    places = order.reshape(-1) - 1
    if not ((places >= 0) & (places < own.shape[1])).all():
        raise UsageError(f"{path}: masterordering leads out of subjectim {own.shape}; fetch it again")
    pictures = own[subject - 1][places] - 1
    return Design(dict(enumerate(pictures.tolist())), frozenset((shared.reshape(-1) - 1).tolist()))


def from_responses(path: Path) -> Design:
    """From the table of the subject's answers: a row a trial, in the order of sessions."""
    pictures: dict[int, int] = {}
    shared = set()
    for trial, (picture, own) in enumerate(_answers(path)):
        pictures[trial] = picture - 1
        if own <= SHARED:
            shared.add(picture - 1)
    return Design(pictures, frozenset(shared))


def _answers(path: Path) -> Iterator[tuple[int, int]]:
    """Picture of all, and of the subject's own, both from 1."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                yield int(row["73KID"]), int(row["10KID"])
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UsageError(f"{path}: no whole numbers in 73KID and 10KID ({error!r})") from error


def from_stimuli(path: Path, subject: str) -> Design:
    """From the table of all pictures, with the trials, from 1, of each subject."""
    pictures: dict[int, int] = {}
    shared = set()
    for one in stimuli_of(path):
        pictures |= {trial - 1: one.picture for trial in one.trials.get(subject, ())}
        if one.is_shared:
            shared.add(one.picture)
    return Design(pictures, frozenset(shared))
