from __future__ import annotations

import os
from pathlib import Path

import pytest

from textserve.cpus import available_cpus

CORES = 8


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(CORES)))


def version_1(cgroup: Path, quota: str, period: str) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text(period)


def test_without_a_cgroup_every_core_of_the_affinity_mask_counts(tmp_path: Path) -> None:
    assert available_cpus(tmp_path) == CORES


@pytest.mark.parametrize(
    ("content", "cpus"),
    [
        pytest.param("200000 100000\n", 2, id="whole cores"),
        pytest.param("150000 100000\n", 2, id="a fraction counts as one"),
        pytest.param("100000 50000\n", 2, id="another period"),
        pytest.param("10000 100000\n", 1, id="less than one core"),
        pytest.param("6400000 100000\n", CORES, id="more than the affinity mask"),
        pytest.param("max 100000\n", CORES, id="no quota"),
        pytest.param("", CORES, id="an empty file"),
        pytest.param("nonsense\n", CORES, id="not numbers"),
    ],
)
def test_the_quota_of_cgroup_version_2(tmp_path: Path, content: str, cpus: int) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        pytest.param("300000\n", 3, id="whole cores"),
        pytest.param("250000\n", 3, id="a fraction counts as one"),
        pytest.param("6400000\n", CORES, id="more than the affinity mask"),
        pytest.param("-1\n", CORES, id="no quota"),
        pytest.param("nonsense\n", CORES, id="not a number"),
    ],
)
def test_the_quota_of_cgroup_version_1(tmp_path: Path, quota: str, cpus: int) -> None:
    version_1(tmp_path, quota, "100000\n")
    assert available_cpus(tmp_path) == cpus


def test_the_quota_of_version_1_counts_where_version_2_has_none(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    version_1(tmp_path, "400000\n", "100000\n")
    assert available_cpus(tmp_path) == 4
