"""The C++ reader: what documents what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.corpus.parsing import cpp

HEADER = """
#ifndef A_H
#define A_H // a directive with { a brace
namespace ROOT {
namespace Math {

/// Adds numbers; a string "}" in a comment is no brace.
/// \\param[in] a the first
double Add(double a, double b);

void Undocumented(int);

/** \\class ROOT::Math::Fitter
 * \\brief Fits things.
 *
 * Longer text.
 */
template <class T, class U = std::vector<T>>
class Fitter : public TObject, protected Base<T> {
public:
   enum EMode {
      kFast = 1, ///< be quick
      kExact     ///< be right
   };
   Fitter() = default;
   virtual ~Fitter() {}
   /// Do the fit.
   bool Fit(const char *text = "};", std::function<int(int)> f = {}) override { if (x) { return '}'; } return false; }
   inline double Chi2() const { return 0; } ///< the chi-square
   int Plain() const; // *MENU*
   friend class Other;
private:
   int Hidden();
   /// Documented though private.
   int Shown();
   ClassDef(Fitter, 1) // the fitter of this test
};

struct Point { double x; double Distance() const; };

} // namespace Math
}
#endif
"""


@pytest.fixture(scope="module")
def scopes() -> dict[str, cpp.CppScope]:
    return {scope.name: scope for scope in cpp.read(HEADER)}


def test_classes_have_their_qualified_name_prose_bases_and_line(scopes: dict[str, cpp.CppScope]) -> None:
    fitter = scopes["ROOT::Math::Fitter"]
    assert fitter.kind == "class"
    assert fitter.prose.startswith("Fits things.")
    assert "Longer text." in fitter.prose
    assert fitter.bases == ("TObject", "Base")
    assert fitter.summary == "the fitter of this test"
    assert HEADER.splitlines()[fitter.line - 1].startswith(("/** \\class", "class Fitter"))
    assert scopes["ROOT::Math::Point"].kind == "struct"


def test_public_methods_are_members_with_the_comments_around_them(scopes: dict[str, cpp.CppScope]) -> None:
    members = {member.name: member for member in scopes["ROOT::Math::Fitter"].members}
    assert set(members) == {"EMode", "Fitter", "Fit", "Chi2", "Plain", "Shown"}
    assert members["Fit"].comment == "Do the fit."
    assert members["Fit"].signature.startswith("bool Fit(const char *text")
    assert "override" not in members["Fit"].signature
    assert members["Chi2"].comment == "the chi-square"
    assert members["Plain"].comment == ""
    assert members["EMode"].comment == "- kFast: be quick\n- kExact: be right"


def test_functions_of_a_namespace_count_only_with_a_comment(scopes: dict[str, cpp.CppScope]) -> None:
    members = scopes["ROOT::Math"].members
    assert [member.name for member in members] == ["Add"]
    assert members[0].comment == 'Adds numbers; a string "}" in a comment is no brace.\n- a: the first'
    assert [member.name for member in scopes["ROOT::Math::Point"].members] == ["Distance"]


def test_prose_and_comments_of_a_source_file_join_the_declarations_of_its_header() -> None:
    header = cpp.read("class TH9 {\npublic:\n   int Fill(double x);\n   int Fill(double x, double w);\n};\n")
    source = cpp.read(
        "/** \\class TH9\nThe ninth histogram.\n*/\n\n////////////////////\n/// Fill with a weight.\n"
        "int TH9::Fill(double x, double w)\n{\n   return 1;\n}\n"
    )
    files = [*(("a.h", scope) for scope in header), *(("a.cxx", scope) for scope in source)]
    path, scope = next((path, scope) for path, scope in cpp.merge(files) if scope.name == "TH9")
    assert path == "a.cxx"
    assert scope.prose == "The ninth histogram."
    assert scope.defined
    assert [(m.signature, m.comment) for m in scope.members] == [
        ("int Fill(double x)", ""),
        ("int Fill(double x, double w)", "Fill with a weight."),
    ]


def test_code_that_cannot_be_followed_is_left_out_without_an_error() -> None:
    for broken in (
        "class {",
        "}}}}",
        "namespace A { class B",
        "template <",
        'R"x(',
        "/* open",
        "#define X \\\n",
        "class A : ::B {};",
    ):
        cpp.read(broken)


@given(st.text(alphabet=" \n{}();:<>\"'/*#\\aclstrupenm=,~", max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    for scope in cpp.read(text):
        assert scope.line >= 1
