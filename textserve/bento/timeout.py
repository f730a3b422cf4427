"""BentoML's timeout of requests, disabled."""

from __future__ import annotations

import yaml


def no_timeout(seconds: float) -> float:
    """A value for ``traffic={"timeout": …}`` that BentoML accepts and publishes as ``seconds`` but does not enforce.

    The runner has its own deadlines. BentoML's timeout costs a task and a timer per request, and keeps every request in
    memory until it expires, answered or not. BentoML 1.4.39 has no setting for none: it fills a missing value with 60,
    allows positive numbers only, and adds the middleware if the value is true (``BaseAppFactory.middlewares``).
    """
    return _NoTimeout(seconds)


class _NoTimeout(float):
    def __bool__(self) -> bool:
        return False


# `bentoml build` writes the value into bento.yaml with this dumper, which knows no subclasses of float.
yaml.SafeDumper.add_representer(_NoTimeout, yaml.SafeDumper.represent_float)
