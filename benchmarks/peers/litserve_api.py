"""LitServe with batching: https://lightning.ai/docs/litserve/features/batching

python -m benchmarks.peers.litserve_api PORT
"""

from __future__ import annotations

import sys

import litserve

from benchmarks.peers import MAX_BATCH, MAX_WAIT_SECONDS
from benchmarks.peers.model import Answer, Model


class Classify(litserve.LitAPI):
    """One text per request, up to ``MAX_BATCH`` per prediction."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.model = Model()

    def decode_request(self, request: dict[str, str]) -> str:
        """Return the text of a request."""
        return request["text"]

    def predict(self, texts: list[str]) -> list[Answer]:
        """Classify a batch of texts."""
        return self.model(texts)


if __name__ == "__main__":
    api = Classify(max_batch_size=MAX_BATCH, batch_timeout=MAX_WAIT_SECONDS, api_path="/classify")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
