"""Runs a job: scores an input into a complete output, however often it is killed and started again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
from pyarrow import fs

from bulk import local
from bulk.addresses import PIPE, Format, Place, Source, output_format, reason, sources
from bulk.answers import Answering
from bulk.errors import BulkError
from bulk.models import FoundModel
from bulk.parts import Key, Parts, Record
from bulk.progress import Progress, Summary
from bulk.reading import Reading, check_first, read, read_file
from bulk.scorer import Scored, Scorer
from bulk.windows import WINDOW_CHARACTERS, WINDOW_ROWS, Window
from bulk.writing import Writer, plan
from textserve.cpus import available_cpus
from textserve.spec import ModelSpec

# Scores windows: takes the files, how to read them, the digests of the finished windows and the scorer, and yields the
# others in any order as (key, position, digest, scored). See score_here and bulk.cluster.score.
Engine: TypeAlias = Callable[
    [Sequence[Source], Reading, Mapping[Key, str], Scorer], Iterator[tuple[Key, int, str, Scored]]
]


@dataclass(frozen=True, slots=True)
class Job:
    """What to score, and how.

    Attributes:
        input: see :func:`bulk.addresses.sources`.
        output: a path, an address, or - for standard output.
        model: see :func:`bulk.models.find`.
        reading: the columns and the encoding of the input; ``pair`` may be left out for a model of pairs.
        answering: the columns of an answer.
        input_format: the format, if the name of the input does not tell it.
        output_format: the format, if the name of the output does not tell it.
        quiet: whether to print no progress.
    """

    input: str
    output: str
    model: str
    reading: Reading = field(default_factory=Reading)
    answering: Answering = field(default_factory=Answering)
    input_format: Format | None = None
    output_format: Format | None = None
    quiet: bool = False


def run(job: Job, engine: Engine | None = None, cores: int | None = None) -> Summary:
    """Score ``job``, on this machine or by ``engine`` on ``cores``, and return the summary.

    Raises:
        BulkError: if the run cannot start or go on; finished parts are kept.
        SpecError, ModelFilesError: if the model cannot be loaded.
    """
    files = sources(job.input, job.input_format)
    form = output_format(job.output, files, job.output_format)
    output = None if job.output == PIPE else _free(Place.of(job.output))
    scorer = Scorer(job.model, job.answering)
    found = scorer.load()[0]
    scorer.model, scorer.digest = found.name, found.digest
    reading = _reading(job.reading, found.spec)
    summary = Summary(found.spec, cores or available_cpus(), found.reference)
    progress = Progress([source.size for source in files], quiet=job.quiet)
    if output is None:
        if engine is not None:
            raise BulkError("standard output: a cluster finishes rows in any order; name a file")
        _stream(files, reading, scorer, summary, progress, form)
        return summary
    parts = Parts(output)
    _check_free(parts, output)
    if files[0].place is not None and not parts.done:  # standard input cannot be read twice
        window = next(read(files, reading))
        job.answering.check(found.spec, window.columns, window.name)
    finished = parts.open(_described(files, reading, job.answering, found))
    try:
        for (file, _), record in finished.items():
            summary.add(record, kept=True)
            progress.kept(file, record.position)
        if not parts.done:
            digests = {key: record.input for key, record in finished.items()}
            for key, position, digest, scored in (engine or score_here)(files, reading, digests, scorer):
                finished[key] = parts.save(key, scored, digest, position)
                summary.add(finished[key])
                progress.update(key[0], position, summary)
            if not finished:
                raise BulkError(f"{files[0].name}: is empty: it has no rows")
            scorer.unload()
            _assemble(parts, output, form, finished, job.answering.schema(found.spec))
            parts.set_done()
        if summary.bad:
            parts.move(bad_rows(output))
        parts.move(output)
        parts.remove()
    except BulkError:
        if not finished:
            parts.remove()
        raise
    finally:
        parts.close()
        progress.end(summary)
    return summary


def score_here(
    files: Sequence[Source], reading: Reading, finished: Mapping[Key, str], scorer: Scorer
) -> Iterator[tuple[Key, int, str, Scored]]:
    """Score on this machine; an :data:`Engine`."""
    windows = (window for index, source in enumerate(files) for window in unfinished(index, source, reading, finished))
    for window, scored in local.score(scorer, windows, available_cpus()):
        yield window.key, window.position, window.digest(), scored


def unfinished(index: int, source: Source, reading: Reading, finished: Mapping[Key, str]) -> Iterator[Window]:
    """Yield the unfinished windows of a file; ``finished`` has the digests of the finished windows.

    Raises:
        BulkError: if a finished window has changed or is missing.
    """
    left = {key for key in finished if key[0] == index}
    changed = BulkError(f"{source.name}: has changed since the run began; delete the folder of its parts to start over")
    for window in read_file(index, source, reading):
        if source.place is None and window.number == 0:
            check_first(window, source, reading)
        if window.key not in left:
            yield window
        elif window.digest() != finished[window.key]:
            raise changed
        left.discard(window.key)
    if left:
        raise changed


def bad_rows(output: Place) -> Place:
    """The file for the bad rows of an output."""
    return output.beside("", ".bad.jsonl")


def _reading(reading: Reading, spec: ModelSpec) -> Reading:
    if spec.input == "pair":
        return Reading(reading.text, reading.pair or "text_pair", reading.encoding, reading.separator)
    if reading.pair is not None:
        raise BulkError(f"--pair-column {reading.pair}: the model {spec.name} reads single texts; leave it out")
    return reading


def _free(output: Place) -> Place:
    """Check that the output is in an existing folder and is not a folder itself, and return it."""
    if output.local and not Path(output.path).parent.is_dir():
        raise BulkError(f"{output.name}: its folder does not exist; create it first")
    if output.kind() == fs.FileType.Directory:
        raise BulkError(f"{output.name}: is a folder; name a file in it")
    return output


def _check_free(parts: Parts, output: Place) -> None:
    """Refuse an output that exists, unless this run made it and was killed just afterwards."""
    for place in (output, bad_rows(output)):
        if place.kind() != fs.FileType.NotFound and not parts.done:
            raise BulkError(f"{place.name}: exists; delete it, or name another output")


def _described(files: Sequence[Source], reading: Reading, answering: Answering, found: FoundModel) -> dict[str, Any]:
    """Everything that the parts depend on; it must be the same when a run is resumed."""
    return {
        "model": found.tag,
        "digest": found.digest,
        "reference": found.reference.bounds if found.reference else None,
        "input": [[source.name, source.format, source.size] for source in files],
        "window": [WINDOW_ROWS, WINDOW_CHARACTERS],
        **asdict(reading),
        **asdict(answering),
    }


def _assemble(parts: Parts, output: Place, form: Format, keys: Iterable[Key], answers: Any) -> None:
    """Write the output and the file of bad rows from the parts."""
    keys = sorted(keys)
    with parts.whole(bad_rows(output)) as stream:
        for key in keys:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in parts.bad(key))
            stream.write("".join(lines).encode())
    schema = answers if form == "jsonl" else plan(map(parts.table, keys), answers)
    with parts.whole(output) as stream:
        writer = Writer(stream, form, schema, answers.names)
        for key in keys:
            writer.write(parts.table(key))
        writer.close()


def _stream(
    files: Sequence[Source], reading: Reading, scorer: Scorer, summary: Summary, progress: Progress, form: Format
) -> None:
    """Write the scored rows to standard output, and the bad rows to standard error."""
    found, _ = scorer.load()
    answers, writer = scorer.answering.schema(found.spec), None
    try:
        for window, scored in local.score(scorer, read(files, reading), available_cpus()):
            if writer is None:
                schema = answers if form == "jsonl" else plan([scored.table], answers)
                writer = Writer(sys.stdout.buffer, form, schema, answers.names)
            elif form == "csv":
                writer.schema = _widened(writer.schema, scored.table, answers, window.name)
            writer.write(scored.table)
            sys.stdout.buffer.flush()
            for bad in scored.bad:
                sys.stderr.write(json.dumps(bad.as_dict(), ensure_ascii=False) + "\n")
            summary.add(Record.of(scored, window.position))
            progress.update(window.file, window.position, summary)
    except OSError as error:
        raise BulkError(f"standard output: cannot be written: {reason(error)}") from None
    finally:
        progress.end(summary)


def _widened(schema: pa.Schema, table: pa.Table, answers: pa.Schema, name: str) -> pa.Schema:
    """``schema`` with types that also hold the values of ``table``, of the file ``name``; the header stays the same.

    Raises:
        BulkError: if the table has a column that the schema lacks.
    """
    widened = plan([schema.empty_table(), table], answers)
    if late := [column for column in widened.names if column not in schema.names]:
        where = f"{name}: has a column {late[0]!r} that the first file lacks, and the header is already written"
        raise BulkError(f"{where}; name a file as the output, or give --to jsonl")
    return widened
