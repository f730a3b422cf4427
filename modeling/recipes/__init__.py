"""How a checkpoint is trained: ``full`` fine-tunes all of it, ``head`` fits a classifier on a frozen encoder."""
