"""What code must not be able to do, each tried from inside. Most are tried outside too, where they must work: so that a test
which would pass without the sandbox is seen."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlcore.running import LIMITS, CodeRun, run_code
from mlcore.toolchain.sandbox import PROJECT, Limits

MIB = 2**20
TIGHT = Limits(memory_bytes=512 * MIB, cpu_seconds=20, wall_seconds=20, file_bytes=64 * MIB, processes=24, open_files=128)
SECRET = "sesame-7d1f"

pytestmark = pytest.mark.usefixtures("bubblewrap")


def inside(code: str, limits: Limits = TIGHT, hidden: tuple[Path, ...] = ()) -> CodeRun:
    return run_code("python", textwrap.dedent(code), limits=limits, hidden=hidden)


def outside(code: str, folder: Path) -> str:
    """The same code in a plain process of this user."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60).stdout


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """A folder as the portal's own, within the project, with a secret in it."""
    folder = PROJECT / "var" / f"hostile-{os.getpid()}"
    folder.mkdir(parents=True)
    (folder / "secret_key").write_text(SECRET)
    yield folder
    shutil.rmtree(folder)


def test_the_portals_secrets_are_not_there(data_folder: Path, tmp_path: Path) -> None:
    home = Path.home() / f".hostile-{os.getpid()}"
    home.write_text(SECRET)
    beside = tmp_path / "beside"
    beside.write_text(SECRET)
    code = f"""
        for path in {[str(data_folder / "secret_key"), str(home), str(beside)]!r}:
            try:
                print(open(path).read())
            except OSError as error:
                print("no", type(error).__name__)
    """
    try:
        assert outside(code, tmp_path).split() == [SECRET] * 3
        found = inside(code, hidden=(data_folder,))
    finally:
        home.unlink()
    assert found.ran, found.messages
    assert SECRET not in found.output + found.messages
    assert found.output.count("no FileNotFoundError") == 3


def test_nothing_of_the_machine_but_programs_is_there(tmp_path: Path) -> None:
    code = f"""
        import os, pathlib
        seen = []
        for path in map(pathlib.Path, ("/etc/shadow", "/etc/hostname", "/home", "/srv", {str(PROJECT / ".git")!r})):
            if path.is_dir() and os.listdir(path) or path.is_file() and path.read_bytes():
                seen.append(str(path))
        print(seen, sorted(os.environ))
    """
    assert "hostname" in outside(code, tmp_path)
    found = inside(code)
    assert found.ran, found.messages
    assert found.output.startswith("[] ")
    assert "SECRET" not in found.output


def test_other_processes_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML4EP_TEST_SECRET", SECRET)
    # A process that has the variable from its start, as the portal's have theirs.
    with subprocess.Popen(["sleep", "60"]) as process:
        code = """
            import glob, os
            found = 0
            for path in glob.glob("/proc/[0-9]*/environ"):
                try:
                    found += path.split("/")[2] != str(os.getpid()) and b"ML4EP_TEST_SECRET" in open(path, "rb").read()
                except OSError:
                    pass
            print("found", found)
        """
        try:
            assert "found 0" not in outside(code, tmp_path)
            assert inside(code).output == "found 0\n"
        finally:
            process.kill()


def test_the_process_around_it_cannot_be_spoken_for() -> None:
    """It reports what came of the code through its standard output: foreign code must not write there, nor into its memory."""
    code = """
        import os
        for path, mode in ((f"/proc/{os.getppid()}/fd/1", "w"), (f"/proc/{os.getppid()}/mem", "r+b"), ("/proc/1/fd/1", "w")):
            try:
                open(path, mode).write("forged" if mode == "w" else b"forged")
                print("GOT", path)
            except OSError as error:
                print("no", error.errno)
    """
    found = inside(code)
    assert found.ran, (found.error, found.messages)
    assert "GOT" not in found.output
    assert found.output.count("no") == 3


def test_ending_the_process_around_it_fails() -> None:
    found = inside("import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(30)")
    assert found.status == "failed"
    assert found.error


def test_there_is_no_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"""
            import socket
            try:
                socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 2)
                print("GOT")
            except OSError as error:
                print("no", error.errno)
            print([name for _, name in socket.if_nameindex()])
        """
        assert outside(code, tmp_path).startswith("GOT")
        found = inside(code)
    assert found.output.startswith("no ")
    assert found.output.endswith("['lo']\n")


def test_files_cannot_be_changed(tmp_path: Path) -> None:
    places = [Path.home(), PROJECT, PROJECT / "mlcore", Path(sys.prefix), tmp_path]
    code = f"""
        import os
        for place in {list(map(str, places))!r} + ["/usr", "/etc", "/proc/sys/kernel", "/sys", "/var/tmp", "/dev"]:
            try:
                open(os.path.join(place, "hostile-{os.getpid()}"), "w").close()
                print("GOT", place)
            except OSError as error:
                print("no", error.errno)
    """
    try:
        assert f"GOT {tmp_path}" in outside(code, tmp_path)
    finally:
        for place in [*places, Path("/usr"), Path("/etc"), Path("/var/tmp"), Path("/dev")]:  # noqa: S108
            (place / f"hostile-{os.getpid()}").unlink(missing_ok=True)
    found = inside(code)
    assert found.ran, found.messages
    assert "GOT" not in found.output


def test_kernel_settings_cannot_be_changed() -> None:
    code = """
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger"):
            try:
                open(path, "r+").close()
                print("GOT", path)
            except OSError as error:
                print("no", error.errno)
    """
    assert "GOT" not in inside(code).output


def test_the_disk_cannot_be_filled() -> None:
    before = shutil.disk_usage(PROJECT).free
    code = """
        import os, tempfile
        written = 0
        try:
            for folder in (".", "/tmp", tempfile.gettempdir()):
                for number in range(100):
                    with open(os.path.join(folder, f"big-{number}"), "wb") as file:
                        written += file.write(bytes(10 << 20))
        except OSError as error:
            print(error.strerror)
        print(written >> 20)
    """
    found = inside(code)
    reason, written = found.output.splitlines()
    assert reason == "No space left on device"
    assert int(written) < TIGHT.file_bytes >> 20
    assert shutil.disk_usage(PROJECT).free > before - 500 * MIB


def test_one_file_cannot_be_large() -> None:
    found = inside("import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); open('big', 'wb').write(bytes(80 << 20))")
    assert found.status == "failed"
    assert "OSError" in found.error


def test_memory_is_limited() -> None:
    found = inside("block = bytearray(2 << 30)\nblock[::4096] = b'x' * len(block[::4096])\nimport time; time.sleep(10)")
    assert found.status == "failed"
    assert "memory" in found.error.lower()


def test_a_fork_bomb_ends() -> None:
    mark = f"bomb-{os.getpid()}-{time.monotonic_ns()}"
    code = f"""
        import os, sys, time
        import ctypes; ctypes.CDLL(None).prctl(15, b"{mark[-12:]}", 0, 0, 0)
        for _ in range(2000):
            try:
                if os.fork() == 0:
                    os.setsid()
            except OSError:
                time.sleep(0.01)
        time.sleep(30)
    """
    found = inside(code)
    assert found.status == "failed"
    assert "processes" in found.error
    assert not [one for one in psutil.process_iter(["name"]) if one.info["name"] == mark[-12:]]


def test_what_it_leaves_behind_ends_with_it() -> None:
    name = f"left-{os.getpid()}"[:15]
    code = f"""
        import ctypes, os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                ctypes.CDLL(None).prctl(15, b"{name}", 0, 0, 0)
                time.sleep(60)
            os._exit(0)
    """
    assert inside(code).ran
    time.sleep(0.2)
    assert not [one for one in psutil.process_iter(["name"]) if one.info["name"] == name]


def test_time_is_limited() -> None:
    found = inside("import time; time.sleep(60)", Limits(wall_seconds=1, processes=20))
    assert found.status == "timed_out"


def test_output_is_cut() -> None:
    found = inside(
        "for _ in range(200_000): print('x' * 99)\nimport sys\nfor _ in range(200_000): print('y' * 99, file=sys.stderr)"
    )
    assert found.ran
    assert len(found.output) < 70_000
    assert len(found.messages) < 70_000


def test_pictures_are_few_and_small() -> None:
    code = """
        from PIL import Image
        for number in range(14):
            Image.effect_noise((50 + number, 50), 50).save(f"{number}.png")
        Image.effect_noise((2600, 2600), 90).save("a-large.png")
    """
    found = inside(code, LIMITS)
    assert len(found.pictures) <= 8
    assert sum(len(picture.png) for picture in found.pictures) < 8 * 2 * MIB
    assert found.left_out >= 6


def test_there_is_no_way_to_more_rights() -> None:
    code = """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        for name, result in (("user", libc.unshare(0x10000000)), ("mount", libc.mount(b"x", b"/tmp", b"tmpfs", 0, None)),
                             ("chroot", libc.chroot(b"/tmp")), ("mknod", libc.mknod(b"/tmp/disk", 0o60666, 0x800))):
            print("GOT" if result == 0 else "no", name)
    """
    found = inside(code)
    assert found.ran, found.messages
    assert "GOT" not in found.output


@pytest.mark.usefixtures("root")
def test_clings_gsystem_exec_gets_no_further(data_folder: Path) -> None:
    target = data_folder / "written"
    code = f"""
    void escape() {{
       gSystem->Exec("cat {data_folder}/secret_key; cat /proc/*/environ | tr '\\\\0' '\\\\n' | grep ML4EP_ | grep -v SANDBOXED");
       gSystem->Exec("echo x > {target}; echo x > {PROJECT}/hostile; ls -A /home /root; bash -c 'echo > /dev/tcp/127.0.0.1/22'");
       gSystem->Exec("echo shell works; ls {data_folder} | wc -l");
       FILE *file = fopen("{data_folder}/secret_key", "r");
       printf("opened %d\\n", file != nullptr);
    }}
    """
    found = run_code("cpp", code, hidden=(data_folder,))
    assert "shell works\n0\n" in found.output, (found.error, found.messages)
    assert "opened 0" in found.output
    assert SECRET not in found.output + found.messages
    assert "ML4EP_" not in found.output
    assert not target.exists()
    assert not (PROJECT / "hostile").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become an ordinary user")
def test_it_holds_for_an_ordinary_user() -> None:
    """Whoever runs the tests as such a user has tried it already; there the walls are made of a user namespace."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        system = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or sys.executable
        subprocess.run([system, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        shutil.copytree(Path(psutil.__file__).parent, packages / "psutil")
        (folder / "secret").write_text(SECRET)
        script = f"""
            import sys; sys.path.insert(0, {str(PROJECT)!r})
            from mlcore.running import run_code
            from mlcore.toolchain.sandbox import Limits, foreign_isolation
            limits = Limits(memory_bytes=512 << 20, wall_seconds=10, cpu_seconds=10, file_bytes=64 << 20, processes=24)
            bomb = "import os, time\\nfor _ in range(2000):\\n  try: os.fork()\\n  except OSError: pass\\ntime.sleep(30)"
            calls = "import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))"
            read = "import os; print(os.path.exists({str(folder / "secret")!r}), os.getuid())"
            print(foreign_isolation().name, [run_code("python", code, limits=limits).output for code in (calls, read)])
            print(run_code("python", bomb, limits=limits).status)
        """
        command = [folder / "venv" / "bin" / "python", "-c", textwrap.dedent(script)]
        nobody = {"user": 65534, "group": 65534, "extra_groups": ()}
        try:
            result = subprocess.run(command, **nobody, capture_output=True, text=True, check=False, cwd="/", timeout=100)
        except OSError:
            pytest.skip("the project lies where ordinary users cannot read it")
    if "No module named" in result.stderr:
        pytest.skip("the system's Python is of another version, or the project not readable for others")
    assert result.stdout == "bubblewrap ['-1\\n', 'False 65534\\n']\nfailed\n", result.stderr
