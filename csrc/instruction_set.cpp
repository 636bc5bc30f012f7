// The kernels of one instruction set; this file is compiled once for each set, with its flags.

#include "cross_entropy.h"
#include "few_rows.h"
#include "gated_scan.h"
#include "kernels.h"
#include "matrix_scan_backward.h"
#include "program.h"
#include "recurrence.h"
#include "scan.h"
#include "slstm.h"
#include "softmax.h"
#include "step.h"
#include "transducer.h"

// Without vectors torch's products were faster.
#if defined(__AVX512F__) || defined(__AVX2__)
#include "whole_product.h"
#else
constexpr void (*run_product)(const Product&) = nullptr;
constexpr void (*run_outer_product)(const OuterProduct&) = nullptr;
#endif

// MOST_ROWS: the largest number of rows for which this is faster than products and a softmax.
// Measured on one thread, it takes 0.73 of their time for 32 rows, 0.84 for 64 and 0.97 for 128.
#if defined(ELMAN_AMX)
using CrossEntropyOfSet = CrossEntropyTask;
constexpr int64_t MOST_ROWS = INT64_MAX;
#else
using CrossEntropyOfSet = FewRowsTask;
constexpr int64_t MOST_ROWS = 64;
#endif

extern const Kernels ELMAN_SET;
const Kernels ELMAN_SET = {ELMAN_SET_NAME, packed_floats, pack_all, run_cell<false>, run_cell<true>,
                           packed_size, pack_transposed, run_step, run_softmax,
                           run_cross_entropy_by<CrossEntropyOfSet>, MOST_ROWS, run_product, TILED,
                           run_outer_product, run_layer_norm, run_layer_norm_backward,
                           run_scan<false>, run_scan<true>, run_transducer,
                           run_gated_scan<false>, run_gated_scan<true>, run_slstm<false>, run_slstm<true>,
                           run_matrix_scan<false>, run_matrix_scan<true>, run_program};
