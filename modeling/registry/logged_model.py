"""The code that MLflow stores with a logged checkpoint: texts in, label and score out.

MLflow copies this file into the logged model and runs it on load (``mlflow.pyfunc``, "models from code"). It imports
nothing of the project, so that a registered version runs wherever MLflow, torch and transformers are installed.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from transformers import pipeline

BATCH = 32


class CheckpointModel(PythonModel):  # type: ignore[misc]  # MLflow is not typed
    """A Hugging Face checkpoint, the artifact ``checkpoint``, in float32."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load tokenizer and network from the artifacts of the logged model."""
        folder = context.artifacts["checkpoint"]
        self.max_tokens = context.model_config["max_tokens"]
        self.classify = pipeline("text-classification", folder, device="cpu", dtype=torch.float32)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Columns ``label`` (as named in the checkpoint) and ``score`` (its probability) for the column ``text``."""
        answers = self.classify(
            model_input["text"].tolist(),
            batch_size=BATCH,
            function_to_apply="softmax",
            truncation=True,
            max_length=self.max_tokens,
        )
        return pd.DataFrame(answers, columns=["label", "score"])


set_model(CheckpointModel())
