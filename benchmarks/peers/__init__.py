"""The peers, one server per file, each written as its documentation shows.

All peers call :class:`benchmarks.peers.model.Model`, so that only the servers differ. Batching servers collect up to
:data:`MAX_BATCH` texts for at most :data:`MAX_WAIT_SECONDS` and pad to the longest.
"""

MAX_BATCH = 32
MAX_WAIT_SECONDS = 0.005
