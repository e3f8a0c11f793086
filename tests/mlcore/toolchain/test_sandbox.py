"""The sandbox, tried from inside: each test runs a child that attempts what it must not be able to do."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlcore.toolchain.sandbox import RLIMITS, Isolation, Limits, Watch, isolation, kill_tree, run, spawn

MIB = 1024**2
PYTHON = sys.executable
SMALL = Limits(memory_bytes=256 * MIB, cpu_seconds=20, wall_seconds=20, file_bytes=MIB, processes=64, open_files=64)

needs_bubblewrap = pytest.mark.skipif(
    isolation().name != "bubblewrap", reason=f"needs a working bubblewrap: {isolation().detail}"
)
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")


@pytest.fixture(params=["rlimits", pytest.param("bubblewrap", marks=needs_bubblewrap)])
def within(request: pytest.FixtureRequest) -> Isolation:
    return RLIMITS if request.param == "rlimits" else isolation()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def python(source: str, *arguments: object) -> list[str]:
    return [PYTHON, "-I", "-c", textwrap.dedent(source), *map(str, arguments)]


@contextlib.contextmanager
def ended_afterwards(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        kill_tree(process, 0)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def wait_until(condition: object, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def marked(mark: str) -> list[psutil.Process]:
    """The living processes with a mark among their arguments."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if mark in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class TestRun:
    def test_gives_output_and_status(self, work: Path, within: Isolation) -> None:
        script = "import sys; print('out', sys.argv[1]); print('err', file=sys.stderr); sys.exit(3)"
        outcome = run(python(script, "a b;$c"), cwd=work, limits=SMALL, within=within)
        assert (outcome.returncode, outcome.stdout, outcome.stderr, outcome.reason) == (3, "out a b;$c\n", "err\n", "")
        assert 0 < outcome.seconds < 10

    def test_feeds_input(self, work: Path, within: Isolation) -> None:
        data = bytes(range(256)) * 4096
        outcome = run(
            python("import sys,hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"),
            cwd=work, limits=SMALL, input=data, within=within,
        )  # fmt: skip
        import hashlib

        assert outcome.stdout.strip() == hashlib.sha256(data).hexdigest()

    def test_input_that_nobody_reads_does_no_harm(self, work: Path) -> None:
        outcome = run(["/bin/true"], cwd=work, limits=SMALL, input=bytes(8 * MIB))
        assert outcome.returncode == 0

    def test_keeps_the_ends_of_long_output(self, work: Path) -> None:
        script = "print('first'); [print('x' * 99) for _ in range(300_000)]; print('last')"
        outcome = run(python(script), cwd=work, limits=SMALL, output_bytes=10_000)
        assert outcome.stdout.startswith("first\n")
        assert outcome.stdout.endswith("last\n")
        assert "bytes left out" in outcome.stdout
        assert len(outcome.stdout) < 10_100

    def test_undecodable_output_is_shown_somehow(self, work: Path) -> None:
        outcome = run(python(r"import sys; sys.stdout.buffer.write(b'a\xff\xfeb')"), cwd=work, limits=SMALL)
        assert outcome.stdout == "a��b"

    def test_signal_shows_as_negative_status(self, work: Path, within: Isolation) -> None:
        outcome = run(python("import os; os.abort()"), cwd=work, limits=SMALL, within=within)
        assert outcome.returncode == -signal.SIGABRT
        assert not list(work.iterdir()), "a core file was left"

    def test_missing_program(self, work: Path) -> None:
        outcome = run(["no-such-program"], cwd=work, limits=SMALL, within=RLIMITS)
        assert outcome.returncode == 127
        assert "no-such-program" in outcome.stderr
        assert "Traceback" not in outcome.stderr

    def test_missing_program_in_bubblewrap(self, work: Path) -> None:
        outcome = run(["no-such-program"], cwd=work, limits=SMALL)
        assert outcome.returncode != 0
        assert "no-such-program" in outcome.stderr

    def test_missing_folders_are_refused(self, work: Path) -> None:
        with pytest.raises(ValueError, match="nowhere does not exist"):
            run(["/bin/true"], cwd=work / "nowhere", limits=SMALL)
        with pytest.raises(ValueError, match="nowhere does not exist"):
            run(["/bin/true"], cwd=work, writable=[work / "nowhere"], limits=SMALL)
        with pytest.raises(ValueError, match="no program"):
            run([], cwd=work, limits=SMALL)

    def test_environment_is_small(self, work: Path, within: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECRET_TOKEN", "hush")
        outcome = run(["env"], cwd=work, limits=SMALL, env={"EXTRA": "1"}, within=within)
        variables = dict(line.split("=", 1) for line in outcome.stdout.splitlines())
        variables.pop("PWD", None)  # bubblewrap sets it
        assert set(variables) == {"PATH", "HOME", "LANG", "TMPDIR", "ML4EP_SANDBOXED", "EXTRA"}
        assert variables["HOME"] == str(work)

    def test_nested_child_needs_no_bubblewrap(self, work: Path, within: Isolation) -> None:
        script = """
            import sys; sys.path.insert(0, sys.argv[1])
            from pathlib import Path
            from mlcore.toolchain.sandbox import Limits, isolation, run
            print(isolation().name, run(["/bin/echo", "inner"], cwd=Path.cwd(), limits=Limits()).stdout)
        """
        project = Path(__file__).resolve().parents[3]
        outcome = run([PYTHON, "-c", textwrap.dedent(script), str(project)], cwd=work, limits=SMALL, within=within)
        assert outcome.stdout.split() == ["rlimits", "inner"], outcome.stderr


class TestLimits:
    def test_must_be_positive(self) -> None:
        with pytest.raises(ValueError, match="memory_bytes"):
            Limits(memory_bytes=0)

    def test_memory(self, work: Path, within: Isolation) -> None:
        script = "import time; block = bytearray(400 << 20); block[::4096] = b'x' * len(block[::4096]); time.sleep(20)"
        outcome = run(python(script), cwd=work, limits=SMALL, within=within)
        assert outcome.reason == "memory"
        assert outcome.seconds < 60  # it would not end

    def test_memory_of_a_tree_adds_up(self, work: Path, within: Isolation) -> None:
        script = """
            import os, time
            for _ in range(4):
                if os.fork() == 0:
                    block = bytearray(b'x') * (100 << 20)
                    time.sleep(20)
            time.sleep(20)
        """
        assert run(python(script), cwd=work, limits=SMALL, within=within).reason == "memory"

    def test_memory_shared_by_a_tree_counts_once(self, work: Path, within: Isolation) -> None:
        script = """
            import os, time
            block = bytearray(b'x') * (100 << 20)
            for _ in range(4):
                if os.fork() == 0:
                    time.sleep(1)
                    os._exit(0)
            for _ in range(4):
                os.wait()
        """
        outcome = run(python(script), cwd=work, limits=SMALL, within=within)
        assert (outcome.reason, outcome.returncode) == ("", 0)

    def test_address_space(self, work: Path, within: Isolation) -> None:
        outcome = run(python("bytearray(200 << 30)"), cwd=work, limits=SMALL, within=within)
        assert outcome.returncode == 1
        assert "MemoryError" in outcome.stderr

    def test_cpu_time(self, work: Path, within: Isolation) -> None:
        outcome = run(python("while True: pass"), cwd=work, limits=Limits(cpu_seconds=1), within=within)
        assert outcome.reason == "cpu"
        assert outcome.seconds < 60  # it would not end

    def test_cpu_time_is_the_trees(self, work: Path, within: Isolation) -> None:
        script = "import os; os.fork(); os.fork()\nwhile True: pass"
        outcome = run(python(script), cwd=work, limits=Limits(cpu_seconds=1, wall_seconds=30), within=within)
        assert outcome.reason == "cpu"

    def test_wall_time(self, work: Path, within: Isolation) -> None:
        outcome = run(["sleep", "30"], cwd=work, limits=Limits(wall_seconds=0.3), within=within)
        assert outcome.reason == "wall"
        assert outcome.seconds < 20  # of 30

    def test_file_size(self, work: Path, within: Isolation) -> None:
        script = "open('big', 'wb').write(bytes(4 << 20))"
        outcome = run(python(script), cwd=work, limits=SMALL, writable=[work], within=within)
        assert outcome.returncode != 0
        assert "File too large" in outcome.stderr
        assert (work / "big").stat().st_size <= SMALL.file_bytes

    def test_open_files(self, work: Path, within: Isolation) -> None:
        outcome = run(python("kept = [open('/dev/zero') for _ in range(100)]"), cwd=work, limits=SMALL, within=within)
        assert "Too many open files" in outcome.stderr

    def test_process_number(self, work: Path, within: Isolation) -> None:
        script = """
            import os, time
            for _ in range(200):
                if os.fork() == 0:
                    time.sleep(20)
            time.sleep(20)
        """
        outcome = run(python(script), cwd=work, limits=Limits(processes=20, wall_seconds=20), within=within)
        # Root's children are counted by the watch; another user's may already meet the kernel's limit.
        assert outcome.reason == "processes" or "BlockingIOError" in outcome.stderr

    def test_cancelled(self, work: Path, within: Isolation) -> None:
        start = time.monotonic()
        outcome = run(["sleep", "30"], cwd=work, limits=SMALL, cancelled=lambda: time.monotonic() - start > 0.3, within=within)
        assert outcome.reason == "cancelled"
        assert outcome.seconds < 20  # of 30


class TestEnd:
    TREE = """
        import os, signal, subprocess, sys, time
        mark = sys.argv[1]
        stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
        subprocess.Popen([sys.executable, "-I", "-c", stubborn, mark])
        subprocess.Popen([sys.executable, "-I", "-c", stubborn, mark], start_new_session=True)
        if os.fork() == 0:      # a daemon: twice forked, in a session of its own
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, "-I", "-c", stubborn, mark])
            os._exit(0)
        os.wait()
        print("ready", flush=True)
        time.sleep(60)
    """

    def test_whole_tree_ends(self, work: Path, within: Isolation) -> None:
        mark = f"tree-{os.getpid()}-{within.name}"
        process = spawn(python(self.TREE, mark), cwd=work, limits=SMALL, stdout=subprocess.PIPE, within=within)
        with ended_afterwards(process):
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            assert wait_until(lambda: len(marked(mark)) >= 4)
            start = time.monotonic()
            kill_tree(process)
            assert time.monotonic() - start < 20  # they would sleep for a minute
            assert wait_until(lambda: not marked(mark), 5)
            assert process.poll() is not None

    def test_leftovers_of_a_finished_child_end_too(self, work: Path, within: Isolation) -> None:
        mark = f"left-{os.getpid()}-{within.name}"
        script = """
            import subprocess, sys
            subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(60)", sys.argv[1]],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        """
        assert run(python(script, mark), cwd=work, limits=SMALL, within=within).returncode == 0
        assert wait_until(lambda: not marked(mark), 0.5)

    def test_child_may_tidy_up(self, work: Path, within: Isolation) -> None:
        script = """
            import pathlib, signal, sys, time
            def end(*_): pathlib.Path('tidied').touch(); sys.exit(0)
            signal.signal(signal.SIGTERM, end)
            print("ready", flush=True)
            time.sleep(60)
        """
        process = spawn(python(script), cwd=work, limits=SMALL, writable=[work], stdout=subprocess.PIPE, within=within)
        with ended_afterwards(process):
            assert process.stdout is not None
            process.stdout.readline()
            kill_tree(process)
            assert (work / "tidied").exists()

    def test_dies_with_a_killed_parent(self, work: Path, within: Isolation) -> None:
        mark = f"orphan-{os.getpid()}-{within.name}"
        script = """
            import sys, time; sys.path.insert(0, sys.argv[1])
            from pathlib import Path
            from mlcore.toolchain.sandbox import RLIMITS, Limits, isolation, spawn
            argv = [sys.executable, "-I", "-c", "import time; time.sleep(60)", sys.argv[2]]
            spawn(argv, cwd=Path.cwd(), limits=Limits(), within=RLIMITS if sys.argv[3] == "rlimits" else isolation())
            time.sleep(60)
        """
        project = Path(__file__).resolve().parents[3]
        child = [PYTHON, "-c", textwrap.dedent(script), str(project), mark, within.name]
        with subprocess.Popen(child, cwd=work) as parent:
            # Seen as the program itself, not as an argument of the launcher: then the tie to the parent is made.
            assert wait_until(lambda: any(member.cmdline()[1:2] == ["-I"] and "-S" not in member.cmdline()
                                          for member in marked(mark) if member.pid != parent.pid), 10)  # fmt: skip
            parent.kill()
            parent.wait()
            assert wait_until(lambda: not marked(mark), 2)

    def test_launcher_whose_parent_is_gone_runs_nothing(self, work: Path) -> None:
        from mlcore.toolchain.sandbox import LAUNCHER

        argv = [PYTHON, "-I", "-S", str(LAUNCHER), "1", "CORE=0", "--", "/bin/touch", str(work / "ran")]
        assert subprocess.run(argv, check=False).returncode == -signal.SIGKILL
        assert not (work / "ran").exists()

    def test_file_descriptors_are_handed_in(self, work: Path, within: Isolation) -> None:
        reading, writing = os.pipe()
        try:
            process = spawn(
                python("import os, sys; os.write(int(sys.argv[1]), b'through')", writing),
                cwd=work, limits=SMALL, pass_fds=(writing,), within=within,
            )  # fmt: skip
            with ended_afterwards(process):
                assert process.wait(10) == 0
            os.close(writing)
            assert os.read(reading, 100) == b"through"
        finally:
            os.close(reading)

    def test_spawning_from_several_threads(self, work: Path) -> None:
        results: list[str] = []

        def one() -> None:
            results.append(run(["/bin/echo", "done"], cwd=work, limits=SMALL).stdout)

        threads = [threading.Thread(target=one) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == ["done\n"] * 6

    def test_watch_of_an_ended_child_is_quiet(self, work: Path) -> None:
        process = spawn(["/bin/true"], cwd=work, limits=SMALL)
        watch = Watch(process, SMALL)
        process.wait(10)
        assert watch.exceeded() == ""
        watch.kill()


@needs_bubblewrap
class TestBubblewrap:
    def test_files_elsewhere_are_read_only(self, work: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        script = """
            import sys
            for path in sys.argv[1:]:
                try: open(path, 'w').write('x')
                except OSError as error: print(path, error.errno)
                else: print(path, 'written')
        """
        targets = [work / "mine", "/etc/probe", "/usr/probe", "/var/lib/probe", "/dev/probe", "/run/probe", Path(PYTHON)]
        outcome = run(python(script, *targets), cwd=work, writable=[work], limits=SMALL)
        lines = dict(line.rsplit(" ", 1) for line in outcome.stdout.splitlines())
        assert lines.pop(str(work / "mine")) == "written"
        assert len(lines) == len(targets) - 1
        assert "written" not in lines.values(), lines
        assert (work / "mine").read_text() == "x"

    def test_working_folder_is_read_only_unless_named(self, work: Path) -> None:
        outcome = run(python("open('mine', 'w')"), cwd=work, limits=SMALL)
        assert "Read-only file system" in outcome.stderr

    def test_working_folder_in_a_writable_one_is_writable(self, work: Path) -> None:
        inner = work / "inner"
        inner.mkdir()
        assert run(["touch", "here"], cwd=inner, writable=[work], limits=SMALL).returncode == 0
        assert (inner / "here").exists()

    def test_temporary_folder_is_private(self, work: Path, tmp_path: Path) -> None:
        (tmp_path / "neighbour").write_text("other job's")
        script = """
            import sys, tempfile, pathlib
            print(pathlib.Path(sys.argv[1]).exists())
            with tempfile.NamedTemporaryFile(dir='/tmp', delete=False) as file: print(file.name)
        """
        seen, temporary = run(python(script, tmp_path / "neighbour"), cwd=work, limits=SMALL).stdout.split()
        assert seen == ("False" if tmp_path.is_relative_to("/tmp") else "True")  # noqa: S108
        assert not Path(temporary).exists()

    def test_readable_file_beneath_the_temporary_folder(self, work: Path, tmp_path: Path) -> None:
        given = tmp_path / "given.txt"
        given.write_text("given")
        script = "import sys; print(open(sys.argv[1]).read()); open(sys.argv[1], 'a')"
        outcome = run(python(script, given), cwd=work, readable=[given], limits=SMALL)
        assert outcome.stdout == "given\n"
        assert "Read-only file system" in outcome.stderr

    def test_hidden_folders_and_files_are_empty(self, work: Path) -> None:
        secret, file = work / "secret", work / "token.txt"
        secret.mkdir()
        (secret / "key").write_text("hush")
        file.write_text("hush")
        script = "import os; print(os.listdir('secret')); open('secret/new', 'w')"
        outcome = run(python(script), cwd=work, writable=[work], hidden=[secret, file], limits=SMALL)
        assert outcome.stdout == "[]\n"
        assert "Read-only file system" in outcome.stderr
        seen = run(["cat", "token.txt"], cwd=work, hidden=[file], limits=SMALL)
        assert (seen.returncode, seen.stdout) == (0, "")
        run(["sh", "-c", "echo gone > token.txt"], cwd=work, writable=[work], hidden=[file], limits=SMALL)
        assert file.read_text() == "hush"

    def test_writable_folder_inside_a_hidden_one(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        job = data / "jobs" / "1"
        job.mkdir(parents=True)
        (data / "database").write_text("hush")
        script = "import os; open('result', 'w').write('r'); print(os.listdir('../..'), os.listdir('..'))"
        outcome = run(python(script), cwd=job, writable=[job], hidden=[data], limits=SMALL)
        assert outcome.stdout == "['jobs'] ['1']\n", outcome.stderr
        assert (job / "result").read_text() == "r"

    def test_symbolic_link_leads_nowhere_new(self, work: Path, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("hush")
        (work / "link").symlink_to(secret)
        outcome = run(["cat", "link"], cwd=work, writable=[work], hidden=[secret], limits=SMALL)
        assert "hush" not in outcome.stdout

    def test_network_is_cut(self, work: Path) -> None:
        script = """
            import socket, sys
            try: socket.create_connection(('127.0.0.1', int(sys.argv[1])), 2)
            except OSError as error: print('cut', error)
            else: print('connected')
        """
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            assert run(python(script, port), cwd=work, limits=SMALL).stdout.startswith("cut")
            assert run(python(script, port), cwd=work, limits=Limits(network=True)).stdout == "connected\n"

    def test_other_processes_are_invisible(self, work: Path) -> None:
        script = "import os; print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit()))"
        pids = run(python(script), cwd=work, limits=SMALL).stdout
        assert str(os.getpid()) not in pids.strip("[]\n").split(", ")
        outcome = run(["kill", "-9", str(os.getpid())], cwd=work, limits=SMALL)
        assert outcome.returncode != 0

    def test_privileges_are_gone(self, work: Path) -> None:
        status = run(["cat", "/proc/self/status"], cwd=work, limits=SMALL).stdout
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert int(fields["CapEff"], 16) == 0
        assert fields["NoNewPrivs"] == "1"

    def test_credentials_at_home_are_hidden(self, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        home = tmp_path / "home"
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh" / "id").write_text("hush")
        monkeypatch.setenv("HOME", str(home))
        assert run(["ls", "-A", str(home / ".ssh")], cwd=work, readable=[home], limits=SMALL).stdout == ""

    def test_user_without_a_home(self, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_home() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", no_home)
        assert run(["/bin/echo", "runs"], cwd=work, limits=SMALL).stdout == "runs\n"

    def test_read_only_folder_inside_a_writable_one(self, work: Path) -> None:
        inputs = work / "in"
        inputs.mkdir()
        (inputs / "model").write_text("given")
        outcome = run(["sh", "-c", "echo x > in/model; echo y > out"], cwd=work, writable=[work], readable=[inputs], limits=SMALL)
        assert "Read-only file system" in outcome.stderr
        assert (inputs / "model").read_text() == "given"
        assert (work / "out").exists()

    @needs_root
    def test_works_for_an_ordinary_user(self) -> None:
        script = """
            import pathlib, sys, tempfile; sys.path[:0] = sys.argv[1:]
            from mlcore.toolchain.sandbox import Limits, isolation, run
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                shell = "id -u; echo x > file && cat file; echo y > /var/tmp/probe || true; cat /proc/net/dev | wc -l"
                outcome = run(["/bin/sh", "-c", shell], cwd=folder, writable=[folder], limits=Limits())
            print(isolation().name, outcome.stdout.split(), "Read-only" in outcome.stderr)
        """
        project, packages = Path(__file__).resolve().parents[3], Path(psutil.__file__).parents[1]
        nobody = {"user": 65534, "group": 65534, "extra_groups": ()}
        interpreters = [PYTHON, shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or "python3"]
        for interpreter in interpreters:
            probe = [interpreter, "-c", "import os, sys; sys.path[:0] = sys.argv[1:]; import psutil, mlcore", project, packages]
            with contextlib.suppress(OSError):
                if subprocess.run(probe, **nobody, capture_output=True, check=False, cwd="/").returncode == 0:
                    break
        else:
            pytest.skip("no interpreter outside root's own folders")
        command = [interpreter, "-c", textwrap.dedent(script), project, packages]
        result = subprocess.run(command, **nobody, capture_output=True, text=True, check=False, cwd="/")
        assert result.stdout == "bubblewrap ['65534', 'x', '3'] True\n", result.stderr


def test_isolation_is_told_in_a_sentence() -> None:
    found = isolation()
    assert found.name in {"bubblewrap", "rlimits"}
    assert found.detail.strip()
    assert found is isolation()


def test_rlimits_where_bubblewrap_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcore.toolchain import sandbox

    monkeypatch.setattr(sandbox.shutil, "which", lambda _: None)
    assert sandbox._probe.__wrapped__("").name == "rlimits"
    assert "Install bubblewrap" in sandbox._probe.__wrapped__("").detail


def test_rlimits_where_bubblewrap_is_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcore.toolchain import sandbox

    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'no permission to make namespaces' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sandbox.shutil, "which", lambda _: str(program))
    found = sandbox._probe.__wrapped__("")
    assert found.name == "rlimits"
    assert "no permission to make namespaces" in found.detail
