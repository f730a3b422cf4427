"""What the verbs share: data, quantization, inference with both engines, figures and files of a model."""
