"""The Open Inference Protocol over gRPC, in the same process and event loop as HTTP."""
