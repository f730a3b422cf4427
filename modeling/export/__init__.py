"""From a checkpoint to the ONNX graph that is served."""
