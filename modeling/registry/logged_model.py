"""The code that MLflow keeps beside a logged checkpoint: texts in, a label and its probability out.

MLflow copies this file into the logged model and runs it when the model is loaded, so it imports nothing of the project
(``mlflow.pyfunc``, "models from code"): a registered version can be asked wherever MLflow, torch and transformers are.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from transformers import AutoModelForSequenceClassification, AutoTokenizer

BATCH = 32


class CheckpointModel(PythonModel):  # type: ignore[misc]  # MLflow is not typed
    """A Hugging Face checkpoint, the artifact ``checkpoint``, in float32."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load tokenizer and network from the artifacts of the logged model."""
        folder = context.artifacts["checkpoint"]
        self.max_tokens = context.model_config["max_tokens"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Columns ``label`` (as the checkpoint names it) and ``score`` (its probability) for the column ``text``."""
        texts = model_input["text"].tolist()
        rows: list[tuple[str, float]] = []
        for start in range(0, len(texts), BATCH):
            batch = self.tokenizer(
                texts[start : start + BATCH],
                truncation=True,
                max_length=self.max_tokens,
                padding=True,
                return_tensors="pt",
            )
            with torch.inference_mode():
                scores, indices = self.network(**batch).logits.softmax(dim=-1).max(dim=-1)
            labels = self.network.config.id2label
            rows += [(labels[index], score) for index, score in zip(indices.tolist(), scores.tolist(), strict=True)]
        return pd.DataFrame(rows, columns=["label", "score"])


set_model(CheckpointModel())
