"""Sends requests of every protocol at once, each with its own client, and prints the answers as JSON.

    python -m tests.mixed_requests sentiment-pl-en http://127.0.0.1:3000 127.0.0.1:3002 5000

``tritonclient.grpc`` and :mod:`textserve.grpc` both register the messages of the package ``inference``, which protobuf
allows once per process: tests run this as a process, and import only its constants.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx

LABELS = ("negative", "neutral", "positive")
TEXTS = [
    "Bardzo polecam ten hotel!",
    "Obsługa była niemiła i niekompetentna.",
    "Zebranie jest w czwartek.",
    "To był najgorszy film, jaki widziałem, a widziałem ich już naprawdę sporo.",
    "Jedzenie zimne, kelner opryskliwy, rachunek pomylony. Nigdy więcej.",
    "Przesyłka przyszła dzień wcześniej, wszystko działa, jestem zachwycona 😍",
    "ok",
    "Nie polecam.",
    "What a wonderful evening!",
    "The worst film I have seen.",
    "The store is open from Monday to Friday.",
    "I would not say that it was bad, but I have seen better at half the price.",
    "Terrible product, a complete waste of money. It broke after two days and nobody answers my messages.",
    "Thank you so much, the staff were lovely and the room was spotless :)",
    "Łóżko wygodne, śniadanie świetne, ale hałas z ulicy nie dał nam spać do trzeciej w nocy. " * 3,
    "The parcel was sent on the third of May and will be delivered within five working days. " * 4,
]
SEED = 7
AT_ONCE = 48
MAX_TEXTS = 6

Scores = list[float]
Ask = Callable[[Sequence[str]], Awaitable[list[Scores]]]


def _in_order(labels: Sequence[Any]) -> Scores:
    """The scores of a ranked list of labels, in the order of ``LABELS``."""
    found = {answer["label"]: answer["score"] for answer in labels}
    return [found[label] for label in LABELS]


def _rows(flat: Sequence[float]) -> list[Scores]:
    return [list(map(float, flat[start : start + 3])) for start in range(0, len(flat), 3)]


def over_http(model: str, client: httpx.AsyncClient) -> dict[str, Ask]:
    """Protocols with a plain HTTP client."""

    async def post(path: str, content: object) -> Any:
        answer = await client.post(path, json=content)
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code} {answer.text}")
        return answer.json()

    async def native(texts: Sequence[str]) -> list[Scores]:
        answer = await post("/classify", {"texts": texts})
        return [[result["scores"][label] for label in LABELS] for result in answer["results"]]

    async def explain(texts: Sequence[str]) -> list[Scores]:
        answer = await post("/explain", {"text": texts[0]})
        assert answer["words"][0]["text"] in texts[0]
        return [[answer["scores"][label] for label in LABELS]]

    async def tei(texts: Sequence[str]) -> list[Scores]:
        if len(texts) == 1:
            return [_in_order(await post("/predict", {"inputs": texts[0], "truncate": True}))]
        answer = await post("/predict", {"inputs": [[text] for text in texts], "truncate": True})
        return [_in_order(labels) for labels in answer]

    async def oip_json(texts: Sequence[str]) -> list[Scores]:
        tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
        wanted = {"inputs": [tensor], "outputs": [{"name": "probabilities"}]}
        answer = await post(f"/v2/models/{model}/infer", wanted)
        return _rows(answer["outputs"][0]["data"])

    async def vllm(texts: Sequence[str]) -> list[Scores]:
        answer = await post("/classify", {"model": model, "input": texts, "truncate_prompt_tokens": -1})
        return [found["probs"] for found in answer["data"]]

    def predictions(path: str, body: Callable[[Sequence[str]], object]) -> Ask:
        async def ask(texts: Sequence[str]) -> list[Scores]:
            answer = await post(path, body(texts))
            return [[found["scores"][label] for label in LABELS] for found in answer["predictions"]]

        return ask

    return {
        "native": native,
        "explain": explain,
        "tei": tei,
        "oip-json": oip_json,
        "vllm": vllm,
        "kserve-v1": predictions(f"/v1/models/{model}:predict", lambda texts: {"instances": texts}),
        "vertex": predictions("/predict", lambda texts: {"instances": texts}),
        "mlflow": predictions(
            "/invocations", lambda texts: {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]}}
        ),
    }


def with_client_libraries(model: str, bento: Any, face: Any, triton_http: Any, triton_grpc: Any) -> dict[str, Ask]:
    """Protocols with third-party clients."""
    import numpy as np
    import tritonclient.grpc as grpc_client
    import tritonclient.http as http_client

    async def bentoml_client(texts: Sequence[str]) -> list[Scores]:
        answer = await bento.classify(texts=list(texts))
        return [[result["scores"][label] for label in LABELS] for result in answer["results"]]

    async def huggingface(texts: Sequence[str]) -> list[Scores]:
        found = await face.text_classification(texts[0], top_k=3)
        return [_in_order([{"label": answer.label, "score": answer.score} for answer in found])]

    def triton(module: Any, client: Any) -> Ask:
        async def ask(texts: Sequence[str]) -> list[Scores]:
            tensor = module.InferInput("text", [len(texts)], "BYTES")
            tensor.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=np.object_))
            answer = await client.infer(model, [tensor], outputs=[module.InferRequestedOutput("probabilities")])
            return _rows(answer.as_numpy("probabilities").flatten().tolist())

        return ask

    return {
        "bentoml": bentoml_client,
        "huggingface": huggingface,
        "oip-binary": triton(http_client, triton_http),
        "oip-grpc": triton(grpc_client, triton_grpc),
    }


async def ask_all(model: str, url: str, grpc_address: str, count: int) -> dict[str, Any]:
    """Send ``count`` requests in equal numbers per protocol, ``AT_ONCE`` in parallel; return answers and errors."""
    import bentoml
    import tritonclient.grpc.aio as triton_grpc
    import tritonclient.http.aio as triton_http
    from huggingface_hub import AsyncInferenceClient

    generator = random.Random(SEED)
    rows: list[tuple[str, int, Scores]] = []
    errors: list[str] = []
    async with (
        httpx.AsyncClient(base_url=url, timeout=600) as plain,
        bentoml.AsyncHTTPClient(url) as bento,
        triton_http.InferenceServerClient(url.removeprefix("http://"), conn_limit=AT_ONCE) as http,
        triton_grpc.InferenceServerClient(grpc_address) as grpc,
        AsyncInferenceClient(url) as face,
    ):
        asks = {**over_http(model, plain), **with_client_libraries(model, bento, face, http, grpc)}
        names = list(asks)
        work = [
            (names[number % len(names)], generator.sample(range(len(TEXTS)), generator.randint(1, MAX_TEXTS)))
            for number in range(count)
        ]
        generator.shuffle(work)
        waiting = iter(work)

        async def worker() -> None:
            for name, indexes in waiting:
                try:
                    answers = await asks[name]([TEXTS[index] for index in indexes])
                except Exception as error:
                    errors.append(f"{name}: {type(error).__name__}: {error}")
                else:
                    # Protocols for a single text answer only the first text.
                    rows.extend((name, index, scores) for index, scores in zip(indexes, answers, strict=False))
                    asked[name] += 1

        asked = dict.fromkeys(names, 0)
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return {"asked": asked, "errors": errors, "rows": rows}


if __name__ == "__main__":
    model, url, grpc_address, count = sys.argv[1:]
    json.dump(asyncio.run(ask_all(model, url, grpc_address, int(count))), sys.stdout)
