"""The OpenAPI document describes the service; schemathesis checks it against the real one.

SCHEMA_EXAMPLES=200 .venv/bin/pytest tests/textserve/http/test_openapi.py -s
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.asgi import ANSWER, FakeRunner, Serve, fake_application
from tests.browser import browser
from tests.server import ROOT, Server, serve
from textserve.classifier import Classifier
from textserve.errors import Unauthorized
from textserve.http.explain import EXPLAIN
from textserve.http.huggingface import HUGGINGFACE
from textserve.http.native import NATIVE
from textserve.http.openapi import documentation, openapi
from textserve.http.operations import OPERATIONS
from textserve.http.schemas import REFUSALS
from textserve.http.tei import TEI

PROTOCOLS = [NATIVE, EXPLAIN, HUGGINGFACE, TEI, OPERATIONS]
CONFIGURATION = ROOT / "tests" / "schemathesis.toml"
EXAMPLES = os.environ.get("SCHEMA_EXAMPLES", "10")
CASES = re.compile(r"([\d,]+) generated")

DESCRIBED = {
    ("POST", "/classify"),
    ("POST", "/explain"),
    ("POST", "/"),
    ("POST", "/predict"),
    ("GET", "/info"),
    ("POST", "/v1/classify"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("POST", "/v1/models/{model}:predict"),
    ("POST", "/invocations"),
    ("GET", "/v2"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"),
    ("GET", "/v2/models/{model}"),
    ("GET", "/v2/models/{model}/ready"),
    ("POST", "/v2/models/{model}/infer"),
    ("GET", "/v2/models/{model}/versions/{version}"),
    ("GET", "/v2/models/{model}/versions/{version}/ready"),
    ("POST", "/v2/models/{model}/versions/{version}/infer"),
    *(("GET", path) for path in ("/livez", "/readyz", "/healthz", "/health", "/ping", "/version", "/metrics")),
    *(("GET", path) for path in ("/docs.json", "/")),
}


def document(classifier: Classifier, **settings: Any) -> dict[str, Any]:
    return openapi(fake_application(classifier, FakeRunner(ANSWER), settings), PROTOCOLS)


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    # Small limits: the cases at and beyond them are computed too.
    with serve(store, TEXTSERVE_MAX_TEXTS="4", TEXTSERVE_MAX_CHARACTERS="1000") as running:
        yield running


def test_every_path_and_method_is_described(server: Server) -> None:
    paths = httpx.get(f"{server.url}/docs.json").json()["paths"]
    assert {
        (method.upper(), path) for path, item in paths.items() for method in item.keys() - {"parameters"}
    } == DESCRIBED


@pytest.mark.parametrize("character", [chr(code) for code in range(0x3100) if chr(code).isspace()])
def test_the_schema_rejects_white_space_of_any_kind(classifier: Classifier, character: str) -> None:
    pattern = document(classifier)["components"]["schemas"]["Text"]["pattern"]
    assert not re.search(pattern, character * 2)
    # Rust's and JavaScript's \s is smaller than Python's: the pattern names what it lacks.
    assert not re.search(pattern, character * 2, re.ASCII) or ord(character) > 0x85
    assert re.search(pattern, f"{character}a{character}")


def test_the_limits_are_those_of_the_settings(classifier: Classifier) -> None:
    schemas = document(classifier, max_texts=5, max_characters=77)["components"]["schemas"]
    assert (schemas["Texts"]["maxItems"], schemas["Text"]["maxLength"]) == (5, 77)
    assert schemas["Batch"]["maxItems"] == 5
    bodies = document(classifier, max_body_bytes=1234)["paths"]
    assert "1234 bytes" in bodies["/classify"]["post"]["requestBody"]["description"]


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        *((path, {"200", "400", "413", "429", "500", "503", "504"}) for path in ("/classify", "/explain", "/")),
        ("/predict", {"200", "400", "413", "422", "424", "429", "503"}),
    ],
)
def test_every_status_is_described_with_the_body_of_its_protocol(
    classifier: Classifier, path: str, statuses: set[str]
) -> None:
    responses = document(classifier)["paths"][path]["post"]["responses"]
    assert responses.keys() == statuses
    errors = {str(response["content"]) for status, response in responses.items() if status != "200"}
    assert len(errors) == 1
    described = " ".join(response["description"] for response in responses.values())
    assert [kind.type for kind in REFUSALS if kind is not Unauthorized and f"`{kind.type}`" not in described] == []


def test_keys_are_described_if_configured(classifier: Classifier) -> None:
    assert "security" not in document(classifier)
    with_keys = document(classifier, api_keys="secret-0123456789")
    assert with_keys["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}
    assert with_keys["security"] == [{"key": []}]
    open_to_all = [path for path, item in with_keys["paths"].items() if item.get("get", {}).get("security") == []]
    assert sorted(open_to_all) == ["/health", "/healthz", "/livez", "/metrics", "/ping", "/readyz", "/version"]
    for path in ("/classify", "/", "/predict"):
        assert "401" in with_keys["paths"][path]["post"]["responses"]


def test_the_document_and_its_page_are_not_counted_as_requests(serve: Serve) -> None:
    client = serve(documentation(PROTOCOLS))
    assert client.request("GET", "/docs.json").json()["openapi"] == "3.1.0"
    assert "swagger-ui" in client.request("GET", "/").text
    assert client.outcomes() == {}


def test_the_page_shows_the_operations_and_loads_nothing_from_elsewhere(server: Server) -> None:
    requests: list[str] = []
    messages: list[str] = []
    with browser() as chromium, chromium.new_page() as page:
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.goto(server.url)
        expect(page.locator("#operations-Classification-post_classify")).to_be_visible(timeout=30_000)
        expect(page.locator(".opblock")).to_have_count(len(DESCRIBED), timeout=30_000)
        expect(page.locator(".opblock").first).to_contain_text("/classify")
        expect(page.locator(".opblock-tag").first).to_have_text("Classification")
        expect(page.locator(".models.is-open")).to_have_count(0)
        expect(page.get_by_role("link", name="Try it on a page")).to_have_attribute("href", "./ui")
    assert [url for url in requests if not url.startswith((server.url, "data:"))] == []
    assert messages == []


def test_schemathesis_finds_no_difference(server: Server, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(CONFIGURATION), "run", f"{server.url}/docs.json"),
        *("--max-examples", EXAMPLES, "--generation-database", "none", "--no-color"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]
    cases = sum(int(count.replace(",", "")) for count in CASES.findall(done.stdout))
    print(f"{cases} generated cases")  # noqa: T201  # shown with -s
    assert cases >= 5 * len(DESCRIBED)
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'outcome="internal"' not in metrics
