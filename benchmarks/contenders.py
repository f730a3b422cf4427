"""The servers to compare, this service and seven peers, with their commands and protocols."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.model import FOLDER_VARIABLE
from benchmarks.servers import Server, textserve_service
from modeling.files import ROOT
from textserve.grpc.inference_pb2 import ModelInferRequest, ModelInferResponse


class Unavailable(Exception):
    """The contender cannot run on this machine; the message says why."""


@dataclass(frozen=True)
class Protocol:
    """A protocol: the path, the request body of one text, and the label of the response."""

    name: str
    path: str
    body: Callable[[str], bytes]
    label: Callable[[bytes], str]
    grpc: bool = False

    def url(self, server: Server) -> str:
        """The URL of ``server`` for :func:`benchmarks.clients.client_of`."""
        return f"grpc://127.0.0.1:{server.grpc_port}{self.path}" if self.grpc else server.url + self.path


@dataclass(frozen=True)
class Contender:
    """A server to compare: ``batches`` is its batching method, ``environment`` its virtual environment.

    The protocols in ``also`` get one case each.
    """

    name: str
    batches: str
    environment: str
    protocol: Protocol
    start: Callable[[Path, Collection[int]], Server]
    ours: bool = False
    also: tuple[Protocol, ...] = ()

    def server(self, model: Path, cores: Collection[int]) -> Server:
        """The server, not yet started, for the model in folder ``model``.

        Raises:
            Unavailable: if its environment does not exist.
        """
        if not program(self.environment, "python").exists():
            raise Unavailable(MISSING.get(self.environment, f"{self.environment} does not exist; run make benchmark"))
        return self.start(model, cores)


MAIN = ".venv"
PEERS = ".venv-benchmark"
MLSERVER = ".venv-benchmark-mlserver"
TRITON = ".venv-benchmark-triton"
ENVIRONMENTS = (MAIN, PEERS, MLSERVER, TRITON)
MISSING = {TRITON: "requires a Python 3.11 with a shared libpython on PATH"}


def program(environment: str, name: str) -> Path:
    """Path of a program in a virtual environment of the project."""
    return ROOT / environment / "bin" / name


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _v2_label(answer: bytes) -> str:
    outputs = {output["name"]: output["data"] for output in json.loads(answer)["outputs"]}
    return str(outputs["label"][0])


def _v2(shape: list[int]) -> Callable[[str], bytes]:
    return lambda text: _json({"inputs": [{"name": "text", "shape": shape, "datatype": "BYTES", "data": [text]}]})


def _infer_request(text: str) -> bytes:
    raw = len(text.encode()).to_bytes(4, "little") + text.encode()
    tensor = ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
    request = ModelInferRequest(model_name="sentiment-pl-en", inputs=[tensor], raw_input_contents=[raw])
    return bytes(request.SerializeToString())


def _infer_label(answer: bytes) -> str:
    response = ModelInferResponse.FromString(answer)
    index = [output.name for output in response.outputs].index("label")
    if response.raw_output_contents:
        return str(response.raw_output_contents[index][4:].decode())
    return str(response.outputs[index].contents.bytes_contents[0].decode())


def _inputs(text: str) -> bytes:
    return _json({"inputs": text})


def _text(text: str) -> bytes:
    return _json({"text": text})


def _texts(text: str) -> bytes:
    return _json({"texts": [text]})


def _label(answer: bytes) -> str:
    return str(json.loads(answer)["label"])


NATIVE = Protocol("HTTP /classify", "/classify", _texts, lambda answer: str(json.loads(answer)["results"][0]["label"]))
PLAIN = Protocol("HTTP, JSON", "/classify", _text, _label)
MOSEC_PLAIN = Protocol("HTTP, JSON", "/inference", _text, _label)
BATCHABLE = Protocol("HTTP, JSON", "/classify", _texts, lambda answer: str(json.loads(answer)[0]["label"]))
V2_PATH = "/v2/models/classify/infer"
MLSERVER_V2 = Protocol("HTTP, V2 JSON", V2_PATH, _v2([1]), _v2_label)
TRITON_V2 = Protocol("HTTP, V2 JSON", V2_PATH, _v2([1, 1]), _v2_label)  # the first axis is the batch


HUGGING_FACE = Protocol("Hugging Face", "/", _inputs, lambda answer: str(json.loads(answer)[0][0]["label"]))
TEI = Protocol("TEI", "/predict", _inputs, lambda answer: str(json.loads(answer)[0]["label"]))
OIP_PATH = "/v2/models/sentiment-pl-en/infer"
OIP_REST = Protocol("OIP REST", OIP_PATH, _v2([1]), _v2_label)
OIP_GRPC = Protocol("OIP gRPC", "/inference.GRPCInferenceService/ModelInfer", _infer_request, _infer_label, grpc=True)


def _service(model: Path, cores: Collection[int]) -> Server:
    return textserve_service(cores=cores, model=model)


OURS = Contender(
    "textserve", "by length", MAIN, NATIVE, _service, ours=True, also=(OIP_GRPC, OIP_REST, HUGGING_FACE, TEI)
)


def _peer(
    name: str,
    batches: str,
    environment: str,
    protocol: Protocol,
    words: Sequence[str],
    ready: str,
    env: Mapping[str, str] | None = None,
) -> Contender:
    """A contender started by ``words``; the first is a program in ``environment``."""

    def start(model: Path, cores: Collection[int]) -> Server:
        first, *rest = words
        variables = {
            FOLDER_VARIABLE: str(model),
            "PYTHONPATH": str(ROOT),
            "TOKENIZERS_PARALLELISM": "false",  # a thread pool does not help on one core
            **(env or {}),
        }
        return Server([str(program(environment, first)), *rest], cores=cores, ready=ready, env=variables)

    return Contender(name, batches, environment, protocol, start)


BIND = ("--host", "127.0.0.1", "--port", "{port}")
THEIRS = (
    _peer(
        "FastAPI",
        "none",
        PEERS,
        PLAIN,
        ("uvicorn", "benchmarks.peers.fastapi_app:app", *BIND, "--no-access-log", "--log-level", "warning"),
        "/health",
    ),
    _peer(
        "BentoML-batchable",
        "padded",
        MAIN,
        BATCHABLE,
        ("bentoml", "serve", "benchmarks.peers.bentoml_service:Classify", *BIND),
        "/readyz",
        {"BENTOML_HOME": "{folder}", "BENTOML_DO_NOT_TRACK": "True"},
    ),
    _peer(
        "LitServe",
        "padded",
        PEERS,
        PLAIN,
        ("python", "-m", "benchmarks.peers.litserve_api", "{port}"),
        "/health",
    ),
    _peer(
        "mosec",
        "padded",
        PEERS,
        MOSEC_PLAIN,
        ("python", "-m", "benchmarks.peers.mosec_worker", "--address", "127.0.0.1", "--port", "{port}"),
        "/",
        # 64 long texts take longer on one core than the default of 3 s.
        {"MOSEC_TIMEOUT": "60000", "MOSEC_PATH": "{folder}/mosec", "MOSEC_LOG_LEVEL": "warning"},
    ),
    _peer(
        "MLServer",
        "padded",
        MLSERVER,
        MLSERVER_V2,
        ("mlserver", "start", "benchmarks/peers/mlserver_model"),
        "/v2/models/classify/ready",
        {
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{grpc_port}",
            "MLSERVER_METRICS_PORT": "{metrics_port}",
            "MLSERVER_METRICS_DIR": "{folder}",
            "MLSERVER_PARALLEL_WORKERS": "1",
            "MLSERVER_DEBUG": "false",
        },
    ),
    _peer(
        "Ray-Serve",
        "padded",
        PEERS,
        PLAIN,
        ("python", "-m", "benchmarks.peers.ray_serve", "{port}"),
        "/-/healthz",
        # RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER makes Ray bind to loopback, as it does on those systems.
        {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": "{folder}", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
    ),
    _peer(
        "Triton",
        "padded",
        TRITON,
        TRITON_V2,
        (
            "python",
            "-m",
            "benchmarks.peers.triton",
            "{port}",
            "{grpc_port}",
            "{metrics_port}",
            "{folder}/workspace",
        ),
        "/v2/models/classify/ready",
    ),
)
CONTENDERS = (OURS, *THEIRS)
