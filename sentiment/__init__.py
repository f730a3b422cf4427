"""What runs inside the Bento: text → protocol → runner → classifier → protocol. No torch, no transformers."""
