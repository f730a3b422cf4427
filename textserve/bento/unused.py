"""Leaves out what BentoML's worker imports and this service never calls.

With BentoML 1.4.39 that is the supervisor (circus, pyzmq, tornado), the proxy of services that are commands, the
clients of other services (aiohttp) and of BentoCloud (httpx-ws, and all classes of its API), and the command line of
httpx (rich, pygments). They would take about a fifth of the start's processor time and 20 MB of memory, and no setting
leaves them out.

Only for a process of its own, such as :mod:`textserve.bento.start`: `bentoml serve` and `bentoml build` use these
modules.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

CLOUD = "bentoml._internal.cloud"


class LeftOut:
    """Stands in for a class or function that is imported, and perhaps named in an annotation, but never called."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        raise NotImplementedError("textserve.bento.unused left this out; remove it from STAND_INS")


class RemoteProxy:
    """Stands in for the client through which a service can call itself as ``self.to_async``, which this one does not.

    BentoML creates it at the start and closes it at the end.
    """

    to_async = to_sync = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Accept the URL, service and media type without using them."""

    async def __aenter__(self) -> RemoteProxy:
        return self

    async def close(self) -> None:
        """Nothing to close."""


# What others import from each module.
STAND_INS: dict[str, dict[str, type]] = {
    "_bentoml_impl.client": {"RemoteProxy": RemoteProxy},
    "_bentoml_impl.server.proxy": {"create_proxy_app": LeftOut},
    "_bentoml_impl.server.serving": {"serve_http": LeftOut},
    CLOUD: {},
    f"{CLOUD}.client": {"RestApiClient": LeftOut},
    f"{CLOUD}.config": {"CloudClientConfig": LeftOut},
    f"{CLOUD}.schemas": {},
    f"{CLOUD}.schemas.modelschemas": {"LabelItemSchema": LeftOut, "ModelManifestSchema": LeftOut},
    f"{CLOUD}.schemas.schemasv1": {"CreateModelSchema": LeftOut},
    # httpx then has no command line, as if it had been installed without it.
    "httpx._main": {},
}


def leave_out() -> None:
    """Make later imports of these modules give stand-ins. Call it before anything imports BentoML."""
    for name, members in STAND_INS.items():
        module = ModuleType(name)
        vars(module).update(members)
        # A package, in which nothing else is found.
        vars(module)["__path__"] = []
        sys.modules[name] = module
