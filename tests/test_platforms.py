"""The service as gateways and platforms ask it: their own clients, their environment, and a page of another origin."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.browser import browser
from tests.server import LIMIT_SECONDS, Server, fail_to_serve, free_port, serve

TEXTS = ["What a wonderful evening!", "The worst film I have seen."]
LABELS = ["positive", "negative"]
PAGE = b"<!DOCTYPE html><title>A page of another origin</title>"


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def site() -> Iterator[str]:
    """The origin of a site with one page."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    with site() as origin:
        yield origin


@pytest.fixture(scope="module")
def server(store: Path, shop: str) -> Iterator[Server]:
    with serve(
        store,
        PORT="",
        AIP_HTTP_PORT=str(port := free_port()),
        AIP_PREDICT_ROUTE="/v1/endpoints/7/deployedModels/1:predict",
        AIP_HEALTH_ROUTE="/v1/endpoints/7/deployedModels/1",
        TEXTSERVE_CORS_ORIGINS=f"https://shop.example, {shop}",
        port=port,
    ) as running:
        yield running


def test_the_client_of_openai_posts_a_classification_and_lists_the_model(server: Server) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=LIMIT_SECONDS) as client:
        (model,) = client.models.list().data
        body = {"model": model.id, "input": TEXTS}
        answer: Any = client.post("/classify", body=body, cast_to=object)
        assert [found["label"] for found in answer["data"]] == LABELS
        with pytest.raises(openai.NotFoundError, match="sentiment-pl-en is") as error:
            client.post("/classify", body={**body, "model": "other"}, cast_to=object)
        assert (error.value.type, error.value.param) == ("NotFoundError", "model")


def test_vertex_ai_finds_the_port_and_both_paths_of_its_environment(server: Server) -> None:
    assert httpx.get(f"{server.url}/v1/endpoints/7/deployedModels/1").status_code == 200
    predict = f"{server.url}/v1/endpoints/7/deployedModels/1:predict"
    answer = httpx.post(predict, json={"instances": TEXTS}, timeout=LIMIT_SECONDS)
    assert [found["label"] for found in answer.json()["predictions"]] == LABELS


@pytest.mark.parametrize("path", ["/ping", "/health", "/version", "/v1/models", "/v1/models/sentiment-pl-en"])
def test_what_platforms_ask_before_they_send_texts_is_answered(server: Server, path: str) -> None:
    assert httpx.get(server.url + path).status_code == 200


def test_a_wrong_path_of_vertex_ai_is_named(server: Server) -> None:
    assert "AIP_PREDICT_ROUTE: must be a path" in fail_to_serve(server.home, AIP_PREDICT_ROUTE="predict")


# CORS.

CLASSIFY = """async ([url, texts]) => {
    try {
        const headers = {"content-type": "application/json", authorization: "Bearer none"};
        const answer = await fetch(`${url}/classify`, {method: "POST", headers, body: JSON.stringify({texts})});
        return [(await answer.json()).results.map(result => result.label), answer.headers.get("x-request-id")];
    } catch (error) {
        return error.name;
    }
}"""


def test_a_page_of_an_allowed_origin_classifies_and_another_page_does_not(server: Server, shop: str) -> None:
    with site() as other, browser() as chromium, chromium.new_page() as page:
        page.goto(shop)
        labels, request_id = page.evaluate(CLASSIFY, [server.url, TEXTS])
        assert labels == LABELS
        assert request_id
        page.goto(other)
        assert page.evaluate(CLASSIFY, [server.url, TEXTS]) == "TypeError"


def test_a_preflight_is_answered_without_credentials(server: Server) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    for path in ("/classify", "/v1/models/sentiment-pl-en:predict", "/invocations"):
        answer = httpx.options(server.url + path, headers={"Origin": "https://shop.example", **asked})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert "authorization" in answer.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in answer.headers
    refused = httpx.options(f"{server.url}/classify", headers={"Origin": "https://other.example", **asked})
    assert "access-control-allow-origin" not in refused.headers


def test_bentoml_must_not_be_configured_to_allow_every_origin_with_credentials(server: Server) -> None:
    prefix = "services.textserve.http.cors."
    options = ("enabled=true", "access_control_allow_origins=['*']", "access_control_allow_credentials=true")
    output = fail_to_serve(server.home, BENTOML_CONFIG_OPTIONS=" ".join(prefix + option for option in options))
    assert "http.cors: allows every origin with credentials; name the origins" in output
