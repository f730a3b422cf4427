"""NVIDIA Triton with its dynamic batcher, through PyTriton: https://triton-inference-server.github.io/pytriton/

python -m benchmarks.peers.triton HTTP_PORT GRPC_PORT METRICS_PORT WORKSPACE
"""

from __future__ import annotations

import os
import sys
import sysconfig

import numpy as np
import numpy.typing as npt
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers import MAX_BATCH, MAX_WAIT_SECONDS
from benchmarks.peers.model import Model

model = Model()


@batch
def classify(text: npt.NDArray[np.bytes_]) -> dict[str, npt.NDArray[np.generic]]:
    """Classify texts, UTF-8 of shape ``[batch, 1]``; labels and scores have the same shape."""
    answers = model([row.decode() for row in text[:, 0]])
    return {
        "label": np.array([[answer["label"].encode()] for answer in answers]),
        "score": np.array([[answer["score"]] for answer in answers], dtype=np.float32),
    }


if __name__ == "__main__":
    # Triton loads libpython by name; it must match the standard library of this Python.
    os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
    http_port, grpc_port, metrics_port, workspace = sys.argv[1:]
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=int(http_port),
        grpc_address="127.0.0.1",
        grpc_port=int(grpc_port),
        metrics_address="127.0.0.1",
        metrics_port=int(metrics_port),
    )
    with Triton(config=config, workspace=workspace) as triton:
        triton.bind(
            model_name="classify",
            infer_func=classify,
            inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="label", dtype=bytes, shape=(1,)), Tensor(name="score", dtype=np.float32, shape=(1,))],
            config=ModelConfig(
                max_batch_size=MAX_BATCH,
                batcher=DynamicBatcher(max_queue_delay_microseconds=round(MAX_WAIT_SECONDS * 1e6)),
            ),
        )
        triton.serve()
