"""MLServer, a custom runtime with adaptive batching: https://docs.seldon.ai/mlserver/user-guide/adaptive-batching

mlserver start benchmarks/peers/mlserver_model

``model-settings.json`` repeats the batch settings of :mod:`benchmarks.peers`.
"""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.model import Model


class Classify(MLModel):
    """Maps texts to labels and scores in the V2 inference protocol."""

    async def load(self) -> bool:
        """Load the model."""
        self.model = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Classify a batch of texts."""
        answers = self.model(StringCodec.decode_input(payload.inputs[0]))
        labels = StringCodec.encode_output("label", [answer["label"] for answer in answers])
        scores = NumpyCodec.encode_output("score", np.array([[answer["score"]] for answer in answers]))
        return InferenceResponse(model_name=self.name, outputs=[labels, scores])
