"""From files to windows."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bulk.addresses import sources
from bulk.reading import Reading, read
from bulk.windows import WINDOW_ROWS


def test_parquet_is_read_in_little_memory_whatever_the_size_of_its_row_group(tmp_path: Path) -> None:
    content = random.Random(5)
    texts = [content.randbytes(200).hex() for _ in range(20 * WINDOW_ROWS)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet", row_group_size=len(texts), use_dictionary=False)
    before = pa.total_allocated_bytes()
    windows = read(sources(str(tmp_path / "in.parquet")), Reading())
    first = next(windows)
    assert pa.total_allocated_bytes() - before < (tmp_path / "in.parquet").stat().st_size / 3
    assert [*first.inputs, *(text for window in windows for text in window.inputs)] == texts
