"""The command `x2i` that the package brings."""

import signal
import subprocess
import sys
import time

import pytest
import x2i


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_the_command_is_the_program(program, tmp_path):
    assert run(program, "--version").stdout == f"x2i {x2i.__version__}\n"
    painted = run(program, "a red apple", "--device", "cpu", "-o", tmp_path / "a.png")
    assert painted.returncode == 0 and (tmp_path / "a.png").stat().st_size > 1000
    again = run(sys.executable, "-m", "x2i", "inspect", tmp_path / "a.png")
    assert again.returncode == 0 and "a red apple" in again.stdout
    help_ = run(program, "generate", "--help")
    assert help_.returncode == 0 and "Usage: x2i generate" in help_.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["generate", "x", "--steps", "0", "-q"], 1, "error: --steps: 0 must be between 1 and 1000"),
        (["generate", "x", "--stps", "0"], 2, "unexpected argument '--stps' found"),
        (["inspect", "missing"], 1, "error: missing"),
    ],
)
def test_its_errors_are_the_programs(program, arguments, code, message):
    ended = run(program, *arguments)
    assert ended.returncode == code and message in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["generate", "gallery"])
def test_ctrl_c_ends_it_as_it_ends_the_binary(program, tmp_path, command):
    arguments = {
        "generate": ["a cat", "--steps", "1000", "--size", "512", "-o", tmp_path / "a.png"],
        "gallery": ["--steps", "1000", "--size", "512", "-o", tmp_path / "gallery"],
    }[command]
    process = subprocess.Popen([program, command, *arguments, "--device", "cpu"], stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 130 and error.rstrip().endswith("cancelled") and "Traceback" not in error
    assert not (tmp_path / "a.png").exists()


def test_ctrl_c_ends_a_command_that_does_not_listen(program):
    # `generate -` listens while it waits for a line; `bench` does not.
    for arguments, code in ((["generate", "-"], 130), (["bench", "--runs", "1000", "--device", "cpu"], -signal.SIGINT)):
        process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == code
        process.stdin.close()
        process.stderr.close()


def test_a_closed_pipe_is_no_error(program):
    ended = run("sh", "-c", f'"{program}" inspect emoji | head -1')
    assert ended.returncode == 0 and "Traceback" not in ended.stderr and "error" not in ended.stderr


def test_it_starts_itself_again_by_its_own_name(program):
    """`x2i bench` does so; the interpreter's file would be another program."""
    code = "import x2i._command, x2i._x2i, sys, os; x2i._x2i.main = lambda _: print(os.environ['X2I_PROGRAM']) or 0"
    ended = run(sys.executable, "-c", f"{code}; sys.argv = [{program!r}]; x2i._command.main()")
    assert ended.stdout == f"{program}\n"
