"""The servers to compare with, one a file, each written as its documentation shows.

All of them call :class:`benchmarks.peers.model.Model`, so that they differ in nothing but the server. Those that batch
take up to :data:`MAX_BATCH` texts and wait :data:`MAX_WAIT_SECONDS` for them; they pad to the longest, as anyone would
whose batch is what happens to arrive.
"""

MAX_BATCH = 32
MAX_WAIT_SECONDS = 0.005
