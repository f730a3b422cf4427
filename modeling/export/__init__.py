"""From a checkpoint to a verified, quantized ONNX file."""
