// The kernels of one instruction set: compiled several times, each with its own flags.

#include "cross_entropy.h"
#include "kernels.h"
#include "recurrence.h"
#include "scan.h"
#include "softmax.h"
#include "step.h"
#include "whole_product.h"

#if !defined(ELMAN_AMX)
constexpr void (*run_cross_entropy)(const CrossEntropy&) = nullptr;
#endif

// On Intel's processors with AMX and where there are no vectors torch's own products were the faster.
#if defined(ELMAN_AMX) || !(defined(__AVX512F__) || defined(__AVX2__))
constexpr bool PRODUCTS = false;
#else
constexpr bool PRODUCTS = true;
#endif

extern const Kernels ELMAN_SET;
const Kernels ELMAN_SET = {ELMAN_SET_NAME, packed_floats, pack_all, run_cell<false>, run_cell<true>,
                           packed_size, pack_transposed, run_step, run_softmax, run_cross_entropy,
                           PRODUCTS ? run_product : nullptr, PRODUCTS ? run_outer_product : nullptr,
                           run_scan<false>, run_scan<true>};
