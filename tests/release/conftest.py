"""Imports the parts of BentoML that warn of their own use of pydantic, which would fail every test."""

from __future__ import annotations

import warnings

with warnings.catch_warnings(action="ignore"):
    import _bentoml_sdk  # type: ignore[import-untyped]  # noqa: F401  # for its warnings alone; it has no types
