from __future__ import annotations

import resource

import pytest

from textserve.descriptors import max_connections


@pytest.mark.parametrize(
    ("soft", "wanted", "expected"), [(1024, 400, 400), (1024, 512, 488), (64, 512, 8), (resource.RLIM_INFINITY, 9, 9)]
)
def test_connections_are_fewer_than_the_descriptors_allow(
    monkeypatch: pytest.MonkeyPatch, soft: int, wanted: int, expected: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert max_connections(wanted) == expected
