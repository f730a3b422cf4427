"""What Triton's own gRPC client is answered, in a process of its own, as JSON on the standard output.

    python -m tests.triton_grpc 127.0.0.1:3002

``tritonclient.grpc`` and :mod:`textserve.grpc` both bring the messages of the package ``inference``, and
protobuf takes them only once into a process: no test imports this module.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

MODEL = "sentiment-pl-en"
TEXTS = ["Bardzo polecam ten hotel!", "The worst film I have seen.", "Zebranie jest w czwartek."]
OUTPUTS = ["label", "score", "probabilities", "tokens", "truncated"]


def texts_input(texts: list[str], *, column: bool = False) -> Any:
    """The one input, its data raw as this client always sends it."""
    array: Any = np.array([text.encode() for text in texts], dtype=np.object_)
    array = array.reshape(-1, 1) if column else array
    tensor = triton.InferInput("text", list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array)
    return tensor


def plain(array: Any) -> Any:
    """An array as JSON can say it, with its shape and type."""
    data = [one.decode() if isinstance(one, bytes) else one for one in array.flatten().tolist()]
    return {"shape": list(array.shape), "dtype": str(array.dtype), "data": data}


def answer(result: Any, names: list[str] = OUTPUTS) -> Any:
    """The outputs of an answer by their names."""
    return {name: plain(result.as_numpy(name)) for name in names}


def refusal(call: Any) -> Any:
    """The status and message with which a call is refused."""
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return None


def ask(url: str) -> dict[str, Any]:
    """What the client is answered, by what it asks."""
    asked: dict[str, Any] = {}
    with triton.InferenceServerClient(url) as client:
        (version,) = client.get_model_metadata(MODEL).versions
        asked["live"] = [client.is_server_live(), client.is_server_ready()]
        asked["ready"] = [client.is_model_ready(MODEL), client.is_model_ready(MODEL, version)]
        asked["server"] = client.get_server_metadata(as_json=True)
        asked["model"] = client.get_model_metadata(MODEL, version, as_json=True)
        asked["row"] = answer(client.infer(MODEL, [texts_input(TEXTS)]))
        asked["column"] = answer(client.infer(MODEL, [texts_input(TEXTS, column=True)]))
        asked["version"] = answer(client.infer(MODEL, [texts_input(TEXTS)], model_version=version))
        outputs = [triton.InferRequestedOutput("score"), triton.InferRequestedOutput("label")]
        result = client.infer(MODEL, [texts_input(TEXTS)], outputs=outputs, request_id="seven")
        asked["two outputs"] = answer(result, ["score", "label"])
        asked["names"] = [one.name for one in result.get_response().outputs]
        asked["id"] = result.get_response().id
        classes = [triton.InferRequestedOutput("probabilities", class_count=2)]
        asked["classes"] = answer(client.infer(MODEL, [texts_input(TEXTS)], outputs=classes), ["probabilities"])
        for algorithm in ("gzip", "deflate"):
            result = client.infer(MODEL, [texts_input(TEXTS * 50)], compression_algorithm=algorithm)
            asked[algorithm] = answer(result, ["label"])
        done = threading.Event()
        later: dict[str, Any] = {}

        def receive(result: Any, error: Any) -> None:
            later["later"] = str(error) if error else answer(result, ["label"])
            done.set()

        client.async_infer(MODEL, [texts_input(TEXTS)], receive)
        done.wait(30)
        asked |= later
        asked["refusals"] = {
            "model": refusal(lambda: client.infer("other", [texts_input(TEXTS)])),
            "version": refusal(lambda: client.infer(MODEL, [texts_input(TEXTS)], model_version="0")),
            "empty": refusal(lambda: client.infer(MODEL, [texts_input(["ok", " "])])),
            "truncate": refusal(
                lambda: client.infer(MODEL, [texts_input(["dobry film " * 400])], parameters={"truncate": False})
            ),
            "timeout": refusal(lambda: client.infer(MODEL, [texts_input(["długi tekst " * 300] * 20)], timeout=1000)),
            "client timeout": refusal(
                lambda: client.infer(MODEL, [texts_input(["długi tekst " * 300] * 100)], client_timeout=0.05)
            ),
        }
        asked["truncated"] = answer(client.infer(MODEL, [texts_input(["dobry film " * 400])]))
    asked["asynchronous"] = asyncio.run(ask_asynchronously(url))
    return asked


async def ask_asynchronously(url: str) -> Any:
    """What the asynchronous client is answered."""
    async with triton_aio.InferenceServerClient(url) as client:
        results = await asyncio.gather(*(client.infer(MODEL, [texts_input([text])]) for text in TEXTS))
        return [answer(result)["label"]["data"] for result in results]


if __name__ == "__main__":
    json.dump(ask(sys.argv[1]), sys.stdout)
