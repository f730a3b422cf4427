"""BentoML's adaptive batching: https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html

bentoml serve benchmarks.peers.bentoml_service:Classify
"""

from __future__ import annotations

import bentoml

from benchmarks.peers import MAX_BATCH
from benchmarks.peers.model import Answer, Model


@bentoml.service
class Classify:
    """The service; BentoML adapts the batch wait."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)
    def classify(self, texts: list[str]) -> list[Answer]:
        """Classify a batch of texts."""
        return self.model(texts)
