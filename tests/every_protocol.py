"""The scores that a running service gives to texts, or pairs, over each protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc
import httpx
import numpy as np
import numpy.typing as npt

from tests.server import LIMIT_SECONDS, Server
from textserve.grpc.inference_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse
from textserve.spec import Input, ModelSpec

Scores: TypeAlias = npt.NDArray[Any]
INFER = "/inference.GRPCInferenceService/ModelInfer"


def scores(server: Server, spec: ModelSpec, inputs: Sequence[Input]) -> dict[str, Scores]:
    """``[texts, labels]`` by protocol, in the order of the labels of ``spec``."""
    one = [given if isinstance(given, str) else {"text": given[0], "text_pair": given[1]} for given in inputs]
    native = _post(server, "/classify", {"texts": one})["results"]
    hugging = _with_inference_client(server, one, len(spec.labels))
    tei = _post(server, "/predict", {"inputs": [[given] if isinstance(given, str) else given for given in inputs]})
    number = spec.problem_type == "regression"
    return {
        "native": np.array([[row["score"]] if number else _ordered(spec, row["scores"]) for row in native]),
        "Hugging Face": np.array([_ordered(spec, row) for row in hugging]),
        "TEI": np.array([_ordered(spec, {each["label"]: each["score"] for each in row}) for row in tei]),
        "OIP REST": _rest(server, spec, inputs),
        "OIP gRPC": _grpc(server, spec, inputs),
    }


def _post(server: Server, path: str, content: object) -> Any:
    answer = httpx.post(f"{server.url}{path}", json=content, timeout=LIMIT_SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.json()


# In a separate process: in the process of the tests, the hub's client has no network.
CLIENT = """
import json, sys
from huggingface_hub import InferenceClient
client = InferenceClient(sys.argv[1])
for given in json.loads(sys.argv[2]):
    found = client.text_classification(given, top_k=int(sys.argv[3]))
    print(json.dumps({each.label: each.score for each in found}))
"""


def _with_inference_client(server: Server, inputs: Sequence[object], top_k: int) -> list[dict[str, float]]:
    command = [sys.executable, "-c", CLIENT, server.url, json.dumps(inputs), str(top_k)]
    variables = os.environ | {"HF_HUB_OFFLINE": "0"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _ordered(spec: ModelSpec, found: dict[str, float]) -> list[float]:
    return [found[label] for label in spec.label_names]


def _columns(inputs: Sequence[Input]) -> dict[str, list[str]]:
    if isinstance(inputs[0], str):
        return {"text": [str(text) for text in inputs]}
    return {"text": [pair[0] for pair in inputs], "text_pair": [pair[1] for pair in inputs]}


def _output(spec: ModelSpec) -> str:
    return "score" if spec.problem_type == "regression" else "probabilities"


def _rest(server: Server, spec: ModelSpec, inputs: Sequence[Input]) -> Scores:
    tensors = [
        {"name": name, "datatype": "BYTES", "shape": [len(texts)], "data": texts}
        for name, texts in _columns(inputs).items()
    ]
    answer = _post(server, f"/v2/models/{spec.name}/infer", {"inputs": tensors})
    (found,) = (output["data"] for output in answer["outputs"] if output["name"] == _output(spec))
    return np.array(found).reshape(len(inputs), -1)


def _grpc(server: Server, spec: ModelSpec, inputs: Sequence[Input]) -> Scores:
    tensors = [
        ModelInferRequest.InferInputTensor(
            name=name,
            datatype="BYTES",
            shape=[len(texts)],
            contents=InferTensorContents(bytes_contents=[text.encode() for text in texts]),
        )
        for name, texts in _columns(inputs).items()
    ]
    request = ModelInferRequest(model_name=spec.name, inputs=tensors)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        body = channel.unary_unary(INFER)(request.SerializeToString(), timeout=LIMIT_SECONDS)
    answer = ModelInferResponse.FromString(body)
    index = next(index for index, output in enumerate(answer.outputs) if output.name == _output(spec))
    content = answer.raw_output_contents[index] if answer.raw_output_contents else None
    found = np.frombuffer(content, np.float32) if content else answer.outputs[index].contents.fp32_contents
    return np.array(found).reshape(len(inputs), -1)
