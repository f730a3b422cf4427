"""mosec with dynamic batching: https://mosecorg.github.io/mosec/examples/pytorch.html

python -m benchmarks.peers.mosec_worker --address 127.0.0.1 --port PORT
"""

from __future__ import annotations

import mosec

from benchmarks.peers import MAX_BATCH, MAX_WAIT_SECONDS
from benchmarks.peers.model import Answer, Model


class Classify(mosec.Worker):
    """One text per request, up to ``MAX_BATCH`` per call."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def forward(self, data: list[dict[str, str]]) -> list[Answer]:
        """Classify a batch of texts."""
        return self.model([request["text"] for request in data])


if __name__ == "__main__":
    server = mosec.Server()
    server.append_worker(Classify, num=1, max_batch_size=MAX_BATCH, max_wait_time=round(MAX_WAIT_SECONDS * 1000))
    server.run()
