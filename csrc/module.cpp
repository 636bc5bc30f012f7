// The Python module elman.kernels._native: numbers and addresses in, nothing out.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "kernels.h"
#include "pages.h"
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
        if (page == HUGE_PAGE) madvise(block.p, whole, MADV_HUGEPAGE);  // advice: it may be refused
#endif
        block.size = floats;
    }
    return static_cast<float*>(block.p);
}

namespace {

#if defined(__x86_64__) && defined(__linux__)
// The processor has the tiles, and the system lets this process use their registers.
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

const Kernels* chosen = nullptr;

template <class T>
T* pointer(intptr_t address) { return reinterpret_cast<T*>(address); }

// Results of a scan are dense; a gradient that is a sum is small.
void give_huge_pages(const Scan& it, const Field& result) {
    if (result.row && result.step) use_huge_pages(result.p, it.B * it.T * it.D * (it.complex ? 8 : 4));
}

}  // namespace

NB_MODULE(_native, m) {
    nb::set_leak_warnings(false);  // at exit Python does not free what modules still refer to
    chosen = available().front();

    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const Kernels* set : available()) names.emplace_back(set->name);
        return names;
    }, "Those that this processor has, best first.");
    m.def("choose", [](const std::string& name) {
        for (const Kernels* set : available())
            if (name == set->name) {
                chosen = set;
                return;
            }
        throw nb::value_error("this processor has no such instruction set");
    }, "name"_a);
    m.def("chosen", [] { return chosen->name; });
    m.def("poison_scratch", [] {
        float* p = scratch(1 << 20);
        for (int64_t i = 0; i < 1 << 20; ++i) p[i] = NAN;
    }, "Fill the scratch memory of this thread with NaN: for tests.");
    m.def("threads", [] { return threads_name(); }, "The OpenMP runtime whose threads do the work.");

    nb::class_<Recurrence> recurrence(m, "Recurrence");
    recurrence.def(nb::init<>())
        .def_prop_ro("packed_floats", [](const Recurrence& it) { return chosen->packed_floats(it); })
        .def("pack", [](Recurrence& it, intptr_t address, bool backward) {
            nb::gil_scoped_release release;
            chosen->pack(it, backward, pointer<float>(address));
            it.packed = pointer<float>(address);
        }, "address"_a, "backward"_a, "Keep the weights in the form of one pass at this address.")
        .def("forward", [](const Recurrence& it) {
            nb::gil_scoped_release release;
            chosen->forward(it);
        })
        .def("backward", [](const Recurrence& it) {
            nb::gil_scoped_release release;
            chosen->backward(it);
        })
        .def_rw("cell", &Recurrence::cell)
        .def_rw("T", &Recurrence::T)
        .def_rw("B", &Recurrence::B)
        .def_rw("H", &Recurrence::H)
        .def_rw("R", &Recurrence::R)
        .def_rw("threads", &Recurrence::threads)
        .def_rw("reverse", &Recurrence::reverse)
        .def_rw("bf16", &Recurrence::bf16)
        .def_rw("multiplied", &Recurrence::multiplied)
        .def_rw("rate_h", &Recurrence::rate_h)
        .def_rw("rate_c", &Recurrence::rate_c);

    // Addresses are written only: `it.w_hh = tensor.data_ptr()`, 0 for none.
#define ADDRESS(name) \
    recurrence.def_prop_rw(#name, [](const Recurrence& it) { return reinterpret_cast<intptr_t>(it.name); }, \
                           [](Recurrence& it, intptr_t address) { \
                               it.name = pointer<std::remove_pointer_t<decltype(it.name)>>(address); })
    ADDRESS(packed); ADDRESS(start); ADDRESS(active); ADDRESS(order);
    ADDRESS(w_hh); ADDRESS(bias); ADDRESS(w_hr); ADDRESS(peephole);
    ADDRESS(gain); ADDRESS(gain_c); ADDRESS(bias_c); ADDRESS(mask);
    ADDRESS(h0); ADDRESS(c0); ADDRESS(h_end); ADDRESS(c_end); ADDRESS(d_h0); ADDRESS(d_c0);
    ADDRESS(d_bias); ADDRESS(d_gain); ADDRESS(d_peephole); ADDRESS(d_gain_c); ADDRESS(d_bias_c);
#undef ADDRESS

    // Layers are added once; then every call is one step.
    struct Stream { std::vector<StepLayer> layers; };
    nb::class_<Stream>(m, "Stream")
        .def(nb::init<>())
        .def("add", [](Stream& it, const Recurrence& layer, int64_t D, intptr_t packed_ih, intptr_t bias_ih,
                       intptr_t out, intptr_t projected) {
            it.layers.push_back({layer, D, pointer<float>(packed_ih), pointer<float>(bias_ih),
                                 pointer<float>(out), pointer<float>(projected)});
        }, "layer"_a, "D"_a, "packed_ih"_a, "bias_ih"_a, "out"_a, "projected"_a)
        .def("step", [](const Stream& it, intptr_t x, int threads) {
            chosen->step(it.layers.data(), static_cast<int>(it.layers.size()), pointer<float>(x), threads);
        });
    m.def("packed_size", [](int64_t k, int64_t columns) { return chosen->packed_size(k, columns); });
    m.def("pack_transposed", [](intptr_t w, int64_t k, int64_t columns, intptr_t to) {
        chosen->pack_transposed(pointer<float>(w), k, columns, pointer<float>(to));
    });
    m.def("cross_entropy_rows", [] { return chosen->cross_entropy_rows; },
          "With more rows than that torch's products are as fast.");
    m.def("cross_entropy", [](int64_t N, int64_t D, int64_t V, int64_t rows, intptr_t h, intptr_t w,
                              intptr_t bias, intptr_t targets, intptr_t loss, intptr_t right, intptr_t d_h,
                              intptr_t d_w, intptr_t d_bias, int64_t threads) {
        const CrossEntropy it{N, D, V, threads, rows, pointer<float>(h), pointer<float>(w),
                              pointer<float>(bias), pointer<int64_t>(targets), pointer<double>(loss),
                              pointer<bool>(right), pointer<float>(d_h), pointer<float>(d_w),
                              pointer<float>(d_bias)};
        nb::gil_scoped_release release;
        chosen->cross_entropy(it);
    }, "N"_a, "D"_a, "V"_a, "rows"_a, "h"_a, "w"_a, "bias"_a, "targets"_a, "loss"_a, "right"_a, "d_h"_a,
       "d_w"_a, "d_bias"_a, "threads"_a, "Projection and cross-entropy; see CrossEntropy in kernels.h.");
    m.def("softmax", [](int64_t rows, int64_t V, bool gradient, intptr_t x, intptr_t bias,
                        intptr_t targets, intptr_t loss, intptr_t right, intptr_t d_bias, int64_t threads) {
        const Softmax it{rows, V, threads, gradient, pointer<float>(x), pointer<float>(bias),
                         pointer<int64_t>(targets), pointer<double>(loss), pointer<bool>(right),
                         pointer<float>(d_bias)};
        nb::gil_scoped_release release;
        chosen->softmax(it);
    }, "rows"_a, "V"_a, "gradient"_a, "x"_a, "bias"_a, "targets"_a, "loss"_a, "right"_a, "d_bias"_a,
       "threads"_a, "Cross-entropy of rows of scores; see Softmax in kernels.h.");

    // Buffers with a vector for each step and row: address, strides in floats, packed or not.
#define STEPS(name) \
    recurrence.def("set_" #name, [](Recurrence& it, intptr_t address, int64_t step, int64_t row, bool packed) { \
        it.name = Steps{pointer<float>(address), step, row, packed}; }, "address"_a, "step"_a, "row"_a, "packed"_a)
    STEPS(a); STEPS(p); STEPS(c); STEPS(seen); STEPS(m); STEPS(d_r); STEPS(stats); STEPS(y);
    STEPS(keep_h); STEPS(keep_c);
#undef STEPS

    nb::class_<Scan> scan(m, "Scan");
    scan.def(nb::init<>())
        .def("forward", [](const Scan& it) {
            nb::gil_scoped_release release;
            give_huge_pages(it, it.h);
            chosen->scan(it);
        })
        .def("backward", [](const Scan& it) {
            nb::gil_scoped_release release;
            give_huge_pages(it, it.d_a);
            give_huge_pages(it, it.d_b);
            chosen->scan_backward(it);
        })
        .def("set_sizes", [](Scan& it, int64_t rows, int64_t steps, int64_t units, int64_t threads, bool complex, bool reverse) {
            it.B = rows, it.T = steps, it.D = units, it.threads = threads;
            it.complex = complex, it.reverse = reverse;
        }, "rows"_a, "steps"_a, "units"_a, "threads"_a, "complex"_a, "reverse"_a);
#define ADDRESS(name) \
    scan.def_prop_rw(#name, [](const Scan& it) { return reinterpret_cast<intptr_t>(it.name); }, \
                     [](Scan& it, intptr_t address) { \
                         it.name = pointer<std::remove_pointer_t<decltype(it.name)>>(address); })
    ADDRESS(lengths); ADDRESS(h0); ADDRESS(h_end); ADDRESS(d_end); ADDRESS(d_h0);
#undef ADDRESS
#define FIELD(name) \
    scan.def("set_" #name, [](Scan& it, intptr_t address, int64_t row, int64_t step, int64_t unit) { \
        it.name = Field{pointer<float>(address), row, step, unit}; }, "address"_a, "row"_a, "step"_a, "unit"_a)
    FIELD(a); FIELD(b); FIELD(h); FIELD(d_h); FIELD(d_a); FIELD(d_b);
#undef FIELD
}
