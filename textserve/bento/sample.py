"""A sample of the served texts, if the operator asks for one, through BentoML's monitoring.

Checked with BentoML 1.4.39, whose default configuration keeps the files forever.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path

import bentoml
import yaml

from textserve.flood import FloodLog
from textserve.prediction import Prediction
from textserve.redaction import redacted
from textserve.settings import Settings
from textserve.spec import Input

logger = logging.getLogger(__name__)

NAME = "sample"


class Sample:
    """Writes one of ``settings.sample_one_in`` texts, redacted, with its answer, below ``settings.sample_folder``.

    Files older than ``settings.sample_days`` days are deleted when a new one begins, at midnight.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        """Prepare the folder; raises :class:`OSError` if it cannot be written to."""
        self._share = 1 / settings.sample_one_in
        folder.mkdir(parents=True, exist_ok=True)
        configuration = folder / "logging.yaml"
        configuration.write_text(yaml.safe_dump(_logging(settings.sample_days)), encoding="utf-8")
        self._options = {"log_path": str(folder), "log_config_file": str(configuration)}
        self._random = random.Random()  # noqa: S311  # chooses texts, protects nothing
        self._failed = FloodLog(logger, "%d texts could not be written to the sample; answers do not depend on it")
        logger.warning(
            "one of %d texts is kept in %s for %d days", settings.sample_one_in, folder, settings.sample_days
        )

    def __call__(self, texts: Sequence[Input], predictions: Sequence[Prediction]) -> None:
        """Write some of the texts of a request, with their answers. Never raises."""
        try:
            for text, prediction in zip(texts, predictions, strict=True):
                if self._random.random() < self._share:
                    self._write(text, prediction)
        except Exception:
            self._failed.add()

    def _write(self, text: Input, prediction: Prediction) -> None:
        first, second = (text, None) if isinstance(text, str) else text
        with bentoml.monitor(NAME, monitor_class="default", monitor_options=self._options) as monitor:
            monitor.log(redacted(first), "text", role="feature", data_type="categorical")
            if second is not None:
                monitor.log(redacted(second), "text_pair", role="feature", data_type="categorical")
            monitor.log(prediction.label, "label", role="prediction", data_type="categorical")
            monitor.log(round(prediction.score, 6), "score", role="prediction", data_type="numerical")


def _logging(days: int) -> dict[str, object]:
    """BentoML's logging configuration of its two files, except for ``days``; BentoML fills in their names."""
    loggers = {name: f"bentoml_monitor_{name}" for name in ("data", "schema")}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "pythonjsonlogger.json.JsonFormatter", "json_ensure_ascii": False}},
        "handlers": {
            name: {
                "class": "logging.handlers.TimedRotatingFileHandler",
                "formatter": "json",
                "filename": f"{{{name}_filename}}",
                "when": "midnight",
                "backupCount": days,
                "encoding": "utf-8",
            }
            for name in loggers
        },
        "loggers": {
            logger: {"level": "INFO", "handlers": [name], "propagate": False} for name, logger in loggers.items()
        },
    }
