"""Calls a server with Triton's gRPC client and prints the responses as JSON.

    python -m tests.triton_grpc 127.0.0.1:3002
    python -m tests.triton_grpc 127.0.0.1:3002 MODEL '{"text": ["…"], "text_pair": ["…"]}'

A separate process, since ``tritonclient.grpc`` and :mod:`textserve.grpc` both register the messages of the package
``inference``, which protobuf allows only once per process. No test may import this module.
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


def texts_input(texts: list[str], *, column: bool = False, name: str = "text") -> Any:
    """The input; this client always sends its data raw."""
    array: Any = np.array([text.encode() for text in texts], dtype=np.object_)
    array = array.reshape(-1, 1) if column else array
    tensor = triton.InferInput(name, list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array)
    return tensor


def plain(array: Any) -> Any:
    """An array as JSON, with its shape and type."""
    data = [value.decode() if isinstance(value, bytes) else value for value in array.flatten().tolist()]
    return {"shape": list(array.shape), "dtype": str(array.dtype), "data": data}


def answer(result: Any, names: list[str] = OUTPUTS) -> Any:
    """The outputs of a response by name."""
    return {name: plain(result.as_numpy(name)) for name in names}


def error_of(failing: Any) -> Any:
    """The status and message of a failed call."""
    try:
        failing()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return None


def ask(url: str, model: str, inputs: dict[str, list[str]]) -> dict[str, Any]:
    """The outputs of any model, all that its metadata names."""
    with triton.InferenceServerClient(url) as client:
        names = [output.name for output in client.get_model_metadata(model).outputs]
        tensors = [texts_input(texts, name=name) for name, texts in inputs.items()]
        found: dict[str, Any] = answer(client.infer(model, tensors), names)
        return found


def call(url: str) -> dict[str, Any]:
    """The responses by name."""
    responses: dict[str, Any] = {}
    with triton.InferenceServerClient(url) as client:
        (version,) = client.get_model_metadata(MODEL).versions
        responses["live"] = [client.is_server_live(), client.is_server_ready()]
        responses["ready"] = [client.is_model_ready(MODEL), client.is_model_ready(MODEL, version)]
        responses["server"] = client.get_server_metadata(as_json=True)
        responses["model"] = client.get_model_metadata(MODEL, version, as_json=True)
        responses["row"] = answer(client.infer(MODEL, [texts_input(TEXTS)]))
        responses["column"] = answer(client.infer(MODEL, [texts_input(TEXTS, column=True)]))
        responses["version"] = answer(client.infer(MODEL, [texts_input(TEXTS)], model_version=version))
        outputs = [triton.InferRequestedOutput("score"), triton.InferRequestedOutput("label")]
        result = client.infer(MODEL, [texts_input(TEXTS)], outputs=outputs, request_id="seven")
        responses["two outputs"] = answer(result, ["score", "label"])
        responses["names"] = [output.name for output in result.get_response().outputs]
        responses["id"] = result.get_response().id
        classes = [triton.InferRequestedOutput("probabilities", class_count=2)]
        responses["classes"] = answer(client.infer(MODEL, [texts_input(TEXTS)], outputs=classes), ["probabilities"])
        for algorithm in ("gzip", "deflate"):
            result = client.infer(MODEL, [texts_input(TEXTS * 50)], compression_algorithm=algorithm)
            responses[algorithm] = answer(result, ["label"])
        done = threading.Event()
        later: dict[str, Any] = {}

        def receive(result: Any, error: Any) -> None:
            later["later"] = str(error) if error else answer(result, ["label"])
            done.set()

        client.async_infer(MODEL, [texts_input(TEXTS)], receive)
        done.wait(300)
        responses |= later
        responses["errors"] = {
            "model": error_of(lambda: client.infer("other", [texts_input(TEXTS)])),
            "version": error_of(lambda: client.infer(MODEL, [texts_input(TEXTS)], model_version="0")),
            "empty": error_of(lambda: client.infer(MODEL, [texts_input(["ok", " "])])),
            "truncate": error_of(
                lambda: client.infer(MODEL, [texts_input(["dobry film " * 400])], parameters={"truncate": False})
            ),
            "timeout": error_of(lambda: client.infer(MODEL, [texts_input(["długi tekst " * 300] * 20)], timeout=1000)),
            "client timeout": error_of(
                lambda: client.infer(MODEL, [texts_input(["długi tekst " * 300] * 20)], client_timeout=0.05)
            ),
        }
        responses["truncated"] = answer(client.infer(MODEL, [texts_input(["dobry film " * 400])]))
    responses["asynchronous"] = asyncio.run(call_asynchronously(url))
    return responses


async def call_asynchronously(url: str) -> Any:
    """The labels that the asynchronous client receives."""
    async with triton_aio.InferenceServerClient(url) as client:
        results = await asyncio.gather(*(client.infer(MODEL, [texts_input([text])]) for text in TEXTS))
        return [answer(result)["label"]["data"] for result in results]


if __name__ == "__main__":
    address, *asked = sys.argv[1:]
    json.dump(ask(address, asked[0], json.loads(asked[1])) if asked else call(address), sys.stdout)
