"""One line for every error, and the exit codes."""

import os
import signal
import subprocess
import sys
import warnings

import pytest

from scorekit.cli import errors
from scorekit.cli.app import COMMANDS
from scorekit.cli.errors import TRACEBACK, UsageError, exit_code, one_line_warnings

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def process(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "scorekit", *map(str, arguments)]
    return subprocess.Popen(command, env=ONE_THREAD, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def loads_torch(code: str) -> bool:
    """Whether a fresh process has imported torch or numpy after this code."""
    command = [sys.executable, "-c", f"{code}; import sys; print({{'torch', 'numpy'}} & set(sys.modules))"]
    done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()[-1] != "set()"


def test_the_help_of_everything_and_wrong_options_load_no_torch():
    """The mutant: something that imports numpy."""
    helps = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    wrong = [["lits"], ["sample"], ["sample", "x", "--smapler", "heun"], ["train", "x", "--steps", "0"]]
    calls = "; ".join(f"main({line})" for line in helps + wrong)
    assert not loads_torch(f"from scorekit.cli import main; {calls}")
    assert loads_torch("import scorekit, numpy")


def test_the_help_names_every_command_and_every_option(cli):
    for name in COMMANDS:
        assert f" {name} " in cli("--help").out
    assert cli().out == cli("--help").out
    helped = cli("sample", "--help").out
    for option in ("--sampler", "--param", "--num-levels", "--evaluations", "--weights", "--label", "--out"):
        assert option in helped


def test_version_is_the_packages(cli):
    import scorekit

    assert cli("--version").out.strip() == scorekit.__version__


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lits",), ("no command is named 'lits'", "did you mean 'list'", "train")),
        (("--versoin",), ("--versoin", "did you mean")),
        (("sample",), ("CHECKPOINT",)),
        (("sample", "x", "--smapler", "heun"), ("--smapler", "Did you mean --sampler")),
        (("sample", "x", "--num-samples", "0"), ("--num-samples", "> 0")),
        (("sample", "x", "--num-samples", "many"), ("--num-samples", "many")),
        (("sample", "x", "--weights", "average"), ("average", "ema", "raw")),
        (("sample", "x", "y"), ("y",)),
        (("list", "smaplers"), ("'smaplers'", "did you mean 'samplers'")),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(cli, arguments, said):
    assert cli(*arguments).fails(2, *said)


def raising(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("no such\noption"), 2, "error: no such option"),
        (ValueError("bad data"), 1, "error: bad data"),
        (PermissionError(13, "Permission denied", "out.png"), 1, "error: out.png: Permission denied"),
        (ImportError("pip install 'scorekit[train]'"), 1, "error: pip install 'scorekit[train]'"),
        (RuntimeError("boom"), 1, f"error: RuntimeError: boom (unexpected; {TRACEBACK}=1 shows where)"),
        (AttributeError(), 1, f"error: AttributeError: AttributeError (unexpected; {TRACEBACK}=1 shows where)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_a_command_raises_becomes_a_line_and_a_code(capsys, error, code, line):
    assert exit_code(raising(error)) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_notes_are_part_of_the_line():
    error = TypeError("unknown parameter")
    error.add_note("read from\nrecipe.json")
    assert errors.text(error) == "unknown parameter (read from recipe.json)"


def test_the_code_of_a_command_is_its_own():
    assert [exit_code(lambda: None), exit_code(lambda: 0), exit_code(lambda: 143)] == [0, 0, 143]


def test_the_environment_variable_gives_the_traceback(monkeypatch):
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(RuntimeError, match="boom"):
        exit_code(raising(RuntimeError("boom")))


def test_a_warning_is_one_line(capsys):
    with one_line_warnings():
        warnings.simplefilter("always")
        warnings.warn("damaged:\n  step-2", DeprecationWarning, stacklevel=2)
    assert capsys.readouterr().err == "warning: damaged: step-2\n"


@pytest.mark.skipif(os.name == "nt", reason="named pipes are POSIX")
def test_ctrl_c_exits_130_with_one_line(run_folder, tmp_path):
    """The command is stopped while it waits for the file that names its sampler: a pipe that nobody writes to."""
    pipe = tmp_path / "sampler.json"
    os.mkfifo(pipe)
    running = process("sample", run_folder, "--sampler", pipe, "--out", tmp_path / "x.png")
    with open(pipe, "w"):  # returns once the command reads
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "interrupted\n")
    assert not (tmp_path / "x.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE")
def test_a_reader_that_has_seen_enough_is_no_error():
    code = "import sys; from scorekit.cli.errors import exit_code; sys.exit(exit_code(lambda: print('components')))"
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running.stdout.close()
    assert (running.stderr.read(), running.wait(timeout=60)) == ("", 141)


def test_the_process_ends_with_the_code_and_the_line():
    running = process("lits")
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("error: no command is named 'lits'")
