"""Tasks, one package each: labels, data and behavioural tests.

A package has ``LABELS``, ``KNOWN_AS`` (the labels by their names in checkpoints) and ``ESSENTIAL``, and in its module
``task`` a :class:`Task`. The spec and the command line import only the package.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeling.files import ModelFiles
    from modeling.spec import ModelSpec
    from modeling.texts import LabelledTexts
    from textserve.spec import Input


@dataclass(frozen=True)
class Task:
    """What a task provides for the models that name it in their spec.

    Attributes:
        labelled_texts: the labelled texts of a language, or ``None``.
        calibration_texts: texts like those to serve, from the data in a folder.
        behaviour: the file with its behavioural tests.
        opposites: for each label with an opposite, the label whose score falls as its own rises.
        lexicon: the labels that a lexicon gives to texts, as a baseline; ``None`` in a language that it does not read.
        reference_texts: texts like those to serve that the model was not trained on, by group, to notice drift.
        general_texts: all sentences of the data in a folder, without labels, to compare any model on.
    """

    labelled_texts: Callable[[ModelFiles, str], LabelledTexts | None]
    calibration_texts: Callable[[ModelSpec, Path], list[str]]
    behaviour: Path
    opposites: Mapping[str, str]
    lexicon: Callable[[LabelledTexts], list[str] | None]
    reference_texts: Callable[[ModelFiles], Mapping[str, Sequence[Input]]] | None = None
    general_texts: Callable[[Path], list[str]] | None = None


@cache
def names() -> list[str]:
    """The known tasks."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def labels(name: str | None) -> frozenset[str]:
    """The labels that a task has data for; empty without a task."""
    return frozenset(import_module(f"{__name__}.{name}").LABELS) if name else frozenset()


def recognize(labels: Sequence[str]) -> tuple[str, list[dict[str, str]]] | None:
    """The task of a single-text model with these labels, and their section in its spec; ``None`` if no task fits."""
    for name in names():
        task = import_module(f"{__name__}.{name}")
        found = [{"name": label, **task.KNOWN_AS.get(label.lower(), {})} for label in labels]
        served = [label["label"] for label in found if "label" in label]
        if len(served) == len(set(served)) == len(labels) and set(served) >= task.ESSENTIAL:
            return name, found
    return None


def find(name: str | None) -> Task | None:
    """The task with this name; ``None`` without a name."""
    if name is None:
        return None
    task: Task = import_module(f"{__name__}.{name}.task").TASK
    return task


def general() -> Task:
    """The task with general texts."""
    return next(task for task in map(find, names()) if task and task.general_texts)
