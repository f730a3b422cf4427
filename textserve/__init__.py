"""The serving code inside the Bento: text → protocol → runner → classifier → protocol. No torch, no transformers."""

__version__ = "0.1.0"
