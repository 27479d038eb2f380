"""docs/command-line.md shows what the commands print."""

import doctest
import re
import shlex
from pathlib import Path

import pytest

from scorekit.cli.app import COMMANDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "command-line.md").read_text()
NUMBER = re.compile(r"\d[\d,.]*(e-\d+)?(?:[+.]\w+)*|\b[0-9a-f]{8}\b")


def shown(page: str) -> list[tuple[str, str]]:
    """(command line, output) of the page's sessions, in order."""
    blocks = re.findall(r"```console\n(.*?)```", page, flags=re.DOTALL)
    return [tuple(each.split("\n", 1)) for block in blocks for each in re.split(r"(?m)^\$ ", block)[1:]]


def same(shown: str, printed: str) -> bool:
    """Alike but for numbers, whose widths may differ, spaces, and what stands for "..."."""
    plain = [" ".join(NUMBER.sub("#", text).split()) for text in (shown, printed)]
    return doctest.OutputChecker().check_output(*plain, doctest.ELLIPSIS)


def wrong(page: str, cli, light: bool) -> list[str]:
    """The command lines whose output is another one than the page shows."""
    found = []
    for line, output in shown(page):
        program, *arguments = shlex.split(line)
        assert program == "scorekit"
        if light and arguments[0] not in ("--help", "list", "plugins"):
            continue
        result = cli(*arguments)
        expected = 0 if not output.startswith("error: ") else 2 if "--sampler" in line else 1
        if result.code != expected or not same(output, result.out + result.err):
            found.append(line)
    return found


@pytest.fixture(autouse=True)
def narrow(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


def test_the_page_shows_what_the_light_commands_print(cli):
    assert wrong(PAGE, cli, light=True) == []
    assert wrong(PAGE.replace("--version    Display", "--version    Show"), cli, light=True) == ["scorekit --help"]
    assert wrong(PAGE.replace("low, high", "low"), cli, light=True) == ["scorekit list starts"]


@pytest.mark.slow
def test_the_whole_session_of_the_page_runs(cli):
    assert wrong(PAGE, cli, light=False) == []


def test_the_page_has_every_command_and_the_options_that_it_names_exist(cli):
    for name in COMMANDS:
        assert f"scorekit {name}" in PAGE
    known = set().union(*(re.findall(r"--[a-z][\w-]*", cli(name, "--help").out) for name in COMMANDS))
    named = set(re.findall(r"--[a-z][\w-]*", PAGE)) - {"--nproc-per-node", "--help", "--version"}
    assert named - known == set()
    assert {"--sampler", "--all-checkpoints", "--to-authors"} <= named
