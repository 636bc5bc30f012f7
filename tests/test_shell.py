"""The command line in a shell: closed streams, narrow screens, names with control characters."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

import elman
from elman.cli import main

NASTY = "\x1b[31m<script>alert(1)</script> *b* |\x9b2J"
SMALL = {"hidden_size": 4, "epochs": 1, "device": "cpu"}
ELMAN = f"{sys.executable} -m elman"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **environment},
        check=False,
    )


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a classifier and a forecaster with names that contain control characters and markup."""
    folder = tmp_path_factory.mktemp("named")
    texts, labels = ["so good", "so bad"] * 10, [NASTY, "plain"] * 10
    elman.Classifier(**SMALL).fit(texts, labels, out=folder / "labels")
    y = [float(n % 4) for n in range(40)]
    table = {"unique_id": [NASTY] * 40, "ds": list(range(40)), "y": y}
    elman.Forecaster(**SMALL, horizon=4, windows=8).fit(table, out=folder / "series")
    return folder


# ---- streams


@pytest.mark.parametrize(
    "command",
    ["--help | true", "train classifier --help | head -1", "--version >&-"],
)
def test_a_closed_output_is_not_an_error(command: str) -> None:
    done = shell(f"{ELMAN} {command}")
    assert (done.returncode, done.stderr) == (0, "")


def test_closed_streams_do_not_change_the_exit_code() -> None:
    assert shell(f"{ELMAN} info /no/such/run >&- 2>&- <&-").returncode == 2
    done = shell(f"{ELMAN} info /no/such/run 2>&-")
    assert (done.returncode, done.stdout) == (2, "")


def test_characters_outside_the_encoding_are_escaped() -> None:
    done = shell(f"{ELMAN} info runs/😀 2>&1", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert done.stdout.startswith(r"elman: runs/\U0001f600: there is no such folder")


@pytest.mark.parametrize("columns", ["0", "1", "2", "7"])
def test_help_fits_any_screen(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["predict", "--help"]) == 0
    assert "--beam" in capsys.readouterr().out


# ---- names with control characters


def has_control_characters(text: str) -> bool:
    return any(mark in text for mark in ("\x1b", "\x9b", "\x07"))


def test_control_characters_of_names_do_not_reach_the_screen(
    named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, data = str(named / "labels"), tmp_path / "\x1b[2Jdata.csv"
    data.write_text("text,label\nso good,plain\n")
    missing = [str(tmp_path / "\x1b[2Jno.csv"), "\x07"]
    for arguments, code in (
        (["predict", folder, "so good"], 0),
        (["info", folder], 0),
        (["evaluate", folder, str(data)], 0),
        (["predict", "\x1b[2J", "x"], 2),
        (["predict", folder, "--file", missing[0], "--out", str(tmp_path / "o.csv")], 2),
        (["predict", folder, "x", missing[1]], 2),
        (["\x1b[2J"], 2),
        ([f"--{NASTY}"], 2),
        (["predict", str(named / "series")], 0),
    ):
        assert main(arguments) == code, arguments
        found = capsys.readouterr()
        assert not has_control_characters(found.out + found.err), arguments
        assert code == 0 or len(found.err.splitlines()) == 1, arguments


def test_control_characters_of_a_label_are_shown_escaped(
    named: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["predict", str(named / "labels"), "so good"])
    assert r"\x1b[31m<script>alert(1)</script> *b* |\x9b2J" in capsys.readouterr().out


def test_control_characters_in_training_data_do_not_reach_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "\x1b[2J.csv"
    data.write_text("text,label\n" + "so good,\x1b[31mgood\nso bad,bad\n" * 10 + "alone,\x07\n")
    arguments = ["--hidden-size", "4", "--epochs", "1", "--out", str(tmp_path / "\x1b[2J")]
    assert main(["train", "classifier", str(data), *arguments]) == 0
    found = capsys.readouterr()
    assert not has_control_characters(found.out + found.err)
    assert r"\x1b[2J" in found.out


def test_names_are_escaped_in_the_card_and_the_report(named: Path) -> None:
    for run in ("labels", "series"):
        card, page = ((named / run / name).read_text() for name in ("README.md", "report.html"))
        for text in (card, page):
            assert "<script" not in text
            assert not has_control_characters(text)
    assert (
        r"\\x1b\[31m&lt;script&gt;alert(1)&lt;/script&gt; \*b\* \|"
        in (named / "labels" / "README.md").read_text()
    )


def test_a_chart_with_characters_outside_the_fonts_gives_no_warning() -> None:
    from elman.report.charts import Curve, chart

    found = chart("t", ("春\x1b", "y"), [Curve([1.0, 2.0], [1.0, 2.0], label="眠")])
    assert "春\\x1b" in found
    assert "眠" in found


def test_a_closed_error_stream_does_not_end_the_training() -> None:
    from elman.report.progress import Progress

    written = []

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            raise BrokenPipeError

    Progress(Gone()).show({"event": "note", "text": "nobody hears"})
    assert written
