"""A checkout of ROOT: a small tree of the same layout, read from a path and from the address of a repository."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from assistant.corpus import Document, SourceEntry, add_source, source_kind
from assistant.corpus.checkouts import Remote, bring
from assistant.errors import CorpusError
from assistant.index import BuildOptions, build, generations, index_status, read_document
from assistant.index.searcher import Searcher
from assistant.retrieval import RetrievalOptions, Retriever

VERSION = "#define ROOT_VERSION_MAJOR 6\n#define ROOT_VERSION_MINOR {minor}\n#define ROOT_VERSION_PATCH 4\n"
TREE = {
    "core/base/inc/TObject.h": "class TObject {\npublic:\n   virtual void Draw();\n};\n",
    "hist/hist/inc/TH1.h": "class TH1 : public TObject {\npublic:\n   Int_t Fill(Double_t x);\n   void Scale(Double_t c);\n};\n",
    "hist/hist/src/TH1.cxx": r"""
/** \class TH1
    \ingroup Histograms
\brief The histogram base class.

Bins are numbered from one; the underflow is bin zero.
Begin_Macro(source)
{ TH1F h; h.Draw(); }
End_Macro
*/

/// Add one entry.
/// \param[in] x where
Int_t TH1::Fill(Double_t x)
{
   if (!fBuffer)
      Error("Fill", "cannot fill histogram %s: "
                    "the buffer of %d entries is missing", GetName(), 3);
   return 0;
}

void TH1::Scale(Double_t c)
{
   if (c == 0) throw std::runtime_error("scaling a histogram by zero loses everything");
}
""",
    "hist/hist/inc/LinkDef.h": "#ifdef __CLING__\n#pragma link C++ class TH1+;\n#endif\n",
    "hist/doc/index.md": "\\defgroup Hist Histogram Library\n\\brief Counting things.\n\n"
    "The histogram library counts entries in bins and profiles of them.\n",
    "documentation/doxygen/groups.dox": "/** \\defgroup Histograms Histograms\n \\ingroup Hist\n"
    "The classes that count in one, two and three dimensions. */\n",
    "documentation/users-guide/Trees.md": "# Trees\n\n## Friends\n\n"
    "A friend adds its columns to those of another tree, row by row.\n",
    "documentation/users-guide/IO.md": "\\page io_page Reading and writing\n\n"
    "Objects are written with their keys into a directory of a file.\n",
    "tutorials/hist/fill.C": "/// \\file\n/// Fills a histogram with numbers.\nvoid fill() { TH1F h; }\n",
    "README/ReleaseNotes/v632/index.md": "# ROOT Version 6.32 Release Notes\n\n## Histograms\n\n"
    "Now they count twice as fast as before.\n",
    "interpreter/llvm/Pass.md": "# Pass\n\nNothing of the compiler's own pages is wanted in this index at all.\n",
}


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return _write(tmp_path / "root", TREE | {"core/foundation/inc/ROOT/RVersion.hxx": VERSION.format(minor=32)})


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Puts a ROOT of another minor version first on the path."""

    def install(minor: int) -> None:
        header = (
            "class TH1 : public TObject {\npublic:\n   Int_t Fill(Double_t x);\n"
            "   void Smooth(Int_t times); ///< take the edges off\n};\n"
        )
        _write(
            tmp_path / "site" / "ROOT",
            {
                "__init__.py": "",
                "include/TH1.h": header,
                "include/ROOT/RVersion.hxx": VERSION.format(minor=minor),
                "tutorials/x.md": "",
            },
        )
        monkeypatch.syspath_prepend(str(tmp_path / "site"))

    return install


def _read(root: Path) -> dict[str, Document]:
    kind = source_kind("root-sources")
    entry = SourceEntry("root", "root-sources", str(root))
    kind.check(entry)
    documents = list(kind.documents(entry))
    assert len({document.id for document in documents}) == len(documents)
    return {document.id: document for document in documents}


def test_classes_manual_groups_and_tutorials(checkout: Path, installed: Callable[[int], None]) -> None:
    installed(40)
    documents = _read(checkout)
    assert set(documents) == {
        "class:TObject",
        "class:TH1",
        "group:Hist",
        "group:Histograms",
        "page:io_page",
        "page:documentation/users-guide/Trees.md:3",
        "tutorial:tutorials/hist/fill.C",
        "release:v632:histograms",
    }
    histogram = documents["class:TH1"]
    assert "the underflow is bin zero" in histogram.text
    assert "Add one entry." in histogram.text  # the prose of a method stands in the source alone
    assert histogram.place == "hist/hist/src/TH1.cxx:2"
    assert {member.name for member in histogram.members} == {"Fill", "Scale"}
    assert "Classes: TH1." in documents["group:Histograms"].text
    assert documents["group:Hist"].title == "Histogram Library (ROOT 6.32)"
    assert "profiles of them" in documents["group:Hist"].text
    assert documents["page:documentation/users-guide/Trees.md:3"].title == "Trees › Friends (ROOT 6.32)"


def test_messages_belong_to_the_class_that_prints_them(checkout: Path) -> None:
    assert _read(checkout)["class:TH1"].messages == (
        "<TH1::Fill>: cannot fill histogram ... : the buffer of ... entries is missing",
        "scaling a histogram by zero loses everything",
    )


def test_headers_of_the_installed_release_are_joined(checkout: Path, installed: Callable[[int], None]) -> None:
    installed(32)
    histogram = _read(checkout)["class:TH1"]
    assert {member.name for member in histogram.members} == {"Fill", "Scale", "Smooth"}
    assert "take the edges off" in histogram.text
    assert "the underflow is bin zero" in histogram.text
    assert histogram.title == "TH1: The histogram base class"
    assert histogram.url == "https://root.cern/doc/master/classTH1.html"


def test_another_release_stands_apart(checkout: Path, installed: Callable[[int], None]) -> None:
    installed(40)
    documents = _read(checkout)
    histogram = documents["class:TH1"]
    assert {member.name for member in histogram.members} == {"Fill", "Scale"}
    assert histogram.title == "TH1: The histogram base class (ROOT 6.32)"
    assert histogram.version == "6.32.04"
    assert histogram.url == "https://root.cern/doc/v632/classTH1.html"
    assert documents["group:Hist"].url == "https://root.cern/doc/v632/group__Hist.html"


def test_one_document_a_class_and_release_in_the_index(tmp_path: Path, checkout: Path, installed: Callable[[int], None]) -> None:
    sources = (SourceEntry("installed", "root"), SourceEntry("checkout", "root-sources", str(checkout)))
    index = tmp_path / "index"
    installed(32)
    build(BuildOptions(index, sources, dense=False))
    joined = read_document(index, "checkout/class:TH1")
    assert joined is not None
    assert "Smooth" in joined.text
    assert read_document(index, "installed/class:TH1") is None
    installed(40)
    build(BuildOptions(index, sources, dense=False))
    ours, theirs = read_document(index, "installed/class:TH1"), read_document(index, "checkout/class:TH1")
    assert ours is not None
    assert theirs is not None
    assert (ours.version, theirs.version) == ("6.40.04", "6.32.04")
    assert "Smooth" not in theirs.text


def test_the_release_that_the_question_names_is_shown(tmp_path: Path, checkout: Path, installed: Callable[[int], None]) -> None:
    installed(40)
    sources = (SourceEntry("installed", "root"), SourceEntry("checkout", "root-sources", str(checkout)))
    build(BuildOptions(tmp_path / "index", sources, dense=False))
    retriever = Retriever.open(tmp_path / "index")
    for question, version in (
        ("How do I fill a TH1?", "6.40.04"),
        ("How do I fill a TH1 in ROOT 6.32/02?", "6.32.04"),
        ("TH1::Fill in ROOT 6.40", "6.40.04"),
        ("TH1::Fill in v6-28-00", "6.40.04"),  # not here: the newest
    ):
        found = [passage for passage in retriever.retrieve(question).passages if passage.source == "TH1"]
        assert [passage.version for passage in found] == [version], question


MESSAGES = (
    "Error in <TH1F::Fill>: cannot fill histogram pt_2024: the buffer of 12 entries is missing",
    "I pasted this at the prompt and got `cannot fill histogram h: the buffer of 3 entries is missing`, why?",
    "terminate called\n  what():  scaling a histogram by zero loses everything",
)


@pytest.mark.parametrize("message", MESSAGES)
def test_an_error_message_leads_to_the_class_that_prints_it(tmp_path: Path, checkout: Path, message: str) -> None:
    """Other pages have the words of the question; the class prints the message."""
    folder = _write(
        tmp_path / "notes",
        {
            f"{n}.md": f"# Page {n}\n\nHistogram {n} has a buffer: where entries are missing, fill it; scaling loses zero.\n"
            for n in range(9)
        },
    )
    sources = (SourceEntry("notes", "folder", str(folder)), SourceEntry("checkout", "root-sources", str(checkout)))
    build(BuildOptions(tmp_path / "index", sources, dense=False))
    retriever = Retriever.open(tmp_path / "index")
    post = f"It stops here\nWhat am I doing wrong?\n{message}\n"
    first = retriever.retrieve(post).passages[0]
    assert first.source == "TH1"
    without = retriever.retrieve(post, options=RetrievalOptions(messages=0)).passages
    assert next(p.score for p in without if p.source == "TH1") < first.score - 0.3


def test_words_shared_with_a_message_are_not_the_message(tmp_path: Path, checkout: Path) -> None:
    build(BuildOptions(tmp_path / "index", (SourceEntry("checkout", "root-sources", str(checkout)),), dense=False))
    searcher = Searcher(generations.current(tmp_path / "index") or tmp_path)
    assert searcher.by_messages(["Error in <TPad::Draw>: the canvas of three pads is missing"]).max() == 0
    assert searcher.by_messages(["cannot"]).max() == 0
    assert searcher.by_messages([]).max() == 0


def _git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-C", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def repository(checkout: Path) -> Path:
    _git(checkout, "init", "--quiet", "--initial-branch", "master")
    _git(checkout, "add", ".")
    _git(checkout, "commit", "--quiet", "-m", "one")
    _git(checkout, "tag", "v6-32-04")
    return checkout


def test_a_repository_is_cloned_kept_and_brought_up_to_date(tmp_path: Path, repository: Path) -> None:
    index = tmp_path / "index"
    entry = add_source(index, "root-sources", repository.as_uri(), name="sources")
    assert entry.location == repository.as_uri()
    options = BuildOptions(index, (entry,), dense=False)
    build(options)
    (clone,) = (path for path in (index / "checkouts").iterdir())
    assert not (clone / "interpreter").exists()
    assert index_status(index).sources[0].version == "6.32.04"
    assert index_status(index).sources[0].location == repository.as_uri()

    source = repository / "hist/hist/src/TH1.cxx"
    source.write_text(source.read_text().replace("bin zero", "bin nought"))
    _git(repository, "commit", "--quiet", "-am", "two")
    build(options)
    stored = read_document(index, "sources/class:TH1")
    assert stored is not None
    assert "bin nought" in stored.text
    assert list((index / "checkouts").iterdir()) == [clone]

    repository.rename(repository.with_name("gone"))
    log: list[str] = []
    assert build(options, log=log.append).documents > 5  # out of reach: what was fetched before is read
    assert any("out of reach" in line for line in log)


def test_a_tag_is_read_where_the_address_names_one(tmp_path: Path, repository: Path) -> None:
    _git(repository, "rm", "--quiet", "-r", "hist")
    _git(repository, "commit", "--quiet", "-m", "no histograms")
    remote = Remote.parse(f"{repository.as_uri()}#v6-32-04")
    assert remote is not None
    assert (bring(remote, tmp_path / "cache", lambda _text: None) / "hist").is_dir()


def test_a_clone_that_fails_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    remote = Remote.parse((tmp_path / "nowhere.git").as_uri())
    assert remote is not None
    with pytest.raises(CorpusError, match="git fetch failed") as raised:
        bring(remote, tmp_path / "cache", lambda _text: None)
    assert raised.value.hint
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    "location",
    [
        "ext::sh -c 'touch /tmp/x'",
        "--upload-pack=x://y",
        "https://host/r.git#--force",
        "https://host/r.git#a..b",
        "ftp://host/r.git",
    ],
)
def test_addresses_that_git_is_not_given(tmp_path: Path, location: str) -> None:
    with pytest.raises(CorpusError) as raised:
        add_source(tmp_path, "root-sources", location, name="x")
    assert raised.value.code in {"corpus.git", "corpus.checkout"}


def test_a_folder_that_is_no_checkout_of_root(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no checkout of ROOT") as raised:
        add_source(tmp_path, "root-sources", str(tmp_path))
    assert "github.com/root-project" in raised.value.hint
