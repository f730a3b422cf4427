"""The same answers on other CPUs: golden texts under qemu, with the instructions of older processors only.

Without VNNI, x86 multiplies 8-bit numbers in pairs and saturates their sum at 16 bits, so a model can be correct on the
machine that made it and wrong elsewhere (https://github.com/microsoft/onnxruntime/issues/6004).
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from textserve.classifier import MODEL_FILE, Classifier

pytestmark = pytest.mark.isa

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted(file.parent.name for file in (ROOT / "models").glob(f"*/{MODEL_FILE}"))
# By the instructions that they lack: Haswell has AVX2 and no AVX-512, Sandy Bridge has no AVX2.
CPUS = {"no AVX-512": "Haswell", "no AVX2": "SandyBridge"}
SECONDS = 120
# The last bit of a float differs there, and sometimes tips an activation into the next of its 256 codes.
TOLERANCE = 0.02

FLAGS = """
import json, numpy
print(json.dumps({name: has for name, has in numpy._core._multiarray_umath.__cpu_features__.items()}))
"""
ANSWERS = """
import json, sys
from pathlib import Path
from textserve.classifier import Classifier
classifier = Classifier(Path(sys.argv[1]))
encodings = classifier.encode([golden.text for golden in classifier.spec.golden])
print(json.dumps([classifier.predict([encoding])[0].tolist() for encoding in encodings]))
"""
PRODUCT = """
import json, sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
print(json.dumps(session.run(None, {"x": numpy.full((1, 64), 255, numpy.uint8)})[0].tolist()))
"""


def emulated(cpu: str, code: str, *arguments: str) -> str:
    """The output of ``code`` on a processor of this kind."""
    assert platform.machine() == "x86_64", "qemu runs this Python, which must be an x86-64 one"
    command = ["qemu-x86_64", "-cpu", cpu, sys.executable, "-c", code, *arguments]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def here(model: str) -> npt.NDArray[np.float32]:
    classifier = Classifier(ROOT / "models" / model)
    texts = [golden.text for golden in classifier.spec.golden]
    return np.concatenate([classifier.predict([encoding]) for encoding in classifier.encode(texts)])


def test_the_emulated_processors_lack_the_instructions() -> None:
    flags = {cpu: json.loads(emulated(cpu, FLAGS)) for cpu in CPUS.values()}

    assert flags["Haswell"]["AVX2"]
    assert not flags["Haswell"]["AVX512F"]
    assert flags["SandyBridge"]["AVX"]
    assert not flags["SandyBridge"]["AVX2"]


@pytest.mark.parametrize("lacking", CPUS)
@pytest.mark.parametrize("model", MODELS)
def test_golden_texts_have_the_answers_of_this_processor(model: str, lacking: str) -> None:
    other = np.array(json.loads(emulated(CPUS[lacking], ANSWERS, str(ROOT / "models" / model))), dtype=np.float32)

    mine = here(model)
    assert (other.argmax(axis=1) == mine.argmax(axis=1)).all()
    np.testing.assert_allclose(other, mine, rtol=0, atol=TOLERANCE)


def test_a_graph_that_saturates_is_detected(tmp_path: Path) -> None:
    # The case that the comparison above is for: 255 x 127 + 255 x 127 exceeds 16 bits.
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.full((64, 8), 127, dtype=np.int8), "w")
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 8])],
        [weight],
    )
    file = tmp_path / "product.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)

    found = json.loads(emulated("Haswell", PRODUCT, str(file)))

    assert np.max(found) < 64 * 255 * 127
