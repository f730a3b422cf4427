"""The container image as each platform starts it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.image.containers import Container, golden_texts, model_name, running

pytestmark = [pytest.mark.image, pytest.mark.timeout(3000)]

PLATFORMS: dict[str, tuple[dict[str, Any], str, str]] = {
    # How it is started, and the paths of health and predictions.
    "plain": ({}, "/health", "/invocations"),
    "sagemaker": ({"command": ("serve",), "port": 8080}, "/ping", "/invocations"),
    "vertex": (
        {
            "port": 8081,
            "AIP_HTTP_PORT": "8081",
            "AIP_HEALTH_ROUTE": "/v1/endpoints/1/deployedModels/2",
            "AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict",
        },
        "/v1/endpoints/1/deployedModels/2",
        "/v1/endpoints/1/deployedModels/2:predict",
    ),
    "kserve": ({"port": 8080, "PORT": "8080"}, "/v1/models/{model}", "/v1/models/{model}:predict"),
}


def processes(container: Container) -> list[int]:
    """The processes in the container, besides that of exec."""
    found: list[int] = json.loads(
        container.python("import psutil; print([pid for pid in psutil.pids() if pid != psutil.Process().pid])")
    )
    return found


@pytest.mark.parametrize("name", PLATFORMS)
def test_it_answers_on_the_port_and_paths_of_the_platform_and_stops_cleanly(name: str) -> None:
    how, health, predict = PLATFORMS[name]
    with running(**how) as container:
        assert httpx.get(container.url + health.format(model=model_name())).status_code == 200
        texts = list(golden_texts())
        answer = httpx.post(container.url + predict.format(model=model_name()), json={"instances": texts}, timeout=60)
        assert answer.status_code == 200
        assert len(answer.json()["predictions"]) == len(texts)
        assert container.healthy()
        assert processes(container) == [1]
        container.engine.run("stop", "--time", "60", container.id)
        state = container.wait_ended()
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
