// Matrix products by a library, where the compiler is asked for one: -DML4EP_BLAS (any BLAS: sgemm_ and dgemm_) or -DML4EP_ONEDNN
// (dnnl_sgemm, float alone). Without either nothing here is compiled, and nothing has to be linked.
//
// A BLAS that calls its functions otherwise is described by ML4EP_BLAS_PREFIX, ML4EP_BLAS_SUFFIX (by default an underscore) and, where its
// sizes have 64 bits, ML4EP_BLAS_INT=std::int64_t. Functions are declared by the names that the linker sees, so no header is needed and
// none of the program's own, which may declare them otherwise, is in the way.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/nn/tensor.hpp"

#if defined(ML4EP_BLAS) || defined(ML4EP_ONEDNN)
#define KERNELS_NN_LIBRARY 1
#endif

#ifdef KERNELS_NN_LIBRARY
#define KERNELS_NN_TEXT_OF(...) #__VA_ARGS__
#define KERNELS_NN_TEXT(...) KERNELS_NN_TEXT_OF(__VA_ARGS__)
#define KERNELS_NN_LINKED_AS(name) __asm__(KERNELS_NN_TEXT(__USER_LABEL_PREFIX__) name)
#endif

namespace kernels {
namespace nn {

#ifdef ML4EP_ONEDNN

extern "C" int ml4ep_dnnl_sgemm(char, char, std::int64_t m, std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda,
                                const float* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) KERNELS_NN_LINKED_AS("dnnl_sgemm");

template <class T>
inline constexpr bool has_library = std::is_same_v<T, float>;

// c[m, n] = a[m, k] b[k, n], all row by row.
inline void library_product(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
                            float* c, std::int64_t ldc) {
  require(ml4ep_dnnl_sgemm('N', 'N', m, n, k, 1.0f, a, lda, b, ldb, 0.0f, c, ldc) == 0, "oneDNN refuses a matrix product");
}

#elif defined(ML4EP_BLAS)

#ifndef ML4EP_BLAS_PREFIX
#define ML4EP_BLAS_PREFIX
#endif
#ifndef ML4EP_BLAS_SUFFIX
#define ML4EP_BLAS_SUFFIX _
#endif
#ifndef ML4EP_BLAS_INT
#define ML4EP_BLAS_INT int
#endif
#define KERNELS_NN_BLAS(name) KERNELS_NN_LINKED_AS(KERNELS_NN_TEXT(ML4EP_BLAS_PREFIX) name KERNELS_NN_TEXT(ML4EP_BLAS_SUFFIX))

using blas_int = ML4EP_BLAS_INT;
extern "C" void ml4ep_sgemm(const char*, const char*, const blas_int* m, const blas_int* n, const blas_int* k, const float* alpha, const float* a,
                            const blas_int* lda, const float* b, const blas_int* ldb, const float* beta, float* c,
                            const blas_int* ldc) KERNELS_NN_BLAS("sgemm");
extern "C" void ml4ep_dgemm(const char*, const char*, const blas_int* m, const blas_int* n, const blas_int* k, const double* alpha, const double* a,
                            const blas_int* lda, const double* b, const blas_int* ldb, const double* beta, double* c,
                            const blas_int* ldc) KERNELS_NN_BLAS("dgemm");

template <class T>
inline constexpr bool has_library = std::is_same_v<T, float> || std::is_same_v<T, double>;

// c[m, n] = a[m, k] b[k, n], all row by row: column by column, as BLAS counts, it is the product of the transposes.
template <class T>
inline void library_product(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T* c,
                            std::int64_t ldc) {
  const auto size = [](std::int64_t value) { return static_cast<blas_int>(value); };
  require(size(lda) == lda && size(ldb) == ldb && size(ldc) == ldc && size(m) == m, "a matrix product is too large for the BLAS");
  const blas_int rows = size(m), columns = size(n), depth = size(k), step_a = size(lda), step_b = size(ldb), step_c = size(ldc);
  const T one(1), zero(0);
  if constexpr (std::is_same_v<T, float>) {
    ml4ep_sgemm("N", "N", &columns, &rows, &depth, &one, b, &step_b, a, &step_a, &zero, c, &step_c);
  } else {
    ml4ep_dgemm("N", "N", &columns, &rows, &depth, &one, b, &step_b, a, &step_a, &zero, c, &step_c);
  }
}

#else

template <class T>
inline constexpr bool has_library = false;

#endif

#ifdef KERNELS_NN_LIBRARY

#ifndef ML4EP_LIBRARY_WORK
#define ML4EP_LIBRARY_WORK 262144
#endif
#ifndef ML4EP_LIBRARY_ROWS
#define ML4EP_LIBRARY_ROWS 32
#endif

// Whether a product is large enough: as many multiplications as make up for a call, and rows enough for bringing the weights into its order.
constexpr bool library_gains(std::int64_t rows, std::int64_t columns, std::int64_t depth) {
  return rows >= ML4EP_LIBRARY_ROWS && columns * depth > 0 && rows >= (std::int64_t(ML4EP_LIBRARY_WORK) + columns * depth - 1) / (columns * depth);
}

// Memory of this thread for weights (0) and rows (1) that are brought into the library's order.
template <int use, class T>
inline T* library_room(std::int64_t count) {
  static thread_local Buffer room;
  return room.get<T>(count);
}

#endif

}  // namespace nn
}  // namespace kernels
