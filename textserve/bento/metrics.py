"""Keeps Prometheus metrics in the process."""

from __future__ import annotations

import os

from prometheus_client import values


def keep_in_process() -> None:
    """Keep metrics in this process, whatever BentoML has set.

    Checked with BentoML 1.4.39. `bentoml serve` sets ``PROMETHEUS_MULTIPROC_DIR`` to one folder for every service with
    the same ``BENTOML_HOME``, and empties it at each start, even if it then fails. prometheus_client would sum the
    metrics of all these services. This service has one process, so it needs no folder.
    """
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    values.ValueClass = values.MutexValue  # chosen by the variable when prometheus_client was imported
