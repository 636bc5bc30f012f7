"""The command line accepts every command in the documents."""

import re
import shlex
from pathlib import Path

import pytest

from elman.cli import program
from elman.cli.config import spread_sizes

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.yaml")]


def commands(text: str) -> list[str]:
    """Return the commands on separate lines and those in a column of a table."""
    text = re.sub(r"^# ?", "", text, flags=re.MULTILINE) if "\n#     elman" in text else text
    lines = re.findall(
        r"^ *(elman .*)|\| `(elman [^`]*)` \|", text.replace("\\\n", ""), re.MULTILINE
    )
    return [part.strip() for line in lines for part in "".join(line).split("&&")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_of_a_document_are_accepted(
    document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for command in commands(document.read_text(encoding="utf-8")):
        arguments = shlex.split(command, comments=True)[1:]
        app = program(arguments)
        app.parse_args(spread_sizes(arguments), exit_on_error=False, print_error=False)


def test_commands_are_found_in_each_form() -> None:
    text = "elman info a\n| x | `elman info b` |\nelman info \\\n    c && elman info d  # e\n"
    found = [shlex.split(one, comments=True) for one in commands(text)]
    assert [one[2] for one in sorted(found)] == ["a", "b", "c", "d"]
    for name, least in (("README.md", 9), ("README.zh-CN.md", 9), ("guide.md", 15)):
        path = next(path for path in DOCUMENTS if path.name == name)
        assert len(commands(path.read_text(encoding="utf-8"))) >= least
