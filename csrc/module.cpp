// The Python module elman.kernels._native, which takes numbers and tensors (tensor.h checks them).

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "calls.h"
#include "kernels.h"
#include "layer_call.h"
#include "program_call.h"
#include "stream.h"
#include "tensor.h"
#include "threads.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace nb = nanobind;
using namespace nb::literals;

float* scratch(int64_t floats) {
    constexpr size_t HUGE_PAGE = 2 << 20;
    struct Block {
        void* p = nullptr;
        int64_t size = 0;
        ~Block() { std::free(p); }
    };
    thread_local Block block;
    if (block.size < floats) {
        std::free(block.p);
        block.size = 0;
        const size_t bytes = sizeof(float) * floats, page = bytes < HUGE_PAGE ? 64 : HUGE_PAGE;
        const size_t whole = (bytes + page - 1) / page * page;
        block.p = std::aligned_alloc(page, whole);
        if (!block.p) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        if (page == HUGE_PAGE) madvise(block.p, whole, MADV_HUGEPAGE);  // the system may ignore this
#endif
        block.size = floats;
    }
    return static_cast<float*>(block.p);
}

const Kernels* chosen = nullptr;

namespace {

#if defined(__x86_64__) && defined(__linux__)
// Returns whether the processor has tiles and the system lets this process use their registers.
bool has_tiles() {
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1)) return false;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return false;  // avx512_bf16
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
bool has_tiles() { return false; }
#endif

std::vector<const Kernels*> find_sets() {
    std::vector<const Kernels*> sets;
#if defined(__x86_64__) || defined(_M_X64)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
        if (has_tiles()) sets.push_back(&amx_kernels);
        if (__builtin_cpu_supports("avx512bf16")) sets.push_back(&avx512_bf16_kernels);
        sets.push_back(&avx512_kernels);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&avx2_kernels);
#endif
    sets.push_back(&portable_kernels);
    return sets;
}

const std::vector<const Kernels*>& available() {
    static const std::vector<const Kernels*> sets = find_sets();
    return sets;
}

}  // namespace

template <> struct nb::detail::has_arg_defaults<Ragged> : std::true_type {};  // None means that rows are not ragged

NB_MODULE(_native, m) {
    nb::set_leak_warnings(false);  // at exit Python does not free objects to which modules still refer
    chosen = available().front();
    threads_name();  // finds the runtime now, so that a forked child process knows that its team is gone

    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const Kernels* set : available()) names.emplace_back(set->name);
        return names;
    }, "Return the names of the instruction sets of this processor, best first.");
    m.def("choose", [](const std::string& name) {
        for (const Kernels* set : available())
            if (name == set->name) {
                chosen = set;
                return;
            }
        throw nb::value_error(("this processor does not have the instruction set " + name).c_str());
    }, "name"_a);
    m.def("chosen", [] { return chosen->name; });
    m.def("poison_scratch", [] {
        float* p = scratch(1 << 20);
        for (int64_t i = 0; i < 1 << 20; ++i) p[i] = NAN;
    }, "Fill the scratch memory of this thread with NaN; for tests.");
    m.def("threads", [] { return threads_name(); }, "Return the name of the OpenMP runtime whose threads run the kernels.");

    nb::class_<Ragged>(m, "Ragged")
        .def_static("sorted", &sort_rows)
        .def_static("packed", &read_batch_sizes)
        .def_ro("start", &Ragged::start)
        .def_ro("batch_sizes", &Ragged::active, "The number of rows that run at each step.")
        .def_ro("order", &Ragged::order)
        .def("rows", [](const Ragged& it, int64_t first, int64_t last) {
            need_range(first, 0, it.T - 1, "first"), need_range(last, 1, it.T, "last");
            return std::make_tuple(it.start[first], it.start[last - 1] + it.active[last - 1]);
        }, "Return the first row of steps first..last - 1 in packed data, and the row after their last.")
        .def("copy", static_cast<void (*)(const Ragged&, const Tensor&, const Tensor&, bool, int)>(&copy_rows));

    // These functions take many tensors, because few calls with many arguments cost less than many
    // calls.
    nb::class_<Layer> layer(m, "Recurrence");
    layer.def(nb::init<>())
        .def("set_layer", &set_layer)
        .def("set_inputs", &set_inputs)
        .def("set_part", &set_part)
        .def("set_state", &set_state)
        .def("set_gradients", &set_gradients)
        .def_prop_ro("packed_floats", [](const Layer& it) { return chosen->packed_floats(it); })
        .def("pack", [](Layer& it, const Tensor& to, bool backward) {
            need(it.w_hh, "w_hh");
            float* p = to.at_least<float>("packed", chosen->packed_floats(it));
            nb::gil_scoped_release release;
            chosen->pack(it, backward, p);
            it.packed = p;
        }, "Pack the weights for one pass into this memory, and keep its address.")
        .def("unpack", [](Layer& it) { it.packed = nullptr; })
        .def("forward", [](const Layer& it) {
            it.check(false);
            nb::gil_scoped_release release;
            chosen->forward(it);
            round_state(it);
        })
        .def("backward", [](const Layer& it) {
            it.check(true);
            nb::gil_scoped_release release;
            chosen->backward(it);
        })
        .def_rw("multiplied", &Layer::multiplied);
    // Tensors with a vector for each step and row, which begin with the first step of the part.
#define STEPS(name, width) \
    layer.def("set_" #name, [](Layer& it, const Tensor& tensor) { it.name = it.steps(tensor, #name, it.width); })
    STEPS(c, H); STEPS(keep_h, R); STEPS(keep_c, H); STEPS(decay, R); STEPS(d_decay, R);
#undef STEPS
    layer.def("set_y", [](Layer& it, const Tensor& tensor) { it.y = it.steps(tensor, "y", it.R, chosen->has_tiles); });

    nb::class_<Stream>(m, "Stream")
        .def(nb::init<>())
        .def("add", &Stream::add)
        .def("step", nb::overload_cast<const Tensor&, int>(&Stream::step))
        .def("run", &Stream::run);
    nb::class_<Program>(m, "Program")
        .def(nb::init<>())
        .def("add", &Program::add, "name"_a, "out"_a, "a"_a, "b"_a = nb::none(), "c"_a = nb::none(), "d"_a = nb::none())
        .def("add_scan", &Program::add_scan)
        .def("run", &Program::run);
    nb::class_<Watch>(m, "Watch").def(nb::init<nb::dict, const nb::list&>()).def("changed", &Watch::changed);

    nb::class_<Matrix>(m, "Rows").def(nb::init<const Tensor&, const Tensor&, bool>());
    m.def("has_products", [] { return chosen->product != nullptr; },
          "Return whether this instruction set has products over all steps that are faster than torch's.");
    m.def("has_tiles", [] { return chosen->has_tiles; },
          "Return whether products run on tiles; a recurrence can then compute the product of its inputs, too.");
    m.def("product", &multiply);
    m.def("outer_product", &add_outer_product);
    m.def("gradients", &gradients);
    m.def("block_product", &block_product);
    m.def("block_gradients", &block_gradients);
    m.def("layer_norm", [](const Tensor& y, const Tensor& x, const Tensor& scales, int64_t first, const Tensor& gain,
                           const Tensor& bias, int64_t threads) {
        LayerNorm it = layer_norm(y, x, scales, first, gain, threads);
        it.bias = bias.maybe<float>("bias_ih", {it.G});
        nb::gil_scoped_release release;
        chosen->layer_norm(it);
    });
    m.def("layer_norm_backward", [](const Tensor& d_y, const Tensor& x, const Tensor& scales, int64_t first,
                                    const Tensor& gain, const Tensor& d_gain, const Tensor& d_bias, int64_t threads) {
        LayerNorm it = layer_norm(d_y, x, scales, first, gain, threads);
        need(it.x, "x"), need(it.scales, "scales");
        it.d_gain = d_gain.dense<float>("d_gain", {it.G}), it.d_bias = d_bias.maybe<float>("d_bias", {it.G});
        nb::gil_scoped_release release;
        chosen->layer_norm_backward(it);
    });
    m.def("cross_entropy_rows", [] { return chosen->cross_entropy_rows; },
          "Return the largest number of rows for which `cross_entropy` is faster than products and a softmax.");
    m.def("cross_entropy", &cross_entropy, "Compute a projection and cross-entropy; see CrossEntropy in kernels.h.");
    m.def("softmax", &softmax, "Compute the cross-entropy of rows of scores; see Softmax in kernels.h.");
    m.def("transducer", &transducer, "Compute the loss of a transducer; see Transducer in kernels.h.");

    nb::class_<ScanCall> scan(m, "Scan");
    scan.def("__init__", [](ScanCall* it, int64_t B, int64_t T, int64_t D, int64_t threads, bool complex, bool reverse) {
        need_range(B, 1, ANY, "B"), need_range(T, 1, ANY, "T"), need_range(D, 1, ANY, "D"), need_range(threads, 1, ANY, "threads");
        new (it) ScanCall;
        it->B = B, it->T = T, it->D = D, it->threads = threads, it->complex = complex, it->reverse = reverse;
    })
        .def("forward", [](const ScanCall& it) {
            it.check(false);
            nb::gil_scoped_release release;
            it.give_huge_pages(it.h);
            chosen->scan(it);
        })
        .def("backward", [](const ScanCall& it) {
            it.check(true);
            nb::gil_scoped_release release;
            it.give_huge_pages(it.d_a);
            it.give_huge_pages(it.d_b);
            chosen->scan_backward(it);
        })
        .def("set_d_a", [](ScanCall& it, const Tensor& tensor) { it.d_a = it.gradient_of_a(tensor); })
        .def("set_lengths", [](ScanCall& it, const Tensor& tensor) {
            it.lengths = tensor.given() ? integers(tensor, "lengths", it.B, it.T, "T", "") : nullptr;
        });
#define FIELD(name) scan.def("set_" #name, [](ScanCall& it, const Tensor& t) { it.name = it.field(t, #name); })
    FIELD(a); FIELD(b); FIELD(h); FIELD(d_h); FIELD(d_b);
#undef FIELD
#define STATE(name) scan.def("set_" #name, [](ScanCall& it, const Tensor& t) { it.name = it.state(t, #name); })
    STATE(h0); STATE(h_end); STATE(d_end); STATE(d_h0);
#undef STATE

    nb::class_<GatedScanCall> gated(m, "GatedScan");
    gated.def("__init__", [](GatedScanCall* it, int64_t cell, int64_t B, int64_t T, int64_t D, int64_t threads, bool reverse, float kept) {
        need_range(cell, MIN_GRU, RG_LRU, "cell"), need_range(threads, 1, ANY, "threads");
        need_range(B, 1, ANY, "B"), need_range(T, 1, ANY, "T"), need_range(D, 1, ANY, "D");
        new (it) GatedScanCall;
        it->cell = cell, it->B = B, it->T = T, it->D = D, it->threads = threads, it->reverse = reverse, it->kept = kept;
    })
        .def("forward", [](const GatedScanCall& it) {
            it.check(false);
            nb::gil_scoped_release release;
            chosen->gated_scan(it);
        })
        .def("backward", [](const GatedScanCall& it) {
            it.check(true);
            nb::gil_scoped_release release;
            chosen->gated_scan_backward(it);
        })
        .def("set_lengths", [](GatedScanCall& it, const Tensor& tensor) {
            it.lengths = tensor.given() ? integers(tensor, "lengths", it.B, it.T, "T", "") : nullptr;
        });
#define SET(name, kind, width) \
    gated.def("set_" #name, [](GatedScanCall& it, const Tensor& t) { it.name = it.kind(t, #name, width); })
    SET(gates, field, it.gate_count()); SET(d_gates, field, it.gate_count());
    SET(input, field, 1); SET(d_input, field, 1); SET(keep, field, 1); SET(h, field, 1); SET(d_h, field, 1);
    SET(bias, vector, it.gate_count()); SET(rate, vector, 1);
    SET(h0, state, 1); SET(h_end, state, 1); SET(d_end, state, 1); SET(d_h0, state, 1);
    SET(d_sums, state, it.gate_count() + (it.cell == RG_LRU));
#undef SET

    nb::class_<SlstmCall> slstm(m, "Slstm");
    slstm.def("__init__", [](SlstmCall* it, int64_t B, int64_t T, int64_t N, int64_t S, int64_t threads, bool reverse, float rate) {
        need_range(B, 1, ANY, "B"), need_range(T, 1, ANY, "T"), need_range(N, 1, ANY, "N"), need_range(S, 1, ANY, "S"), need_range(threads, 1, ANY, "threads");
        new (it) SlstmCall;
        it->B = B, it->T = T, it->N = N, it->S = S, it->threads = threads, it->reverse = reverse, it->rate = rate;
    })
        .def("forward", [](const SlstmCall& it) {
            it.check(false);
            nb::gil_scoped_release release;
            chosen->slstm(it);
        })
        .def("backward", [](const SlstmCall& it) {
            it.check(true);
            nb::gil_scoped_release release;
            chosen->slstm_backward(it);
        })
        .def("set_lengths", &SlstmCall::set_lengths)
        .def("set_r", [](SlstmCall& it, const Tensor& t) { it.r = t.dense<float>("r", {it.N, 4 * it.S, it.S}); })
        .def("set_mask", [](SlstmCall& it, const Tensor& t) { it.mask = t.dense<float>("mask", {it.B, it.N * it.S}); });
#define FIELD(name, width) slstm.def("set_" #name, [](SlstmCall& it, const Tensor& t) { it.name = it.field(t, #name, width); })
    FIELD(gates, 4); FIELD(cells, 3); FIELD(keep, 1); FIELD(y, 1); FIELD(d_y, 1); FIELD(seen, 1);
#undef FIELD
#define STATE(name) \
    slstm.def("set_" #name, [](SlstmCall& it, const Tensor& h, const Tensor& c, const Tensor& n, const Tensor& m) { \
        const Tensor given[4] = {h, c, n, m}; \
        it.leaves(given, #name, it.name); \
    })
    STATE(s0); STATE(end); STATE(d_end); STATE(d_s0);
#undef STATE

    nb::class_<MatrixScanCall> matrix(m, "MatrixScan");
    matrix.def("__init__", [](MatrixScanCall* it, int64_t B, int64_t T, int64_t N, int64_t K, int64_t V, int64_t threads,
                              bool delta, bool decay_of_key, bool reverse) {
        need_range(B, 1, ANY, "B"), need_range(T, 1, ANY, "T"), need_range(N, 1, ANY, "N");
        need_range(K, 1, ANY, "K"), need_range(V, 1, ANY, "V"), need_range(threads, 1, ANY, "threads");
        new (it) MatrixScanCall;
        it->B = B, it->T = T, it->N = N, it->K = K, it->V = V, it->threads = threads;
        it->delta = delta, it->decay_of_key = decay_of_key, it->reverse = reverse;
    })
        .def("forward", [](const MatrixScanCall& it) {
            it.check(false);
            nb::gil_scoped_release release;
            chosen->matrix_scan(it);
        })
        .def("backward", [](const MatrixScanCall& it) {
            it.check(true);
            nb::gil_scoped_release release;
            chosen->matrix_scan_backward(it);
        })
        .def("set_lengths", [](MatrixScanCall& it, const Tensor& tensor) {
            it.lengths = tensor.given() ? integers(tensor, "lengths", it.B, it.T, "T", "") : nullptr;
        });
#define FIELD(name, width) \
    matrix.def("set_" #name, [](MatrixScanCall& it, const Tensor& t) { it.name = it.field(t, #name, width); })
    FIELD(q, it.K); FIELD(k, it.K); FIELD(v, it.V); FIELD(beta, 1); FIELD(a, it.decay_of_key ? it.K : 1);
    FIELD(y, it.V); FIELD(w, it.V); FIELD(d_y, it.V);
    FIELD(d_q, it.K); FIELD(d_k, it.K); FIELD(d_v, it.V); FIELD(d_beta, 1); FIELD(d_a, it.decay_of_key ? it.K : 1);
#undef FIELD
#define STATE(name) matrix.def("set_" #name, [](MatrixScanCall& it, const Tensor& t) { it.name = it.state(t, #name); })
    STATE(s0); STATE(s_end); STATE(d_end); STATE(d_s0);
#undef STATE
}
