// Recurrent networks: RNN, GRU and LSTM over sequences of their own lengths, in either direction.
//
// The inputs' part of all gates is one product for all steps, before the first; each step adds the state's part and applies the
// activations. Weights are packed as in gemm.hpp. Numbers are floats or doubles; 16-bit ones are converted on the way in and out.
#pragma once

#include <cstdint>

#include "kernels/nn/gemm.hpp"
#include "kernels/nn/map.hpp"

namespace kernels {
namespace nn {

// Sizes, and how many elements lie between steps, sequences and states: `row` in products of the inputs (counted in rows), `y` in
// the output, `state` in initial and last states.
struct Sequences {
  std::int64_t steps, batch, hidden;
  std::int64_t row_step, row_batch, y_step, y_batch, state_batch;
};

template <class R, class T>
inline void convert(const T* from, std::int64_t n, R* to) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<R>(static_cast<computed_t<T>>(from[i]));
}

// Packs a matrix of shape (columns, depth): what b is packed as for products with its transpose.
template <class R>
inline void pack_transposed(const R* from, std::int64_t columns, std::int64_t depth, R* to) {
  pack(from, depth, columns, 1, depth, to);
}

// The bias of the gates: that of the inputs and, of the first `n_both`, that of the state. `bias` holds both, n each, or is null.
template <class R, class T>
inline void join_bias(const T* bias, std::int64_t n, std::int64_t n_both, R* to) {
  for (std::int64_t i = 0; i < n; ++i) {
    R sum = 0;
    if (bias != nullptr) {
      sum = static_cast<R>(static_cast<computed_t<T>>(bias[i]));
      if (i < n_both) sum += static_cast<R>(static_cast<computed_t<T>>(bias[n + i]));
    }
    to[i] = sum;
  }
}

// to[m, n] = x[m, k] w[k, n] + bias[n]
template <class M, class N, class K, class R>
inline void gate_inputs(M rows, N columns, K depth, const R* x, const R* weights, const R* bias, R* to) {
  linear<false>(rows, columns, depth, x, depth, weights,
                finish(to, columns, columns, [](auto sum, auto b) { return fn::add(sum, b); }, along(bias, fixed<0>{})));
}
template <class M, class N, class K, class R>
inline void gate_states(M rows, N columns, K depth, const R* h, const R* weights, R* to) {
  gemm(rows, columns, depth, h, depth, weights, finish(to, columns, columns, [](auto sum) { return sum; }));
}

// The inputs' part of the gates, row after row, known before the first step.
template <class R>
struct KnownParts {
  const R* rows;

  template <class N>
  KnownParts from(std::int64_t first, N columns) const {
    return {rows + first * columns};
  }
};
// The same computed step by step, where that is so little that reading it back would take longer. Not for sequences of their own lengths.
template <class K, class R>
struct PartsAtEachStep {
  K depth;
  const R* x;
  const R* weights;
  const R* bias;

  template <class N>
  PartsAtEachStep from(std::int64_t first, N) const {
    return {depth, x + first * depth, weights, bias};
  }
};
template <class K, class R>
inline PartsAtEachStep<K, R> parts_at_each_step(K depth, const R* x, const R* weights, const R* bias) {
  return {depth, x, weights, bias};
}

// to[m, n] = the inputs' part + h[m, k] w[k, n]; at(m): the row of the inputs, negative where a sequence is over.
template <class M, class N, class K, class R, class At>
inline void all_gates(M rows, N columns, K depth, const Sequences&, const KnownParts<R>& parts, const At& at, const R* h, const R* weights, R* to) {
  gate_states(rows, columns, depth, h, weights, to);
  for (std::int64_t b = 0; b < rows; ++b) {
    if (at(b) < 0) continue;
    R* const own = to + b * columns;
    map(columns, own, [](auto x, auto y) { return fn::add(x, y); }, row(parts.rows + at(b) * columns), row(static_cast<const R*>(own)));
  }
}
template <class M, class N, class K, class D, class R, class At>
inline void all_gates(M rows, N columns, K depth, const Sequences& s, const PartsAtEachStep<D, R>& parts, const At& at, const R* h, const R* weights,
                      R* to) {
  linear<false>(rows, columns, parts.depth, parts.x + at(0) * parts.depth, s.row_batch * parts.depth, parts.weights,
                finish(to, columns, columns, [](auto sum, auto b) { return fn::add(sum, b); }, along(parts.bias, fixed<0>{})));
  gemm(rows, columns, depth, h, depth, weights,
       finish(to, columns, columns, [](auto sum, auto x) { return fn::add(x, sum); }, along(static_cast<const R*>(to), columns)));
}

// States between their own layout and (batch, hidden); zeros where none are given.
template <class R, class T>
inline void take_states(const Sequences& s, const T* from, R* to) {
  for (std::int64_t b = 0; b < s.batch; ++b) {
    if (from == nullptr) fill(to + b * s.hidden, s.hidden, R(0));
    else convert(from + b * s.state_batch, s.hidden, to + b * s.hidden);
  }
}
template <class R, class T>
inline void give_states(const Sequences& s, const R* from, T* to) {
  if (to == nullptr) return;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t i = 0; i < s.hidden; ++i) to[b * s.state_batch + i] = static_cast<T>(from[b * s.hidden + i]);
  }
}

// Calls step(row), which moves the states h on by one step; row(b) is the row of the inputs' products that sequence b takes, -1 when
// it is over. Steps behind the end of a sequence are zeros in y.
template <class R, class T, class Step>
inline void recur(const Sequences& s, const std::int32_t* lengths, bool reverse, const R* h, T* y, const Step& step) {
  const auto length = [&](std::int64_t b) { return lengths == nullptr ? s.steps : static_cast<std::int64_t>(lengths[b]); };
  for (std::int64_t b = 0; b < s.batch; ++b) {
    require(length(b) >= 0 && length(b) <= s.steps, "a sequence is given a length that it has not");
    if (y == nullptr) continue;
    for (std::int64_t t = length(b); t < s.steps; ++t) fill(y + t * s.y_step + b * s.y_batch, s.hidden, T(computed_t<T>(0)));
  }
  for (std::int64_t i = 0; i < s.steps; ++i) {
    const auto time = [&](std::int64_t b) { return i >= length(b) ? -1 : reverse ? length(b) - 1 - i : i; };
    step([&](std::int64_t b) {
      const std::int64_t t = time(b);
      return t < 0 ? -1 : t * s.row_step + b * s.row_batch;
    });
    if (y == nullptr) continue;
    for (std::int64_t b = 0; b < s.batch; ++b) {
      const std::int64_t t = time(b);
      if (t < 0) continue;
      T* const to = y + t * s.y_step + b * s.y_batch;
      for (std::int64_t j = 0; j < s.hidden; ++j) to[j] = static_cast<T>(h[b * s.hidden + j]);
    }
  }
}

// Calls f(s, count, first) for some sequences at a time, whose states and gates then stay in the first cache from step to step; `s` tells of these alone.
constexpr std::int64_t sequences_at_once = 24;
template <class B, class F>
inline void in_blocks(const Sequences& s, B batch, const F& f) {
  const auto block = [&](auto count, std::int64_t first) {
    Sequences own = s;
    own.batch = count;
    f(own, count, first);
  };
  if constexpr (is_fixed_v<B>) {
    constexpr Parts p = in_parts(B::value, sequences_at_once);
    std::int64_t first = 0;
    if constexpr (p.large > 0) {
      for (std::int64_t i = 0; i < p.large; ++i, first += p.size + 1) block(fixed<p.size + 1>{}, first);
    }
    if constexpr (p.size > 0) {
      for (std::int64_t i = p.large; i < p.parts; ++i, first += p.size) block(fixed<p.size>{}, first);
    }
  } else {
    for (std::int64_t first = 0; first < batch; first += sequences_at_once) {
      block(batch - first < sequences_at_once ? batch - first : sequences_at_once, first);
    }
  }
}
// The part of an array, which may be null, that begins some elements on.
template <class T>
inline T* from_on(T* data, std::int64_t elements) {
  return data == nullptr ? nullptr : data + elements;
}

// h' = f(x + h R). `gates` has room for (batch, hidden).
template <class B, class H, class R, class T, class Limit, class F>
inline void rnn(const Sequences& all, B batch, H hidden, const std::int32_t* all_lengths, bool reverse, const R* all_inputs, const R* weights,
                R* states, R* gates, T* y, const Limit& limit, const F& f) {
  in_blocks(all, batch, [&](const Sequences& s, auto count, std::int64_t first) {
    const R* const inputs = all_inputs + first * s.row_batch * hidden;
    R* const h = states + first * hidden;
    recur(s, from_on(all_lengths, first), reverse, h, from_on(y, first * s.y_batch), [&](const auto& row) {
      gate_states(count, hidden, hidden, h, weights, gates);
      for (std::int64_t b = 0; b < count; ++b) {
        if (row(b) < 0) continue;
        map(hidden, h + b * hidden, [&](auto x, auto g) { return f(limit(fn::add(x, g))); }, nn::row(inputs + row(b) * hidden),
            nn::row(static_cast<const R*>(gates) + b * hidden));
      }
    });
  });
}

// Cho et al., arXiv:1406.1078, Eq. 5-8, gates in the order z, r, h; `linear_before_reset` as in Chung et al., arXiv:1412.3555: the state is
// multiplied before it is reset, and has a bias of its own (may be null). `weights` are of all gates, or of the first two, and then
// `reset_weights` of the third. `gates` has room for (batch, 3 hidden), `reset` for (batch, hidden).
template <class B, class H, class N, class R, class T, class Limit, class F, class G>
inline void gru(const Sequences& s, B batch, H hidden, N columns, const std::int32_t* lengths, bool reverse, const R* inputs, const R* weights,
                const R* reset_weights, const R* bias, R* h, R* gates, R* reset, T* y, const Limit& limit, const F& f, const G& g) {
  const bool linear = reset_weights == nullptr;
  const auto sigma = [&](auto x, auto state) { return f(limit(fn::add(x, state))); };
  recur(s, lengths, reverse, h, y, [&](const auto& at) {
    gate_states(batch, columns, hidden, h, weights, gates);
    for (std::int64_t b = 0; b < batch; ++b) {
      R* const own = gates + b * columns;
      R* const state = h + b * hidden;
      if (at(b) < 0) {
        copy(static_cast<const R*>(state), hidden, reset + b * hidden);
        continue;
      }
      const R* const x = inputs + at(b) * 3 * hidden;
      const R* const z = own;
      const R* const r = own + hidden;
      map(2 * hidden, own, sigma, row(x), row(z));
      if (!linear) {
        map(hidden, reset + b * hidden, [](auto a, auto c) { return fn::mul(a, c); }, row(r), row(static_cast<const R*>(state)));
        continue;
      }
      R* const candidate = own + 2 * hidden;
      if (bias != nullptr) {
        map(hidden, candidate, [](auto a, auto c) { return fn::add(a, c); }, row(static_cast<const R*>(candidate)), row(bias));
      }
      map(hidden, state, [&](auto xh, auto gate, auto part, auto update, auto old) {
        const auto fresh = g(limit(fn::add(xh, fn::mul(gate, part))));
        return fn::add(fn::mul(fn::sub(decltype(update)(1), update), fresh), fn::mul(update, old));
      }, row(x + 2 * hidden), row(r), row(static_cast<const R*>(candidate)), row(z), row(static_cast<const R*>(state)));
    }
    if (linear) return;
    // The third gate's products stand behind the others: those of all sequences, (batch, hidden).
    R* const products = gates + batch * columns;
    gate_states(batch, hidden, hidden, static_cast<const R*>(reset), reset_weights, products);
    for (std::int64_t b = 0; b < batch; ++b) {
      if (at(b) < 0) continue;
      R* const state = h + b * hidden;
      map(hidden, state, [&](auto xh, auto part, auto update, auto old) {
        const auto fresh = g(limit(fn::add(xh, part)));
        return fn::add(fn::mul(fn::sub(decltype(update)(1), update), fresh), fn::mul(update, old));
      }, row(inputs + (at(b) * 3 + 2) * hidden), row(static_cast<const R*>(products) + b * hidden), row(static_cast<const R*>(gates) + b * columns),
          row(static_cast<const R*>(state)));
    }
  });
}

// Hochreiter and Schmidhuber, Neural Computation 9 (1997) 1735, with forget gates and peepholes as in Gers et al., JMLR 3 (2002) 115, Sec. 2;
// gates in the order i, o, f, c, peepholes (may be null) i, o, f. `coupled`: what is not put in is kept, f = 1 - i. `gates` has room
// for (batch, 4 hidden).
template <bool coupled, class B, class H, class N, class Parts, class R, class T, class Limit, class F, class G, class A>
inline void lstm(const Sequences& all, B batch, H hidden, N columns, const std::int32_t* lengths, bool reverse, const Parts& all_parts, const R* weights,
                 const R* peepholes, R* states, R* cells, R* gates, T* y, const Limit& limit, const F& f, const G& g, const A& a) {
  in_blocks(all, batch, [&](const Sequences& s, auto count, std::int64_t first) {
    const Parts parts = all_parts.from(first * s.row_batch, columns);
    R* const h = states + first * hidden;
    recur(s, from_on(lengths, first), reverse, h, from_on(y, first * s.y_batch), [&](const auto& at) {
      all_gates(count, columns, hidden, s, parts, at, h, weights, gates);
      for (std::int64_t b = 0; b < count; ++b) {
        if (at(b) < 0) continue;
        R* const own = gates + b * columns;
        R* const cell = cells + (first + b) * hidden;
        const auto with = [&](R* gate, const R* factors) {
          map(hidden, gate, [](auto x, auto p, auto state) { return fn::add(x, fn::mul(p, state)); }, row(static_cast<const R*>(gate)), row(factors),
              row(static_cast<const R*>(cell)));
        };
        if (peepholes != nullptr) {
          with(own, peepholes);
          if (!coupled) with(own + 2 * hidden, peepholes + 2 * hidden);
        }
        map(hidden, cell, [&](auto in, auto forget, auto candidate, auto old) {
          const auto opened = f(limit(in));
          const auto fresh = fn::mul(opened, g(limit(candidate)));
          if constexpr (coupled) return fn::add(fn::mul(fn::sub(decltype(in)(1), opened), old), fresh);
          else return fn::add(fn::mul(f(limit(forget)), old), fresh);
        }, row(static_cast<const R*>(own)), row(static_cast<const R*>(own) + 2 * hidden), row(static_cast<const R*>(own) + 3 * hidden),
            row(static_cast<const R*>(cell)));
        if (peepholes != nullptr) with(own + hidden, peepholes + hidden);
        map(hidden, h + b * hidden, [&](auto out, auto state) { return fn::mul(f(limit(out)), a(state)); },
            row(static_cast<const R*>(own) + hidden), row(static_cast<const R*>(cell)));
      }
    });
  });
}

}  // namespace nn
}  // namespace kernels
