"""Installed Python packages: docstrings of their public interface, their read-me and the pages that they bundle."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from assistant.corpus.document import Document, Log, Member, SourceEntry, ignore
from assistant.corpus.parsing import markdown
from assistant.corpus.parsing.package import Package, PublicName
from assistant.corpus.parsing.python import Docstring, summary
from assistant.corpus.parsing.text import read_text
from assistant.errors import CorpusError

_MIN_WORDS = 6
_METHOD_WORDS = 100  # a method with a docstring longer than this is a document of its own
_MAX_TEXT = 12_000


@dataclass(frozen=True, slots=True)
class Rules:
    """What is special about a package.

    Attributes
    ----------
    module
        Its import name, where it differs from the name asked for.
    short
        The name by which users import it, ``"np"``.
    url
        The page of a documented name; ``{name}`` is its public path, ``{owner}`` that of its class, ``{defined}`` where it is
        written, ``{module}`` the module of its public path without the package.
    only
        The parts of a large package that are read; all of it where empty.
    without
        Modules that users never meet.
    """

    module: str = ""
    short: str = ""
    url: str = ""
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


RULES: dict[str, Rules] = {
    "uproot": Rules(
        url="https://uproot.readthedocs.io/en/latest/{defined}.html", without=("models", "deserialization", "source.cursor")
    ),
    "awkward": Rules(short="ak", url="https://awkward-array.org/doc/main/reference/generated/{short}.html"),
    "numpy": Rules(
        short="np", url="https://numpy.org/doc/stable/reference/generated/{name}.html", without=("distutils", "f2py", "typing")
    ),
    "matplotlib": Rules(
        url="https://matplotlib.org/stable/api/{module}_api.html#{name}",
        only=(
            "axes",
            "pyplot",
            "figure",
            "colors",
            "cm",
            "gridspec",
            "ticker",
            "legend",
            "patches",
            "lines",
            "image",
            "colorbar",
            "animation",
        ),
    ),
    "xgboost": Rules(short="xgb", url="https://xgboost.readthedocs.io/en/stable/python/python_api.html#{name}"),
    "lightgbm": Rules(short="lgb", url="https://lightgbm.readthedocs.io/en/stable/pythonapi/{owner}.html"),
    "torch": Rules(
        url="https://docs.pytorch.org/docs/stable/generated/{name}.html",
        only=(
            "nn.modules",
            "nn.functional",
            "nn.init",
            "nn.utils",
            "optim",
            "utils.data",
            "functional",
            "_torch_docs",
            "_tensor_docs",
            "onnx",
            "autograd.grad_mode",
            "autograd.function",
            "serialization",
            "amp",
            "export",
            "distributions",
        ),
    ),
    "onnx": Rules(url="https://onnx.ai/onnx/api/{module}.html", without=("reference.ops", "reference.ops_optimized", "backend")),
    "scikit-learn": Rules(module="sklearn", url="https://scikit-learn.org/stable/modules/generated/{owner}.html"),
    "h5py": Rules(url="https://docs.h5py.org/en/stable/"),
}


class PythonPackages:
    """The packages named in the entry's location, separated by commas; those not installed are left out."""

    name = "packages"
    title = "Installed Python packages"

    def check(self, entry: SourceEntry) -> None:
        """At least one of the packages is installed."""
        if not any(_find(name) for name in _names(entry)):
            raise CorpusError(
                f"None of the packages {entry.location!r} is installed",
                hint="Name installed packages, separated by commas.",
                code="corpus.packages",
            )

    def version(self, entry: SourceEntry) -> str:
        """The packages with their versions, ``"numpy 2.4.6, uproot 5.7.7"``."""
        return ", ".join(f"{name} {_version(name)}".strip() for name in _names(entry) if _find(name))

    def documents(self, entry: SourceEntry, log: Log = ignore) -> Iterator[Document]:
        """The documents of each package: its interface, then its pages."""
        for name in _names(entry):
            folder = _find(name)
            if folder is None:
                log(f"{name} is left out: not installed")
                continue
            version, rules = _version(name), RULES.get(name, Rules())
            seen: set[str] = set()
            for public in Package(folder, _wanted(folder.name, rules), log).public_names():
                for document in _api_documents(name, public, rules, folder, version):
                    if document.id not in seen:
                        seen.add(document.id)
                        yield document
            yield from _pages(name, folder, version, log)


def _names(entry: SourceEntry) -> list[str]:
    return [name.strip() for name in entry.location.split(",") if name.strip()]


def _find(name: str) -> Path | None:
    module = RULES.get(name, Rules()).module or name.replace("-", "_")
    if not module.isidentifier():
        return None
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    locations = list(found.submodule_search_locations or ()) if found else []
    return Path(locations[0]) if locations and (Path(locations[0]) / "__init__.py").is_file() else None


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    for candidate in _candidates(name):
        try:
            return importlib.metadata.distribution(candidate)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _candidates(name: str) -> Iterator[str]:
    """Names that the distribution of a package may have: its own, then those that say they hold the module."""
    yield name
    module = RULES.get(name, Rules()).module or name.replace("-", "_")
    yield from importlib.metadata.packages_distributions().get(module, ())  # half a second: it reads what all packages hold


def _version(name: str) -> str:
    distribution = _distribution(name)
    return distribution.version if distribution else ""


def _wanted(package: str, rules: Rules) -> Callable[[str], bool]:
    only = [f"{package}.{part}" for part in rules.only]
    without = [f"{package}.{part}" for part in rules.without]

    def wanted(module: str) -> bool:
        if any(module == part or module.startswith(part + ".") for part in without):
            return False
        return not only or any(module == part or module.startswith(part + ".") or part.startswith(module + ".") for part in only)

    return wanted


def _api_documents(name: str, public: PublicName, rules: Rules, folder: Path, version: str) -> Iterator[Document]:
    place = public.file.relative_to(folder.parent).as_posix()
    docstring = public.docstring
    if docstring.kind == "module":
        if len(docstring.text.split()) >= 30:
            yield _document(public.path, "", docstring, rules, public, place, docstring.text, version)
        return
    text = docstring.text
    members: list[Member] = []
    own: list[Docstring] = []
    for method in public.methods:
        short = method.name.rsplit(".", 1)[-1]
        members.append(Member(short, short + method.signature, summary(method.text)))
        if len(method.text.split()) >= _METHOD_WORDS:
            own.append(method)
    if members:
        text += "\n\nMethods:\n" + "\n".join(f"{member.signature}: {member.comment}".rstrip(": ") for member in members)
    if len(text.split()) >= _MIN_WORDS:
        yield _document(public.path, docstring.signature, docstring, rules, public, place, text, version, tuple(members))
    for method in own:
        path = f"{public.path}.{method.name.rsplit('.', 1)[-1]}"
        yield _document(path, method.signature, method, rules, public, place, method.text, version)


def _document(
    path: str,
    signature: str,
    docstring: Docstring,
    rules: Rules,
    public: PublicName,
    place: str,
    text: str,
    version: str,
    members: tuple[Member, ...] = (),
) -> Document:
    first = summary(docstring.text)
    rest = path.partition(".")[2]
    short = f"{rules.short}.{rest}" if rules.short and rest else path
    defined = public.defined if path == public.path else f"{public.defined}.{path.rsplit('.', 1)[-1]}"
    module = rest.rpartition(".")[0].split(".")[0] or rest
    owner = public.path
    code = f"```python\n{path}{signature}\n```\n\n" if signature else ""
    names = {path, short, ".".join(path.split(".")[-2:]), path.rsplit(".", 1)[-1]}
    return Document(
        id=f"api:{path}",
        title=f"{path}: {first}" if first else path,
        source=path,
        kind="api",
        place=f"{place}:{docstring.line}",
        url=rules.url.format(name=path, short=short, defined=defined, module=module, owner=owner),
        text=f"{path}: {first}\n\n{code}{text}"[:_MAX_TEXT],
        version=version,
        names=tuple(sorted(names)),
        members=members,
    )


def _pages(name: str, folder: Path, version: str, log: Log) -> Iterator[Document]:
    """The sections of the package's read-me and of the Markdown and reStructuredText files that it ships."""
    distribution = _distribution(name)
    home = ""
    if distribution is not None:
        metadata = distribution.metadata.json
        links = dict(re.split(r",\s*", link, maxsplit=1) for link in metadata.get("project_url", ()) if "," in link)
        lower = {key.lower(): value for key, value in links.items()}
        home = str(lower.get("documentation") or lower.get("homepage") or metadata.get("home_page", ""))
        home = home if home.startswith("http") else ""
        kind = "rst" if "rst" in metadata.get("description_content_type", "") else "md"
        yield from _sections(name, "README", str(metadata.get("description", "")), kind, home, version)
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".md", ".rst"} and path.is_file() and "test" not in path.as_posix():
            place = path.relative_to(folder.parent).as_posix()
            yield from _sections(name, place, read_text(path, log), path.suffix[1:], home, version)


def _sections(name: str, place: str, text: str, kind: str, url: str, version: str) -> Iterator[Document]:
    cut = markdown.rst_sections if kind == "rst" else markdown.sections
    for section in cut(text, title=name):
        yield Document(
            id=f"page:{name}:{place}:{section.line}",
            title=" › ".join(section.path),
            source=name,
            kind="page",
            place=f"{place}:{section.line}",
            url=url,
            text=section.text,
            version=version,
        )


SOURCE = PythonPackages()
