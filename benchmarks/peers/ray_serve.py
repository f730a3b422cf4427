"""Ray Serve with request batching: https://docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html

python -m benchmarks.peers.ray_serve PORT
"""

from __future__ import annotations

import signal
import sys

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers import MAX_BATCH, MAX_WAIT_SECONDS
from benchmarks.peers.model import Answer, Model


# The replica must admit more requests than a batch holds, or batches never fill.
@serve.deployment(num_replicas=1, max_ongoing_requests=4 * MAX_BATCH)
class Classify:
    """One text per request, up to ``MAX_BATCH`` per call."""

    def __init__(self) -> None:
        self.model = Model()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=MAX_WAIT_SECONDS)
    async def classify(self, texts: list[str]) -> list[Answer]:
        """Classify a batch of texts."""
        return self.model(texts)

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        return await self.classify((await request.json())["text"])


if __name__ == "__main__":
    ray.init(include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Classify.bind(), route_prefix="/classify")  # type: ignore[attr-defined]  # added by the decorator
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()
