"""A real Prometheus that scrapes the real service has all that alerts, panels and the documentation query."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.server import LIMIT_SECONDS, ROOT, Server, free_port, self_signed, serve, trusting

DEPLOY = ROOT / "deploy"
KEY = "a-key-of-16-characters"
RULES = [rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
PANELS = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))["panels"]
SHOWN = {f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]}
DOCUMENTED = re.findall(r"```promql\n(.+?)```", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"), re.DOTALL)
NAME = re.compile(r"\b(?:textserve|process)_\w+|\btextserve:[\w:]+")
# Panels that are empty while nothing goes wrong.
MAY_BE_EMPTY = {"Dropped, truncated, failed A", "Dropped, truncated, failed C", "Not answered with ok A"}


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of its API's answer."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=60).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def wait(self, found: Callable[[], bool], what: str) -> None:
        """Wait until something is found."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not found():
            assert time.monotonic() < deadline, f"{what} did not come"
            time.sleep(0.1)


@contextlib.contextmanager
def prometheus(server: Server, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus with the TLS configuration of deploy/, except that it scrapes ``server``, and every second."""
    content = yaml.safe_load((DEPLOY / "prometheus.tls.yaml").read_text(encoding="utf-8"))
    content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    content["rule_files"] = [str(DEPLOY / name) for name in content["rule_files"]]
    (job,) = [job for job in content["scrape_configs"] if job["job_name"] == "textserve"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{server.port}"]}]
    content["scrape_configs"] = [job]
    del content["alerting"]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    running = Prometheus(f"http://127.0.0.1:{port}")

    def ready() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text(encoding="utf-8")
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{running.url}/-/ready", timeout=10).status_code == 200
        return False

    try:
        running.wait(ready, "Prometheus")
        yield running
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


@pytest.fixture(scope="module")
def scraped(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped a service, with secrets, before and after it answered some requests."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "keys").write_text(KEY)
    certificate, key = self_signed(folder)
    with (
        serve(
            store,
            TEXTSERVE_API_KEYS_FILE=str(folder / "keys"),
            TEXTSERVE_TLS_CERTIFICATE=str(certificate),
            TEXTSERVE_TLS_KEY=str(key),
            TEXTSERVE_DRIFT_TEXTS="10",
        ) as server,
        prometheus(server, folder) as running,
    ):

        def value(query: str) -> float:
            found = running.ask("query", query=query)["result"]
            return float(found[0]["value"][1]) if found else 0.0

        running.wait(lambda: value('up{job="textserve"}') == 1, "the first scrape")
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx.Client(verify=trusting(str(certificate)), base_url=server.url, headers=headers) as client:
            running.wait(lambda: value("count_over_time(textserve_ready[5m])") > 1, "a scrape before the requests")
            texts = ["Świetny film, polecam!", "The meeting is on Thursday.", "word " * 1000]
            for _ in range(5):
                assert client.post("/classify", json={"texts": texts}, timeout=LIMIT_SECONDS).status_code == 200
                # A counter's first value is no increase: one request must be scraped before the others are sent.
                running.wait(
                    lambda: value('textserve_requests_total{outcome="ok"}') > 0, "a scrape of the first request"
                )
            assert client.post("/classify", json={"texts": []}).status_code == 400
        running.wait(lambda: value("rate(textserve_texts_total[5m])") > 0, "a scrape after the requests")
        recorded = "textserve:slow_requests:ratio_rate5m"
        running.wait(lambda: bool(running.ask("query", query=recorded)["result"]), "the recorded series")
        yield running


def test_no_rule_panel_or_example_names_a_metric_that_a_scrape_lacks(scraped: Prometheus) -> None:
    known = set(scraped.ask("label/__name__/values"))
    # These have no series until a text is dropped or repeated, or a batch fails.
    known |= {"textserve_dropped_texts_total", "textserve_failed_batches_total", "textserve_repeated_texts_total"}
    expressions = [*(rule["expr"] for rule in RULES), *SHOWN.values(), *DOCUMENTED]
    named = {name for expression in expressions for name in NAME.findall(expression)}
    assert len(named) > 20
    assert named - known == set()


@pytest.mark.parametrize("panel", SHOWN)
def test_a_panel_shows_something(scraped: Prometheus, panel: str) -> None:
    found = scraped.ask("query", query=SHOWN[panel])["result"]
    assert found or panel in MAY_BE_EMPTY
    assert all(series["value"][1] != "NaN" for series in found)


def test_the_rules_are_evaluated_and_silent_while_all_is_well(scraped: Prometheus) -> None:
    scraped.wait(
        lambda: all(rule["health"] == "ok" for group in scraped.ask("rules")["groups"] for rule in group["rules"]),
        "the evaluation of all rules",
    )
    rules = [rule for group in scraped.ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == len(RULES)
    # Windows of ten texts may drift, but the alert fires only after minutes.
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


def test_metrics_describe_the_served_model_and_its_secrets(scraped: Prometheus) -> None:
    (info,) = scraped.ask("query", query="textserve_model_info")["result"]
    assert info["metric"]["name"] == "sentiment-pl-en"
    assert re.fullmatch("[0-9a-f]{16}", info["metric"]["digest"])
    secrets = scraped.ask("query", query="textserve_secret_readable")["result"]
    assert {(secret["metric"]["file"], secret["value"][1]) for secret in secrets} == {
        ("api_keys", "1"),
        ("certificate", "1"),
    }
