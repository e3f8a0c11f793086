"""Code that is run for real: macros, PyROOT and Python, what they write, what they draw, and how they fail."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import pytest

from mlcore.errors import InputError
from mlcore.running import CodeRun, Picture, run_code
from mlcore.running.pictures import collect, size_of
from mlcore.toolchain import sandbox
from mlcore.toolchain.sandbox import RLIMITS

DRAWING = """
void plot() {
   auto c = new TCanvas("c", "", 400, 300);
   auto h = new TH1F("h", "Gauss;x;n", 50, -3, 3);
   h->FillRandom("gaus", 1000);
   h->Draw();
   printf("entries %g\\n", h->GetEntries());
}
"""


@pytest.mark.usefixtures("root")
class TestMacros:
    def test_a_macro_with_a_canvas_gives_its_picture(self) -> None:
        found = run_code("cpp", DRAWING)
        assert found.ran, (found.error, found.messages)
        assert found.output == "entries 1000\n"
        (picture,) = found.pictures
        assert picture.png.startswith(b"\x89PNG")
        assert (picture.width, picture.height) == size_of(picture.png)
        assert 300 <= picture.width <= 400
        assert found.root

    def test_statements_run_as_at_the_prompt(self) -> None:
        code = '#include <vector>\nTCanvas c("c");\nTH1F h("h", "", 10, 0, 1);\nh.Fill(0.5);\nh.Draw();\n'
        code += "int twice(int n) { return 2 * n; }\nstd::cout << twice(h.GetEntries()) << std::endl;\n"
        found = run_code("cpp", code)
        assert found.ran, (found.error, found.messages)
        assert found.output == "2\n"
        assert len(found.pictures) == 1, "what was drawn on the stack is still there"

    @pytest.mark.slow
    def test_an_unnamed_macro(self) -> None:
        found = run_code("cpp", '{\n  TH1F h("h", "", 10, 0, 1);\n  printf("%d bins\\n", h.GetNbinsX());\n}\n')
        assert (found.status, found.output) == ("ran", "10 bins\n"), found.messages

    @pytest.mark.slow
    def test_a_program(self) -> None:
        found = run_code("cpp", '#include <cstdio>\nint main(int argc, char **argv) { printf("%d\\n", argc); return 0; }')
        assert (found.status, found.output) == ("ran", "0\n"), found.messages

    def test_a_failing_macro_gives_its_error_and_line(self) -> None:
        found = run_code("cpp", "void plot() {\n   TH1F h;\n   h.NoSuchThing();\n}\n")
        assert found.status == "failed"
        assert "no member named 'NoSuchThing'" in found.error
        assert "macro.C:3:" in found.error
        assert found.pictures == ()

    def test_an_error_that_root_reports_is_said_though_the_code_went_on(self) -> None:
        code = 'void look() { TTree t("t", ""); float x = 0; t.SetBranchAddress("none", &x); printf("went on\\n"); }'
        found = run_code("cpp", code)
        assert (found.status, found.output, found.ran) == ("ran_with_errors", "went on\n", False), found.messages
        assert found.error == "Error in <TTree::SetBranchAddress>: unknown branch -> none"

    @pytest.mark.slow
    def test_an_error_of_roofit_is_said(self) -> None:
        code = """void f() {
            RooRealVar x("x", "", 0, 1);
            RooMsgService::instance().log(nullptr, RooFit::ERROR, RooFit::Eval) << "on purpose" << std::endl;
        }"""
        found = run_code("cpp", code)
        assert found.status == "ran_with_errors", (found.output, found.messages)
        assert "ERROR:Eval" in found.error

    @pytest.mark.slow
    def test_a_wrong_statement_gives_its_error(self) -> None:
        found = run_code("cpp", "int a = 1;\nint f() { return 2; }\na = g();\n")
        assert found.status == "failed"
        assert "undeclared identifier 'g'" in found.error
        assert "std::exception" not in found.messages

    @pytest.mark.slow
    def test_an_exception_fails(self) -> None:
        found = run_code("cpp", 'void f() { throw std::runtime_error("on purpose"); }')
        assert found.status == "failed"
        assert "on purpose" in found.messages

    @pytest.mark.slow
    def test_a_crash_fails(self) -> None:
        found = run_code("cpp", "void f() { int *p = nullptr; volatile int *q = p; raise(SIGSEGV); }")
        assert found.status == "failed"
        assert found.error

    @pytest.mark.slow
    def test_a_tutorial(self) -> None:
        found = run_code("", "", tutorial="tutorials/math/Legendre.C")
        assert found.ran, (found.error, found.messages)
        assert len(found.pictures) == 1

    def test_pyroot_with_a_canvas(self) -> None:
        code = 'import ROOT\nc = ROOT.TCanvas()\nh = ROOT.TH1F("h", "", 10, 0, 1)\nh.Draw()\n'
        code += "print(h.GetNbinsX(), ROOT.gROOT.IsBatch())\n"
        found = run_code("python", code)
        assert (found.status, found.output) == ("ran", "10 True\n"), found.messages
        assert len(found.pictures) == 1


@pytest.mark.usefixtures("bubblewrap")
class TestPython:
    def test_output_and_messages(self) -> None:
        found = run_code("python", "import sys\nprint('out', __name__)\nprint('err', file=sys.stderr)")
        assert (found.status, found.output, found.messages) == ("ran", "out __main__\n", "err\n")
        assert found.seconds > 0

    def test_an_error_with_its_line_and_without_our_own_frames(self) -> None:
        found = run_code("python", "def f():\n    return 1 / 0\n\nf()\n")
        assert (found.status, found.error) == ("failed", "ZeroDivisionError: division by zero")
        assert 'File "program.py", line 2, in f' in found.messages
        assert "return 1 / 0" in found.messages
        assert "driver.py" not in found.messages

    def test_a_syntax_error(self) -> None:
        found = run_code("python", "print(1\n")
        assert found.status == "failed"
        assert "SyntaxError" in found.error

    @pytest.mark.parametrize(("code", "status"), [("raise SystemExit", "ran"), ("import sys; sys.exit(3)", "failed")])
    def test_leaving(self, code: str, status: str) -> None:
        assert run_code("python", code).status == status

    def test_a_question_finds_nobody(self) -> None:
        assert run_code("python", "print(repr(input('name? ')))").output == "name? \n''\n"

    def test_figures_of_matplotlib(self) -> None:
        found = run_code("python", "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
        assert found.ran, found.messages
        assert [picture.name for picture in found.pictures] == ["figure-1.png"]
        assert "non-interactive" not in found.messages

    def test_a_program_that_never_ends_is_ended(self) -> None:
        found = run_code("python", "while True: pass", limits=sandbox.Limits(cpu_seconds=1, wall_seconds=20, processes=20))
        assert found.status == "timed_out"
        assert "1 s" in found.error

    def test_cancelled(self) -> None:
        found = run_code("python", "import time; time.sleep(60)", cancelled=lambda: True)
        assert (found.status, found.error) == ("failed", "It was cancelled.")


@pytest.mark.parametrize(
    ("language", "text", "code"),
    [("bash", "ls", "code.language"), ("cpp", "  \n", "code.empty"), ("python", "#" * 100_001, "code.long")],
)
def test_what_cannot_be_run_is_refused(language: str, text: str, code: str) -> None:
    with pytest.raises(InputError) as raised:
        run_code(language, text)
    assert raised.value.code == code


@pytest.mark.parametrize("place", ["tutorials/../LICENSE", "/etc/passwd", "tutorials/nothing.C", "tutorials", "include/TH1.h"])
def test_only_tutorials_are_tutorials(place: str) -> None:
    with pytest.raises(InputError, match="no tutorial"):
        run_code("", "", tutorial=place)


def test_without_bubblewrap_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_args: object, **_options: object) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr(sandbox, "isolation", lambda: RLIMITS)
    monkeypatch.setattr(sandbox, "spawn", never)
    found = run_code("python", "print(1)")
    assert found.status == "not_run"
    assert "no sandbox" in found.error


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, extra: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class TestPictures:
    def test_a_picture_is_written_anew(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(png(20, 10, chunk(b"tEXt", b"Comment\0<script>")) + b"<html>")
        (picture,), left_out = collect([tmp_path])
        assert (picture.width, picture.height, left_out) == (20, 10, 0)
        assert b"script" not in picture.png
        assert b"html" not in picture.png

    def test_what_is_no_picture_is_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"<svg onload=alert(1)>")
        (tmp_path / "b.png").write_bytes(png(20, 10)[:40])
        (tmp_path / "c.png").write_bytes(png(5000, 1))
        (tmp_path / "d.png").symlink_to("/etc/passwd")
        (tmp_path / "e.png").mkdir()
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
        (tmp_path / "f.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
        assert collect([tmp_path]) == ([], 4)

    def test_too_many_and_the_same_twice(self, tmp_path: Path) -> None:
        for number in range(12):
            (tmp_path / f"{number:02}.png").write_bytes(png(10 + number, 10))
        (tmp_path / "00-again.png").write_bytes(png(10, 10))
        found, left_out = collect([tmp_path])
        assert (len(found), left_out) == (8, 4)

    def test_the_receiver_looks_once_more(self) -> None:
        good = CodeRun("ran", pictures=(Picture("a.png", 20, 10, png(20, 10)),))
        entry = good.to_json()
        assert CodeRun.from_json(entry) == good
        for bad in (b"<html>", png(5000, 1), b"\x89PNG\r\n\x1a\n" + bytes(100)):
            entry["pictures"][0]["png"] = base64.b64encode(bad).decode()
            with pytest.raises(ValueError, match=r"no PNG|too large"):
                CodeRun.from_json(entry)
