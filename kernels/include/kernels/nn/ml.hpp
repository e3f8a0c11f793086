// Kernels of the domain ai.onnx.ml: categories, scaling, linear models, support vectors, trees.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/nn/cast.hpp"
#include "kernels/nn/tensor.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

// The place of each element in a sorted table, -1 if it is not there. A NaN is equal to `nan_place`'s.
template <class K>
struct Lookup {
  const K* keys;
  std::int64_t count;
  std::int64_t nan_place;

  std::int64_t place(const K& key) const {
    if constexpr (std::is_floating_point<K>::value) {
      if (key != key) return nan_place;
    }
    const K* const found = std::lower_bound(keys, keys + count, key);
    return found != keys + count && *found == key ? found - keys : -1;
  }
};

// What a table of values has for each key.
template <class T, class K, class V>
inline void look_up(const Lookup<K>& table, const T* from, std::int64_t n, const V* values, const V& missing, V* to) {
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t place = table.place(from[i]);
    to[i] = place < 0 ? missing : values[place];
  }
}

// The value at the place that a number names.
template <class V>
inline void choose(const std::int64_t* places, std::int64_t n, const V* values, std::int64_t count, const V& missing, V* to) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = places[i] < 0 || places[i] >= count ? missing : values[places[i]];
}

// A one in the column of each category.
template <class T, class K>
inline void one_hot(const Lookup<K>& table, const std::int64_t* columns, std::int64_t width, bool zeros, const T* from, std::int64_t n, float* to) {
  for (std::int64_t i = 0; i < n; ++i, to += width) {
    std::int64_t place;
    if constexpr (std::is_same<T, std::string>::value) place = table.place(from[i]);
    else place = table.place(convert<T, std::int64_t>(from[i], true, Rounding::nearest));
    require(place >= 0 || zeros, "OneHotEncoder is given a category that it has not");
    for (std::int64_t j = 0; j < width; ++j) to[j] = 0.0f;
    if (place >= 0) to[columns[place]] = 1.0f;
  }
}

// Parameters of a feature: one for each, or one for all.
template <class R>
struct PerFeature {
  const R* values;
  std::int64_t count;
  R operator[](std::int64_t feature) const { return count == 1 ? values[0] : values[feature]; }
};

template <class T>
inline void scale_features(const T* from, std::int64_t rows, std::int64_t width, PerFeature<float> offset, PerFeature<float> scale, float* to) {
  using R = std::conditional_t<std::is_same<T, double>::value, double, float>;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < width; ++j, ++from, ++to) *to = static_cast<float>((static_cast<R>(*from) - R(offset[j])) * R(scale[j]));
  }
}

template <class T>
inline void impute(const T* from, std::int64_t rows, std::int64_t width, T replaced, PerFeature<T> values, T* to) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < width; ++j, ++from, ++to) *to = *from == replaced || (replaced != replaced && *from != *from) ? values[j] : *from;
  }
}

template <class T>
inline void binarize(const T* from, std::int64_t n, float threshold, T* to) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(from[i] > threshold);
}

enum class Norm { max, l1, l2 };

template <class T>
inline void normalize_rows(const T* from, std::int64_t rows, std::int64_t width, Norm norm, float* to) {
  using R = std::conditional_t<std::is_same<T, double>::value, double, float>;
  for (std::int64_t i = 0; i < rows; ++i, from += width, to += width) {
    R sum = 0;
    for (std::int64_t j = 0; j < width; ++j) {
      const R x = std::fabs(static_cast<R>(from[j]));
      if (norm == Norm::max) sum = x > sum || x != x ? x : sum;
      else sum += norm == Norm::l1 ? x : x * x;
    }
    if (norm == Norm::l2) sum = std::sqrt(sum);
    for (std::int64_t j = 0; j < width; ++j) to[j] = static_cast<float>(sum == 0 ? static_cast<R>(from[j]) : static_cast<R>(from[j]) / sum);
  }
}

// Columns of one input among those of all, cut off or filled up with zeros.
template <class T>
inline void put_features(const T* from, std::int64_t rows, std::int64_t width, std::int64_t wanted, float* to, std::int64_t pitch) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < wanted; ++j) to[i * pitch + j] = j < width ? static_cast<float>(from[i * width + j]) : 0.0f;
  }
}

// What is done to the scores of one row at the end.
enum class Post { none, softmax, logistic, softmax_zero, probit };

template <class R>
inline R logistic(R x) {
  const R v = R(1) / (R(1) + std::exp(-std::fabs(x)));
  return x < 0 ? R(1) - v : v;
}

// The quantile of the normal distribution by S. Winitzki's approximation of the inverse error function ("A handy approximation for the error
// function and its inverse", 2008, Eq. 7), which ONNX's evaluator has.
template <class R>
inline R probit(R p) {
  const R x = 2 * p - 1, rest = (1 - x) * (1 + x);
  if (rest == 0) return 0;
  const R log = std::log(rest), v = R(2 / (3.14159265358979323846 * 0.147)) + log / 2, w = log / R(0.147);
  return R(1.41421356) * (x < 0 ? R(-1) : R(1)) * std::sqrt(std::sqrt(v * v - w) - v);
}

template <class R>
inline void post_transform(Post post, R* scores, std::int64_t n) {
  if (n == 0 || post == Post::none) return;
  if (post == Post::logistic || post == Post::probit) {
    for (std::int64_t i = 0; i < n; ++i) scores[i] = post == Post::logistic ? logistic(scores[i]) : probit(scores[i]);
    return;
  }
  const R largest = *std::max_element(scores, scores + n);
  R sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    // In softmax_zero, scores that are zero stay next to it.
    const bool zero = post == Post::softmax_zero && std::fabs(scores[i]) <= R(1e-7);
    scores[i] = zero ? scores[i] * std::exp(-largest) : std::exp(scores[i] - largest);
    sum += scores[i];
  }
  for (std::int64_t i = 0; i < n; ++i) scores[i] = sum == 0 ? R(0.5) : scores[i] / sum;
}

// Scores of rows: features times coefficients, which are those of one score after the other, plus an intercept each (or null).
template <class R, class T>
inline void linear_scores(const T* row, std::int64_t width, const R* coefficients, const R* intercepts, std::int64_t n, R* scores) {
  for (std::int64_t k = 0; k < n; ++k) {
    R sum = 0;
    for (std::int64_t j = 0; j < width; ++j) sum += static_cast<R>(row[j]) * coefficients[k * width + j];
    scores[k] = intercepts ? sum + intercepts[k] : sum;
  }
}

template <class R>
inline std::int64_t largest_of(const R* scores, std::int64_t n) {
  return std::max_element(scores, scores + n) - scores;
}

// Classes by linear scores. `scores` has room for one row, which is of two for one score and two labels.
template <class R, class T, class L>
inline void linear_classes(const T* from, std::int64_t rows, std::int64_t width, const R* coefficients, const R* intercepts, std::int64_t n, Post post,
                           const L* labels, std::int64_t n_labels, R* scores, L* classes, float* to) {
  const std::int64_t columns = n == 1 && n_labels == 2 ? 2 : n;
  for (std::int64_t i = 0; i < rows; ++i, from += width, to += columns) {
    linear_scores(from, width, coefficients, intercepts, n, scores);
    if (columns != n) {
      scores[1] = scores[0];
      scores[0] = -scores[1];
    }
    post_transform(post, scores, columns);
    if (columns > 1) classes[i] = labels[largest_of(scores, columns)];
    else classes[i] = scores[0] >= (post == Post::none ? R(0) : R(0.5)) ? labels[0] : L{};
    for (std::int64_t k = 0; k < columns; ++k) to[k] = static_cast<float>(scores[k]);
  }
}

template <class R, class T>
inline void linear_regression(const T* from, std::int64_t rows, std::int64_t width, const R* coefficients, const R* intercepts, std::int64_t n, Post post,
                              R* scores, float* to) {
  for (std::int64_t i = 0; i < rows; ++i, from += width, to += n) {
    linear_scores(from, width, coefficients, intercepts, n, scores);
    post_transform(post, scores, n);
    for (std::int64_t k = 0; k < n; ++k) to[k] = static_cast<float>(scores[k]);
  }
}

// Support vectors (C.-C. Chang, C.-J. Lin, "LIBSVM", ACM TIST 2 (2011) 27, Sec. 2 and 8).
enum class Kernel { linear, poly, rbf, sigmoid };

struct KernelParameters {
  Kernel kind;
  double gamma, coef0;
  std::int64_t degree;
};

template <class T>
inline double kernel_value(const KernelParameters& kernel, const T* x, const float* vector, std::int64_t width) {
  double sum = 0;
  for (std::int64_t j = 0; j < width; ++j) {
    const double a = static_cast<double>(x[j]), b = vector[j];
    sum += kernel.kind == Kernel::rbf ? (a - b) * (a - b) : a * b;
  }
  switch (kernel.kind) {
    case Kernel::poly: return std::pow(kernel.gamma * sum + kernel.coef0, static_cast<double>(kernel.degree));
    case Kernel::rbf: return std::exp(-kernel.gamma * sum);
    case Kernel::sigmoid: return std::tanh(kernel.gamma * sum + kernel.coef0);
    default: return sum;
  }
}

// A sum over support vectors; without any, a linear model of which `coefficients` are the weights.
template <class T>
inline void svm_regression(const KernelParameters& kernel, const T* from, std::int64_t rows, std::int64_t width, const float* vectors,
                           const float* coefficients, std::int64_t n_vectors, float rho, bool one_class, Post post, float* to) {
  for (std::int64_t i = 0; i < rows; ++i, from += width) {
    double sum = 0;
    if (n_vectors == 0) sum = kernel_value({Kernel::linear, 0, 0, 0}, from, coefficients, width);
    for (std::int64_t j = 0; j < n_vectors; ++j) sum += coefficients[j] * kernel_value(kernel, from, vectors + j * width, width);
    double score = sum + rho;
    if (one_class) score = score > 0 ? 1 : -1;
    post_transform(post, &score, 1);
    to[i] = static_cast<float>(score);
  }
}

struct SupportVectors {
  KernelParameters kernel;
  const float* vectors;        // of one class after the other; null for a linear model
  const float* coefficients;   // (classes - 1, vectors), or (classes, width)
  const std::int64_t* begins;  // of each class among the vectors, and behind the last
  const float* rho;
  const float* prob_a;  // null if there are no probabilities
  const float* prob_b;
  std::int64_t classes;
};

// Probabilities of classes from those of pairs (T.-F. Wu, C.-J. Lin, R. C. Weng, J. Mach. Learn. Res. 5 (2004) 975, Algorithm 2). `q` has room
// for classes * (classes + 1) numbers.
inline void coupled_probabilities(const double* pairs, std::int64_t n, double* q, double* p) {
  double* const qp = q + n * n;
  for (std::int64_t t = 0; t < n; ++t) {
    p[t] = 1.0 / static_cast<double>(n);
    double diagonal = 0;
    for (std::int64_t j = 0; j < n; ++j) {
      if (j == t) continue;
      diagonal += pairs[j * n + t] * pairs[j * n + t];
      q[t * n + j] = -pairs[j * n + t] * pairs[t * n + j];
    }
    q[t * n + t] = diagonal;
  }
  for (std::int64_t round = 0; round < std::max<std::int64_t>(100, n); ++round) {
    double whole = 0, error = 0;
    for (std::int64_t t = 0; t < n; ++t) {
      qp[t] = 0;
      for (std::int64_t j = 0; j < n; ++j) qp[t] += q[t * n + j] * p[j];
      whole += p[t] * qp[t];
    }
    for (std::int64_t t = 0; t < n; ++t) error = std::max(error, std::fabs(qp[t] - whole));
    if (error < 0.005 / static_cast<double>(n)) break;
    for (std::int64_t t = 0; t < n; ++t) {
      const double step = (whole - qp[t]) / q[t * n + t];
      p[t] += step;
      whole = (whole + step * (step * q[t * n + t] + 2 * qp[t])) / ((1 + step) * (1 + step));
      for (std::int64_t j = 0; j < n; ++j) {
        qp[j] = (qp[j] + step * q[t * n + j]) / (1 + step);
        p[j] /= 1 + step;
      }
    }
  }
}

// Scores of one row; how many there are comes back. `votes` has room for a number for each class, `values` for one for each vector, `q` for
// classes * (2 * classes + 1) numbers.
template <class T>
inline std::int64_t svm_scores(const SupportVectors& svm, const T* row, std::int64_t width, double* values, double* q, double* votes, double* scores) {
  const std::int64_t n = svm.classes;
  if (svm.vectors == nullptr) {
    for (std::int64_t k = 0; k < n; ++k) scores[k] = svm.rho[0] + kernel_value({Kernel::linear, 0, 0, 0}, row, svm.coefficients + k * width, width);
    return n;
  }
  const std::int64_t all = svm.begins[n];
  for (std::int64_t v = 0; v < all; ++v) values[v] = kernel_value(svm.kernel, row, svm.vectors + v * width, width);
  std::fill(votes, votes + n, 0.0);
  std::int64_t pair = 0;
  double* const pairs = q;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = i + 1; j < n; ++j, ++pair) {
      double sum = svm.rho[pair];
      for (std::int64_t v = svm.begins[i]; v < svm.begins[i + 1]; ++v) sum += svm.coefficients[(j - 1) * all + v] * values[v];
      for (std::int64_t v = svm.begins[j]; v < svm.begins[j + 1]; ++v) sum += svm.coefficients[i * all + v] * values[v];
      votes[sum > 0 ? i : j] += 1;
      if (svm.prob_a == nullptr) {
        scores[pair] = sum;
      } else {
        const double p = 1 - logistic(sum * svm.prob_a[pair] + svm.prob_b[pair]);
        pairs[i * n + j] = std::min(std::max(p, 1e-7), 1 - 1e-7);
        pairs[j * n + i] = 1 - pairs[i * n + j];
      }
    }
  }
  if (svm.prob_a == nullptr) return pair;
  coupled_probabilities(pairs, n, q + n * n, scores);
  return n;
}

// Classes by votes and scores. `pair_labels`: there is one decision between two labels, whose score becomes two. `columns`: of the output.
template <class T, class L>
inline void svm_classes(const SupportVectors& svm, const T* from, std::int64_t rows, std::int64_t width, Post post, bool one_rho, bool positive,
                        const L* labels, std::int64_t n_labels, std::int64_t columns, double* values, double* q, double* scores, L* classes, float* to) {
  double* const votes = q + svm.classes * (2 * svm.classes + 1);
  for (std::int64_t i = 0; i < rows; ++i, from += width, to += columns) {
    const std::int64_t n = svm_scores(svm, from, width, values, q, votes, scores);
    const double* const ranked = svm.vectors ? votes : scores;
    const std::int64_t best = largest_of(ranked, svm.classes);
    if (one_rho && n_labels != 2) {
      if constexpr (std::is_same<L, std::int64_t>::value) classes[i] = ranked[best] > 0 ? 1 : 0;
      else classes[i] = labels[best];
    } else {
      const bool second = one_rho && svm.prob_a == nullptr && positive && ranked[best] >= 0.5;
      classes[i] = labels[second ? 1 : best];
    }
    if (columns > n) {
      scores[1] = scores[0];
      scores[0] = -scores[1];
    }
    // One score alone is left as it is, but for its quantile.
    if (columns > 1 || post == Post::probit) post_transform(post, scores, columns);
    for (std::int64_t k = 0; k < columns; ++k) to[k] = static_cast<float>(scores[k]);
  }
}

// Trees, in tables.
template <class R>
struct Trees {
  const std::int32_t* nodes;    // five numbers each: feature; comparison, plus 8 if a missing value holds; where to go if it holds, and if
                                // not: a node, or a leaf as -1 - number; a set of members
  const R* splits;              // of each node
  const R* members;             // of all sets
  const std::int32_t* sets;     // beginnings of sets among the members, and behind the last
  const std::int32_t* votes;    // beginnings of the votes of each leaf, and behind the last
  const std::int32_t* targets;  // of each vote
  const R* weights;             // of each vote
  const std::int32_t* roots;    // nodes or leaves
  std::int64_t count;           // of trees
};

template <class R, class T>
inline std::int32_t leaf_of(const Trees<R>& trees, std::int32_t at, const T* row) {
  while (at >= 0) {
    const std::int32_t* const node = trees.nodes + 5 * static_cast<std::int64_t>(at);
    const R x = static_cast<R>(static_cast<computed_t<T>>(row[node[0]])), split = trees.splits[at];
    bool holds = false;
    switch (node[1] & 7) {
      case 0: holds = x <= split; break;
      case 1: holds = x < split; break;
      case 2: holds = x >= split; break;
      case 3: holds = x > split; break;
      case 4: holds = x == split; break;
      case 5: holds = x != split; break;
      default:
        for (std::int32_t i = trees.sets[node[4]]; i < trees.sets[node[4] + 1]; ++i) holds = holds || x == trees.members[i];
    }
    holds = holds || (x != x && (node[1] & 8) != 0);
    at = node[holds ? 2 : 3];
  }
  return -1 - at;
}

enum class Aggregate { average, sum, min, max };

// What the trees have to say about one row.
template <class R, class T>
inline void tree_scores(const Trees<R>& trees, const T* row, Aggregate aggregate, std::int64_t n, R* scores) {
  const R start = aggregate == Aggregate::min ? std::numeric_limits<R>::max() : aggregate == Aggregate::max ? std::numeric_limits<R>::lowest() : R(0);
  std::fill(scores, scores + n, start);
  for (std::int64_t t = 0; t < trees.count; ++t) {
    const std::int32_t leaf = leaf_of(trees, trees.roots[t], row);
    for (std::int32_t i = trees.votes[leaf]; i < trees.votes[leaf + 1]; ++i) {
      R& score = scores[trees.targets[i]];
      const R weight = trees.weights[i];
      if (aggregate == Aggregate::min) score = std::min(score, weight);
      else if (aggregate == Aggregate::max) score = std::max(score, weight);
      else score += weight;
    }
  }
  if (aggregate == Aggregate::average) {
    for (std::int64_t k = 0; k < n; ++k) scores[k] /= static_cast<R>(trees.count);
  }
}

// `base` may be null.
template <class R, class T, class Out>
inline void tree_regression(const Trees<R>& trees, const T* from, std::int64_t rows, std::int64_t width, Aggregate aggregate, const R* base, Post post,
                            std::int64_t n, R* scores, Out* to) {
  for (std::int64_t i = 0; i < rows; ++i, from += width, to += n) {
    tree_scores(trees, from, aggregate, n, scores);
    for (std::int64_t k = 0; base && k < n; ++k) scores[k] += base[k];
    post_transform(post, scores, n);
    for (std::int64_t k = 0; k < n; ++k) to[k] = Out(static_cast<computed_t<Out>>(scores[k]));
  }
}

// How classes are told from scores: the largest; or one score that decides between two, of which it is the share of the second, or a number
// whose sign tells. A lone label stands for its number or zero.
enum class Decision { largest, share, sign, alone };

// `column`: of the score that decides. In column 0 it stands for both classes.
template <class R, class T, class L>
inline void tree_classes(const Trees<R>& trees, const T* from, std::int64_t rows, std::int64_t width, const R* base, Post post, Decision decision,
                         std::int64_t column, const L* labels, std::int64_t n, R* scores, L* classes, float* to) {
  for (std::int64_t i = 0; i < rows; ++i, from += width, to += n) {
    tree_scores(trees, from, Aggregate::sum, n, scores);
    for (std::int64_t k = 0; base && k < n; ++k) scores[k] += base[k];
    const R score = scores[column];
    if (decision == Decision::largest) {
      classes[i] = labels[largest_of(scores, n)];
    } else if (decision == Decision::alone) {
      if constexpr (std::is_same<L, std::int64_t>::value) classes[i] = score > 0 ? 1 : 0;
    } else {
      classes[i] = labels[score > (decision == Decision::share ? R(0.5) : R(0)) ? 1 : 0];
      if (column == 0) {
        scores[0] = decision == Decision::share ? 1 - score : -score;
        scores[1] = score;
      }
    }
    if (decision != Decision::alone || post == Post::probit) post_transform(post, scores, n);
    for (std::int64_t k = 0; k < n; ++k) to[k] = static_cast<float>(scores[k]);
  }
}

}  // namespace nn
}  // namespace kernels
