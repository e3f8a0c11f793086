"""C++ texts cut into steps: what is loaded, what is executed, and what is called in the end."""

from __future__ import annotations

import pytest

from mlcore.running.macros import MAIN, steps


def kinds(text: str, name: str = "") -> list[str]:
    return [part.kind for part in steps(text, name).parts]


@pytest.mark.parametrize(
    ("text", "name", "call"),
    [
        ("void plot() { }", "", "plot()"),
        ("void plot(int n = 3, const char* title = \"a, b (c)\") { }", "", "plot()"),
        ("void plot(int n) { }", "", ""),
        ("double f(double x) { return x; }\nvoid plot() { f(1); }", "", "plot()"),
        ("void helper() { }\nvoid hsimple() { helper(); }\nvoid other() { }", "hsimple", "hsimple()"),
        ("void first() { }\nvoid second() { first(); }\nvoid third() { }", "", "third()"),
        ("void second();\nvoid first() { second(); }\nvoid second() { }", "", "first()"),
        ("int main() { return 0; }", "", f"{MAIN}()"),
        ("int main(int argc, char** argv) { return argc; }", "", f"{MAIN}(0, nullptr)"),
        ("void plot(void) { }", "", "plot()"),
        ("struct S { void method() { } };\nvoid S2::method() { }\nint go() { return 1; }", "", "go()"),
        ("R__LOAD_LIBRARY(libMathMore)\nvoid go() { }", "", "go()"),
        ("template <typename T> T twice(T x) { return 2 * x; }\nvoid go() { twice(1); }", "", "go()"),
        ("// void not_this() { }\n/* void nor() { } */ const char* s = \"void no() { }\";", "", ""),
        ('auto text = R"(void no() { " })"; ', "", ""),
    ],
)  # fmt: skip
def test_what_is_called(text: str, name: str, call: str) -> None:
    assert steps(text, name).call == call


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("void plot() { }", ["declare"]),
        ('TH1F h("h", "", 10, 0, 1);\nh.Draw();', ["execute"]),
        ("#include <vector>\nusing namespace std;\nvector<int> v{1, 2};\nfor (int i : v) { i++; }", ["declare", "execute"]),
        ("auto f = [](double x) { return x; };\nf(2);", ["execute"]),
        ("struct P { double x; } p;\nenum E { a, b };\np.x = 1;", ["declare", "execute"]),
        ("int n = 2;\nint twice() { return 2 * n; }\nn = twice();", ["execute", "declare", "execute"]),
        ('TF1 f("f", [](double* x, double*) { return x[0]; }, 0, 1, 0);', ["execute"]),
        ("if (true) { int a; } else { int b; }\ndo { } while (false);\nswitch (1) { default: break; }", ["execute"]),
        ("try { throw 1; } catch (int) { }", ["execute"]),
        ("{ int a = 1; }", ["execute"]),
        ("{ int a; }\n{ int b; }", ["execute"]),
        ("#ifdef X\n#define Y 1\n#endif\nvoid f() { }", ["declare"]),
        ("namespace a { int b; }\nextern \"C\" { int c; }\nint d[] = {1, 2};", ["declare", "execute"]),
        ("const char c = '{';\nint f() { return '}'; }", ["execute", "declare"]),
        ("int f() { return 1'000; }", ["declare"]),
        ("bool operator==(const A& a, const A& b) { return true; }", ["declare"]),
    ],
)  # fmt: skip
def test_what_is_loaded_and_what_is_executed(text: str, expected: list[str]) -> None:
    assert kinds(text) == expected


def test_nothing_is_lost_and_lines_are_counted() -> None:
    text = "// a\n#include <cmath>\nint f() { return 1; }\n\nint a = f();\nint g() { return a; }\n"
    parts = steps(text).parts
    assert "".join(part.text for part in parts) == text.rstrip("\n") or "".join(part.text for part in parts) == text
    assert [part.line for part in parts] == [1, 3, 5] or [part.line for part in parts] == [1, 4, 6]


def test_statements_after_functions_are_executed_and_nothing_is_called_behind_them() -> None:
    made = steps("void plot(int n) { }\nplot(3);")
    assert [part.kind for part in made.parts] == ["declare", "execute"]
    assert made.call == ""


def test_an_unnamed_macro_keeps_its_lines() -> None:
    made = steps("// title\n{\n  int a = 1;\n}\n")
    assert made.parts[0].text.count("\n") == 3
    assert made.parts[0].text.strip().endswith("int a = 1;")


@pytest.mark.parametrize(
    "text", ["{", "}", "(((", '"', "'", 'R"x(', "/*", "#", "void f( {", "a" * 10_000, "{" * 2000, "}" * 2000]
)
def test_broken_text_is_passed_on(text: str) -> None:
    assert "".join(part.text for part in steps(text).parts).strip() in (text.strip(), "")
