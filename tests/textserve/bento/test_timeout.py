from __future__ import annotations

from typing import Any

import bentoml
import yaml
from bentoml._internal.server.http.traffic import TimeoutMiddleware

from textserve.bento.timeout import no_timeout


def middlewares(timeout: float) -> list[object]:
    @bentoml.service(traffic={"timeout": timeout})
    class Empty:
        pass

    from _bentoml_impl.server.app import ServiceAppFactory

    service: Any = Empty
    service.inject_config()
    factory = ServiceAppFactory(service)
    return [middleware.cls for middleware in factory.middlewares]


def test_bentoml_still_enforces_no_timeout_that_is_false() -> None:
    assert TimeoutMiddleware in middlewares(5.0), "BentoML no longer adds TimeoutMiddleware: is no_timeout needed?"
    assert TimeoutMiddleware not in middlewares(no_timeout(5)), "BentoML enforces no_timeout: see its docstring"


def test_it_is_written_into_bento_yaml_as_its_seconds() -> None:
    assert yaml.safe_load(yaml.safe_dump({"timeout": no_timeout(7.5)})) == {"timeout": 7.5}
