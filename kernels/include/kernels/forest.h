/* C interface of the forest predictor: load a saved forest, predict from any number of threads.
 *
 *     ml4ep_forest* forest = ml4ep_forest_open("model.forest");
 *     if (forest == NULL) { fprintf(stderr, "%s\n", ml4ep_forest_error()); return 1; }
 *     float row[28] = {...}, p[1];
 *     ml4ep_forest_predict_one_f32(forest, row, p);
 *     ml4ep_forest_close(forest);
 *
 * Numbers come out in the forest's own precision, float or double: `ml4ep_forest_is_double` tells which, and the functions
 * that take `void* out` write it. Those that end in `_f32` or `_f64` say what the features are; margins and predictions of
 * `*_one_f32` and `*_one_f64` are of the forest's precision too, `ml4ep_forest_score_f32` and `_f64` give one number as a
 * double whatever the precision.
 *
 * Functions that return int return 0, or -1 where something is wrong; `ml4ep_forest_error` then tells what, for the calling
 * thread. Nothing throws. An open forest never changes: any number of threads may use it at once, and none of the functions for
 * one row allocates memory (for more than 16 outputs: after the first call of a thread). Functions for one row check no
 * arguments but those that they can check for nothing: the forest and the pointers must be good. */
#ifndef KERNELS_FOREST_H
#define KERNELS_FOREST_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define ML4EP_API
#else
#define ML4EP_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface: functions are added, never changed. */
#define ML4EP_FOREST_API_VERSION 1
ML4EP_API int ml4ep_forest_api_version(void);

typedef struct ml4ep_forest ml4ep_forest;

/* Opens a saved forest (a .forest file with its plan) and checks it. The file is mapped into memory: processes that open the same
 * one share it. It must not be overwritten while it is open; replacing it by another file is fine. NULL: see the error. */
ML4EP_API ml4ep_forest* ml4ep_forest_open(const char* path);

/* A forest from memory: a saved forest's bytes, or a plan's alone. The bytes are copied. NULL: see the error. */
ML4EP_API ml4ep_forest* ml4ep_forest_from_memory(const void* data, size_t size);

/* Releases a forest; NULL is fine. No other thread may still be using it. */
ML4EP_API void ml4ep_forest_close(ml4ep_forest* forest);

/* What went wrong last in the calling thread, as a sentence; "" if nothing did. Good until the thread's next failing call. */
ML4EP_API const char* ml4ep_forest_error(void);

/* The CPU target in use: "avx512", "avx2" or "portable". The environment variable KERNELS_FORCE_TARGET may name another one, before
 * a forest is opened. */
ML4EP_API const char* ml4ep_forest_target(const ml4ep_forest* forest);

ML4EP_API size_t ml4ep_forest_n_features(const ml4ep_forest* forest);
ML4EP_API size_t ml4ep_forest_n_trees(const ml4ep_forest* forest);
/* Margins (sums) of a row, and numbers that a prediction of a row consists of. */
ML4EP_API size_t ml4ep_forest_n_outputs(const ml4ep_forest* forest);
ML4EP_API size_t ml4ep_forest_n_predictions(const ml4ep_forest* forest);
/* 1 where margins and predictions are doubles, 0 where they are floats. */
ML4EP_API int ml4ep_forest_is_double(const ml4ep_forest* forest);

/* One row of n_features contiguous features. NaN is a missing value. Margins: out has n_outputs numbers, predictions: n_predictions.
 * Shallow forests keep four partial sums an output (tree i of the output goes to sum i modulo 4; the margin is
 * base + ((s0 + s1) + (s2 + s3))), which may differ from sums in the order of the trees in the last bits; the
 * functions for many rows, and for one row those with `_in_order`, add tree after tree. */
ML4EP_API void ml4ep_forest_predict_one_f32(const ml4ep_forest* forest, const float* row, void* out);
ML4EP_API void ml4ep_forest_predict_one_f64(const ml4ep_forest* forest, const double* row, void* out);
ML4EP_API void ml4ep_forest_margin_one_f32(const ml4ep_forest* forest, const float* row, void* out);
ML4EP_API void ml4ep_forest_margin_one_f64(const ml4ep_forest* forest, const double* row, void* out);
ML4EP_API void ml4ep_forest_predict_one_in_order_f32(const ml4ep_forest* forest, const float* row, void* out);
ML4EP_API void ml4ep_forest_predict_one_in_order_f64(const ml4ep_forest* forest, const double* row, void* out);
ML4EP_API void ml4ep_forest_margin_one_in_order_f32(const ml4ep_forest* forest, const float* row, void* out);
ML4EP_API void ml4ep_forest_margin_one_in_order_f64(const ml4ep_forest* forest, const double* row, void* out);

/* The prediction of a row whose prediction is one number. NaN where it consists of several. */
ML4EP_API double ml4ep_forest_score_f32(const ml4ep_forest* forest, const float* row);
ML4EP_API double ml4ep_forest_score_f64(const ml4ep_forest* forest, const double* row);

/* n_rows rows; row i has feature j at x[i * row_stride + j * column_stride], so (n_features, 1) are the strides of contiguous rows
 * and (1, n_rows) those of contiguous columns. out: (n_rows, n_predictions) or (n_rows, n_outputs), C order. n_threads threads
 * share the rows; 0 and 1 use the calling one alone. Results do not depend on the number of threads. */
ML4EP_API int ml4ep_forest_predict_f32(const ml4ep_forest* forest, const float* x, size_t n_rows, ptrdiff_t row_stride,
                                       ptrdiff_t column_stride, void* out, size_t n_threads);
ML4EP_API int ml4ep_forest_predict_f64(const ml4ep_forest* forest, const double* x, size_t n_rows, ptrdiff_t row_stride,
                                       ptrdiff_t column_stride, void* out, size_t n_threads);
ML4EP_API int ml4ep_forest_margin_f32(const ml4ep_forest* forest, const float* x, size_t n_rows, ptrdiff_t row_stride,
                                      ptrdiff_t column_stride, void* out, size_t n_threads);
ML4EP_API int ml4ep_forest_margin_f64(const ml4ep_forest* forest, const double* x, size_t n_rows, ptrdiff_t row_stride,
                                      ptrdiff_t column_stride, void* out, size_t n_threads);

/* The number of the leaf that each row reaches in each tree. out: (n_rows, n_trees), C order. */
ML4EP_API int ml4ep_forest_leaves_f32(const ml4ep_forest* forest, const float* x, size_t n_rows, ptrdiff_t row_stride,
                                      ptrdiff_t column_stride, int32_t* out, size_t n_threads);
ML4EP_API int ml4ep_forest_leaves_f64(const ml4ep_forest* forest, const double* x, size_t n_rows, ptrdiff_t row_stride,
                                      ptrdiff_t column_stride, int32_t* out, size_t n_threads);

#ifdef __cplusplus
}
#endif

#endif
