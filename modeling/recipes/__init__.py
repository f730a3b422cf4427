"""How a checkpoint is made: ``full`` fine-tunes all of it, ``head`` only fits what stands on a frozen encoder."""
