"""Sources read into documents: the installed ROOT, folders and checkouts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from assistant.corpus import Document, SourceEntry, source_kind
from assistant.errors import CorpusError


def _folder(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.fixture(scope="module")
def root_documents() -> dict[str, Document]:
    pytest.importorskip("uproot")  # in every environment that has ROOT too; ROOT itself must not be imported
    return {document.id: document for document in source_kind("root").documents(SourceEntry("root", "root"))}


def test_installed_root_gives_tutorials_classes_release_notes_and_python_interfaces(root_documents: dict[str, Document]) -> None:
    kinds = [document.kind for document in root_documents.values()]
    assert kinds.count("tutorial") > 1000
    assert kinds.count("class") > 2000
    assert kinds.count("release") > 500
    assert kinds.count("pythonization") > 30
    assert kinds.count("manual") > 5


def test_documents_of_root_link_to_the_reference(root_documents: dict[str, Document]) -> None:
    tree = root_documents["class:TTree"]
    assert tree.url == "https://root.cern/doc/master/classTTree.html"
    assert tree.place.startswith("include/TTree.h:")
    assert any(member.name == "SetBranchAddress" for member in tree.members)
    tutorial = root_documents["tutorial:tutorials/analysis/dataframe/df102_NanoAODDimuonAnalysis.py"]
    assert tutorial.url == "https://root.cern/doc/master/df102__NanoAODDimuonAnalysis_8py.html"
    assert tutorial.title == "df102_NanoAODDimuonAnalysis.py: Show how NanoAOD files can be processed with RDataFrame"
    assert "InvariantMass" in tutorial.text
    vector = root_documents["class:ROOT::VecOps::RVec"]
    assert vector.url == "https://root.cern/doc/master/classROOT_1_1VecOps_1_1RVec.html"
    assert "RVec" in vector.names


def test_no_document_of_root_is_its_licence_header(root_documents: dict[str, Document]) -> None:
    assert not [document.id for document in root_documents.values() if "All rights reserved" in document.title]


def test_reading_root_does_not_import_it() -> None:
    code = (
        "import sys; from assistant.corpus import source_kind, SourceEntry; "
        "next(source_kind('root').documents(SourceEntry('root', 'root'))); "
        "sys.exit(any(name in sys.modules for name in ('ROOT', 'cppyy', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_root_installation_elsewhere_needs_its_folders(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no ROOT installation"):
        source_kind("root").check(SourceEntry("r", "root", str(tmp_path)))


def test_a_checkout_of_root_gives_the_prose_of_its_sources(tmp_path: Path) -> None:
    root = _folder(
        tmp_path,
        {
            "core/base/inc/TObject.h": "class TObject {\npublic:\n   virtual void Draw();\n};\n",
            "hist/hist/inc/TH1.h": "class TH1 : public TObject {\npublic:\n   int Fill(double x);\n};\n",
            "hist/hist/src/TH1.cxx": "/** \\class TH1\n\\brief The histogram.\n*/\n\n"
            "/// Fill it.\nint TH1::Fill(double x)\n{\n}\n",
            "tutorials/hist/h.C": "/// \\file\n/// Makes a histogram.\nvoid h() {}\n",
            "README.md": "# ROOT\n\nThe first paragraph of a page that is long enough to keep.\n",
            "interpreter/llvm/x.h": "/** \\class Llvm\nNot wanted. */\nclass Llvm {};\n",
            ".git/HEAD": "ref: refs/heads/main\n",
            ".git/refs/heads/main": "0123456789abcdef0123456789abcdef01234567\n",
        },
    )
    entry = SourceEntry("checkout", "folder", str(root), "https://example.org/blob/main")
    documents = {document.id: document for document in source_kind("folder").documents(entry)}
    assert set(documents) == {"page:README.md:1", "tutorial:tutorials/hist/h.C", "class:TH1", "class:TObject"}
    histogram = documents["class:TH1"]
    assert histogram.title == "TH1: The histogram"
    assert histogram.url == "https://root.cern/doc/master/classTH1.html"
    assert "Fill it." in histogram.text
    assert histogram.place == "hist/hist/src/TH1.cxx:1"
    assert documents["page:README.md:1"].url == "https://example.org/blob/main/README.md#root"
    assert histogram.version == "0123456789ab"


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("# Secret\n\nNothing of this text may ever be seen in any index at all.\n")
    folder = _folder(tmp_path / "notes", {"a.md": "# Notes\n\nA page with enough words to be kept as one section.\n"})
    (folder / "b.md").symlink_to(secret)
    log: list[str] = []
    documents = list(source_kind("folder").documents(SourceEntry("n", "folder", str(folder)), log.append))
    assert [document.title for document in documents] == ["Notes"]
    assert log == ["b.md is left out: it links out of the folder"]


def test_huge_and_binary_files_do_no_harm(tmp_path: Path) -> None:
    folder = _folder(tmp_path, {"huge.md": "word " * 1_000_000})
    (folder / "binary.md").write_bytes(b"# T\n\n" + bytes(range(256)) * 4 + b" and a few words more, eight at least")
    log: list[str] = []
    documents = list(source_kind("folder").documents(SourceEntry("n", "folder", str(folder)), log.append))
    assert all("\x00" not in document.text for document in documents)
    assert log == ["huge.md is left out: larger than 4 MB"]
