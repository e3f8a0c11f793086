"""Which of the kernels' engines a header carries, and how its functions call them.

Batches take the bit-sliced engine, or the walk where it refuses the forest. Single rows look bytes up where the target can
and the forest fits, and wide forests go down in lanes on AVX-512; elsewhere small forests are nested conditions, others go
down on planes or walk.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels import sources
from mlcore.forests.emit import nested
from mlcore.forests.emit.literals import number
from mlcore.forests.emit.plan import HeaderPlan, literal_lines
from mlcore.forests.ir import TreeModel

_DATA = ("kernels/plan.hpp", "kernels/rows.hpp")
_RUN_SLICED = """\
inline constexpr std::size_t workspace_bytes = engine::workspace_of<real>(&plan_header);

template <class X>
inline void run(const X* rows, std::size_t n_rows, bool link, real* out, unsigned char* workspace) {
  const kernels::Rows<X> x{rows, n_rows, static_cast<std::ptrdiff_t>(n_features), 1};
  engine::run_as(plan(), x, 0, n_rows, link, out, workspace);
}"""
_RUN_WALK = """\
using Walk = engine::Walk<threshold_real, real>;
inline constexpr std::size_t workspace_bytes = Walk::block_rows * n_outputs * sizeof(real);

template <class X>
inline void run(const X* rows, std::size_t n_rows, bool link, real* out, unsigned char* workspace) {
  const kernels::Rows<X> x{rows, n_rows, static_cast<std::ptrdiff_t>(n_features), 1};
  if (!link) return Walk::margins(plan(), x, 0, n_rows, out);
  real* sums = reinterpret_cast<real*>(workspace);
  for (std::size_t i = 0; i < n_rows; i += Walk::block_rows) {
    const std::size_t past = n_rows - i < Walk::block_rows ? n_rows : i + Walk::block_rows;
    Walk::margins(plan(), x, i, past, sums);
    for (std::size_t j = i; j < past; ++j) engine::apply_link(plan(), sums + (j - i) * n_outputs, out + j * n_predictions);
  }
}"""
_PORTABLE = """\
namespace kernels {
namespace KERNELS_TARGET {
using WidePlanes = WordPlanes;
using NarrowPlanes = WordPlanes;
}  // namespace KERNELS_TARGET
}  // namespace kernels"""
_ROW_WALK = "  engine::walk_margin<threshold_real, real>(plan(), row, out);"
_ROW_PLANES = """\
  std::uint8_t planes[{n_bytes}];
  engine::PlaneWalk<real>::margins(plan(), row, out, planes);"""
_ROW_BYTES = """\
#if defined(KERNELS_BYTE_LOOKUP)
  using T = std::conditional_t<std::is_same_v<X, double> && std::is_same_v<threshold_real, double>, double, float>;
  engine::single_margin<{kind}, {wide}, kernels::SumOrder::sequential, real, T>(plan(), row, out);
#else
{otherwise}
#endif"""
_ROW_LANES = """\
#if defined(KERNELS_AVX512)
  if constexpr (std::is_same_v<X, float> || (std::is_same_v<threshold_real, float> && n_features <= kernels::lane_doubles)) {{
    return engine::LaneTrees<real>::template margins<{any_zero}>(plan(), row, out);
  }}
#endif
{otherwise}"""
_ROW_NESTED = """\
#if !defined(__FINITE_MATH_ONLY__) || !__FINITE_MATH_ONLY__  // the comparisons tell NaN apart
  nested_margins(row, out);
#else
{otherwise}
#endif"""
_NESTED = """\
inline void nested_margins(const threshold_real* x, real* s) {{
  {start}
{statements}
}}
template <class X>
inline void nested_margins(const X* row, real* s) {{
  threshold_real x[n_features];
  for (std::size_t i = 0; i < n_features; ++i) x[i] = static_cast<threshold_real>(row[i]);
  nested_margins(static_cast<const threshold_real*>(x), s);
}}
"""


@dataclass(frozen=True)
class Engines:
    """The engines of a header as text, and the code that calls them.

    Attributes
    ----------
    includes
        Standard headers.
    common, avx512, avx2, portable, last
        For every target, for one of them each, and what builds on them.
    functions
        Code that belongs to this forest alone.
    row, run
        The body of a function for one row, and the function for many.
    """

    includes: tuple[str, ...]
    common: str
    avx512: str
    avx2: str
    portable: str
    last: str
    functions: str
    row: str
    run: str


def engines(model: TreeModel, plan: HeaderPlan) -> Engines:
    """Choose the engines for a forest."""
    if not plan.is_sliced:
        walk = sources.joined(*_DATA, "walk_row.hpp", "link.hpp")
        return Engines(walk.system, walk.text, "", "", "", "", "", _ROW_WALK, _RUN_WALK)
    single = ("kernels/single_plan.hpp", "kernels/single_engine.hpp") if plan.single else ()
    common = sources.joined(*_DATA, "ops_words.hpp", *single)
    lanes = ("single_lanes.hpp",) if plan.in_lanes else ()
    avx512 = sources.joined("ops_avx512.hpp", *lanes, without=common.names)
    avx2 = sources.joined("ops_avx2.hpp", without=common.names)
    last = sources.joined(
        "batch.hpp",
        "walk_row.hpp" if plan.row_walks else "plane_walk.hpp",
        *(["single_event_engine.hpp"] if plan.single and not plan.in_lanes else []),
        without=common.names,
    )
    row = _ROW_WALK if plan.row_walks else _ROW_PLANES.format(n_bytes=plan.n_bytes_of_planes)
    functions = ""
    if nested.takes(model):
        row = _ROW_NESTED.format(otherwise=row)
        functions = _nested(model)
    if plan.in_lanes:
        row = _ROW_LANES.format(any_zero="true" if plan.single["any_zero"] else "false", otherwise=row)
    elif plan.single:
        row = _ROW_BYTES.format(kind=plan.single["rounds"], wide="true" if _is_wide(plan) else "false", otherwise=row)
    system = sorted({name for part in (common, avx512, avx2, last) for name in part.system} - {"emmintrin.h", "immintrin.h"})
    return Engines(tuple(system), common.text, avx512.text, avx2.text, _PORTABLE, last.text, functions, row, _RUN_SLICED)


def _nested(model: TreeModel) -> str:
    real = nested.real_of(model.sum_dtype)
    start = " ".join(f"s[{i}] = {number(value, real)};" for i, value in enumerate(model.base.tolist()))
    return _NESTED.format(start=start, statements=nested.statements(model))


def _is_wide(plan: HeaderPlan) -> bool:
    return max(plan.single["n_columns"], plan.single["n_searches"]) > 64


def sections(plan: HeaderPlan) -> tuple[str, str]:
    """The number of bytes in the sections, and the sections, as C++."""
    size, content = str(len(plan.common)), literal_lines(plan.common)
    for tail in plan.tails:
        size += f"\n#if {tail.condition}\n    + {len(tail.content)}\n#endif\n   "
        content += f"\n#if {tail.condition}\n{literal_lines(tail.content)}\n#endif"
    return size, content
