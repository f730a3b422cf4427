"""Rows that cannot be scored, and inputs and outputs that stop a run: a clear message, nothing half written."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts import score
from tests.bulk.conftest import Write
from tests.server import LIMIT_SECONDS, ROOT, environment

Tiny = Callable[[str], str]
POLISH = "text\nświetny dzień, źle\nżółć\n".encode("cp1250")


def bad(output: Path) -> list[tuple[int, int | None, str]]:
    rows = map(json.loads, output.with_name(f"{output.name}.bad.jsonl").read_text(encoding="utf-8").splitlines())
    return [(row["row"], row["line"], row["reason"]) for row in rows]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("in.csv", b"", [], "is empty: it has no rows"),
        ("in.csv", b"text\n", [], "is empty: it has no rows"),
        ("in.jsonl", b"\n\n", [], "is empty: it has no rows"),
        ("in.csv", b"id;body\n1;good\n", [], "has no column 'text'; name another by --text-column: id, body"),
        ("in.jsonl", b'{"id": 1, "body": "good"}\n', [], "has no key 'text', only id, body"),
        ("in.csv", b"text,body\n1,good\n2.5,bad\n", [], "only numbers; name the one with texts by --text-column"),
        ("in.jsonl", b'{"text": 1}\n{"text": 2}\n', [], "none of the first 2 rows can be scored: text is a number"),
        ("in.csv", POLISH, [], "is not in utf-8; if the file has another encoding, name it by --encoding"),
        ("in.csv", "żółć\nx\n".encode("cp1250"), [], "the header is not in utf-8"),
        ("in.csv", b"text,text\ngood,bad\n", [], "has two columns 'text'"),
        ("in.csv", b",text,\n1,good,2\n", [], "has two columns ''"),
        ("in.csv", b"text\rgood\rbad\r", [], "has a carriage return within the header; save it with line feeds"),
        ("in.csv", b"text," + b"x" * 1_000_001 + b"\ngood,1\n", [], "the header is broken: field larger than"),
        ("in.csv", "text\ngood\n".encode("utf-16") + b"x", ["--encoding", "utf-16"], "is not in utf-16; if the file"),
        ("in.jsonl", b'{"text": "good"}\n', ["--encoding", "utf-16"], "is not in utf-16; if the file"),
        ("in.csv", b"text,score\ngood,1\n", [], "has a column 'score', as has the answer; give --prefix"),
        ("in.jsonl", b'{"text": "good", "score": 1}\n', [], "has a column 'score', as has the answer; give --prefix"),
        ("in.jsonl", b'{"text": "good"}\n{"text": "bad", "score": 1}\n', [], "has a column 'score', as has the answer"),
        ("in.parquet", b"PAR1 no", [], "cannot be read as parquet"),
        ("in.jsonl.gz", b"not gzip", [], "cannot be read as jsonl"),
        ("in.txt", b"good\n", [], "its name does not tell the format"),
        ("in.csv", b"text\ngood\n", ["--pair-column", "b"], "reads single texts; leave it out"),
        ("in.csv", b"text\ngood\n", ["--model", "no-such"], "is not in the model store; save it by make save"),
        ("in.csv", b"text\ngood\n", ["--model", "./no-such"], "model.yaml cannot be read"),
    ],
)
def test_an_input_that_cannot_be_meant_stops_the_run(
    tmp_path: Path,
    tiny: Tiny,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / name).write_bytes(content)
    code = score.main([str(folder / name), str(folder / "out.csv"), "--model", tiny("number"), *options])
    assert code == 1
    error = capsys.readouterr().err
    assert message in error
    assert "good" not in error
    assert [file.name for file in folder.iterdir()] == [name]


def test_a_parquet_column_of_numbers_is_named_with_the_others(
    tmp_path: Path, tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table({"text": [1, 2], "body": ["a", "b"]}), tmp_path / "in.parquet")
    assert score.main([str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), "--model", tiny("number")]) == 1
    assert "int64, not of texts; name the one with texts by --text-column: text, body" in capsys.readouterr().err


def test_two_parquet_columns_of_one_name_are_refused(
    tmp_path: Path, tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table([["good"], [1], [2]], names=["text", "id", "id"]), tmp_path / "in.parquet")
    assert score.main([str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), "--model", tiny("number")]) == 1
    assert "has two columns 'id'; rename one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("taken.csv", "exists; delete it, or name another output"),
        ("no/out.csv", "its folder does not exist"),
        ("folder", "its name does not tell the format"),
        ("folder.csv", "is a folder; name a file in it"),
        ("out.txt", "its name does not tell the format"),
    ],
)
def test_an_output_that_cannot_be_written_stops_the_run_before_it_begins(
    tmp_path: Path, lines: Write, tiny: Tiny, capsys: pytest.CaptureFixture[str], output: str, message: str
) -> None:
    (tmp_path / "taken.csv").write_text("mine", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.csv").mkdir()
    source = lines("in.jsonl", [{"text": "good"}])
    before = sorted(tmp_path.rglob("*"))
    assert score.main([str(source), str(tmp_path / output), "--model", tiny("number")]) == 1
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken.csv").read_text(encoding="utf-8") == "mine"


def test_broken_rows_of_csv_are_told_by_number_line_and_reason(tmp_path: Path, tiny: Tiny) -> None:
    rows = [
        b"id,text",
        b"1,good",
        b'2,"two',
        b'lines good"',
        b"3,",
        b"4,x,y",
        b'5,"a"b',
        b"6,\xbf\xf3\xb3\xe6",
        b"7,bad",
    ]
    (tmp_path / "in.csv").write_bytes(b"\n".join(rows) + b"\n")
    output = tmp_path / "out.csv"
    assert score.main([str(tmp_path / "in.csv"), str(output), "--model", tiny("number"), "--quiet"]) == 3
    assert [line.split(",")[0] for line in output.read_text().splitlines()] == ["id", "1", "2", 'lines good"', "7"]
    assert bad(output) == [
        (3, 5, "text is empty or only white space"),
        (4, 6, "has 3 fields, the header 2"),
        (5, 7, "is broken: ',' expected after '\"' (up to line 7)"),
        (6, 8, "is not in utf-8; if the file has another encoding, name it by --encoding, such as windows-1250"),
    ]


def test_broken_rows_of_json_lines_and_parquet_are_told(tmp_path: Path, tiny: Tiny) -> None:
    rows = ['{"text": "good"}', "{", "[1]", '{"text": null}', '{"text": true}', "", '{"text": "\\ud800"}', '{"x": 1}']
    (tmp_path / "in.jsonl").write_text("\n".join(rows), encoding="utf-8")
    assert score.main([str(tmp_path / "in.jsonl"), str(tmp_path / "o.csv"), "--model", tiny("number"), "--quiet"]) == 3
    assert bad(tmp_path / "o.csv") == [
        (2, 2, "is not JSON"),
        (3, 3, 'is not an object, such as {"text": "…"}'),
        (4, 4, "text has no text"),
        (5, 5, "text is true or false, not a text"),
        (6, 7, "has half of a character (a lone surrogate)"),
        (7, 8, "has no key 'text', only x"),
    ]
    wrong = pa.array([b"good", b"\xbf\xf3", None], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": wrong}), tmp_path / "in.parquet")
    output = tmp_path / "p.parquet"
    assert score.main([str(tmp_path / "in.parquet"), str(output), "--model", tiny("number"), "--quiet"]) == 3
    assert bad(output) == [(2, None, "is not in UTF-8"), (3, None, "text has no text")]
    assert pq.read_table(output)["score"].to_pylist() == [4.5]


def test_one_broken_row_in_a_hundred_leaves_the_others_as_they_are(tmp_path: Path, tiny: Tiny) -> None:
    texts = [f"good number {index}" if index % 100 else "" for index in range(6000)]
    (tmp_path / "in.csv").write_text("text,i\n" + "".join(f"{text},{i}\n" for i, text in enumerate(texts)))
    output = tmp_path / "out.parquet"
    assert score.main([str(tmp_path / "in.csv"), str(output), "--model", tiny("number"), "--quiet"]) == 3
    assert pq.read_table(output)["i"].to_pylist() == [str(index) for index in range(6000) if index % 100]
    assert [row for row, _, _ in bad(output)] == [index + 1 for index in range(0, 6000, 100)]


def test_windows_1250_is_read_with_its_encoding(tmp_path: Path, tiny: Tiny) -> None:
    (tmp_path / "in.csv").write_bytes(POLISH.replace(b",", b""))
    options = ["--model", tiny("number"), "--quiet", "--encoding", "windows-1250"]
    assert score.main([str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), *options]) == 0
    assert "świetny dzień źle" in (tmp_path / "out.csv").read_text(encoding="utf-8")


def test_a_disk_that_takes_no_more_ends_the_run_and_keeps_what_is_finished(tmp_path: Path, tiny: Tiny) -> None:
    # The process may write no file of more bytes than this: the system's error comes the same way as from a full disk.
    limit = 200_000
    rows = [json.dumps({"text": "good", "id": index, "noise": f"{hash(index * 0.7):x}"}) for index in range(40_000)]
    (tmp_path / "in.jsonl").write_text("\n".join(rows), encoding="utf-8")
    command = [sys.executable, "-m", "scripts.score", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")]
    command += ["--model", tiny("number"), "--quiet"]

    def start(limited: bool) -> subprocess.CompletedProcess[str]:
        def limit_files() -> None:
            if limited:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.run(
            command,
            cwd=ROOT,
            env=environment(tmp_path / "home"),
            preexec_fn=limit_files,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )

    done = start(limited=True)
    assert done.returncode == 1, done.stderr
    assert "cannot be written: " in done.stderr
    assert "finished parts are kept: fix the cause and run the same command again" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out.jsonl").exists()
    assert len(list((tmp_path / ".out.jsonl.parts").glob("part-*.json"))) == 20
    assert start(limited=False).returncode == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 40_000
