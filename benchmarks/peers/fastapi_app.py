"""FastAPI behind uvicorn, with no batching: https://fastapi.tiangolo.com/advanced/events/ (the lifespan example).

uvicorn benchmarks.peers.fastapi_app:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.model import Answer, Model

models: dict[str, Model] = {}


class Request(BaseModel):
    """The body of a request."""

    text: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model before the first request."""
    models["classify"] = Model()
    yield
    models.clear()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    """Readiness probe."""
    return {"status": "ok"}


@app.post("/classify")
async def classify(request: Request) -> Answer:
    """Classify one text."""
    return models["classify"]([request.text])[0]
