"""What models with ``task: sentiment`` are calibrated, evaluated and tested with."""

from __future__ import annotations

from pathlib import Path

from modeling.tasks import Task
from modeling.tasks.sentiment import texts
from modeling.tasks.sentiment.dataset import MEANINGS
from modeling.texts import LabelledTexts


def lexicon(labelled: LabelledTexts) -> list[str] | None:
    """VADER's answers to English texts."""
    if labelled.language != "en":
        return None
    # The environment that serves has no lexicon, but runs the behavioural tests.
    from modeling.tasks.sentiment.vader import vader

    return [MEANINGS[index] for index in vader([text for text in labelled.texts if isinstance(text, str)])]


TASK = Task(
    labelled_texts=texts.labelled_texts,
    calibration_texts=texts.calibration_texts,
    behaviour=Path(__file__).with_name("behaviour.yaml"),
    opposites={"positive": "negative", "negative": "positive"},
    lexicon=lexicon,
    reference_texts=texts.reference_texts,
    general_texts=texts.general_texts,
)
