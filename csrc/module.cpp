// The Python module elman.kernels._native: numbers and addresses in, nothing out.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "kernels.h"
#include "pages.h"
#include "ragged.h"
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
        .def_rw("multiplied", &Recurrence::multiplied)
        .def_prop_rw("packed", [](const Recurrence& it) { return reinterpret_cast<intptr_t>(it.packed); },
                     [](Recurrence& it, intptr_t address) { it.packed = pointer<float>(address); })
        // Addresses are numbers, 0 for none.  Few calls with many of them cost less than many calls.
        .def("set_layer", [](Recurrence& it, int64_t cell, int64_t B, int64_t H, int64_t R, int64_t threads,
                             bool reverse, bool bf16, float rate_h, float rate_c, intptr_t order, intptr_t mask,
                             intptr_t w_hh, intptr_t w_hr, intptr_t bias, intptr_t peephole, intptr_t gain,
                             intptr_t gain_c, intptr_t bias_c) {
            it.cell = cell, it.B = B, it.H = H, it.R = R, it.threads = threads;
            it.reverse = reverse, it.bf16 = bf16, it.rate_h = rate_h, it.rate_c = rate_c;
            it.order = pointer<int64_t>(order), it.mask = pointer<float>(mask);
            it.w_hh = pointer<float>(w_hh), it.w_hr = pointer<float>(w_hr);
            it.bias = pointer<float>(bias), it.peephole = pointer<float>(peephole);
            it.gain = pointer<float>(gain), it.gain_c = pointer<float>(gain_c), it.bias_c = pointer<float>(bias_c);
        })
        .def("set_part", [](Recurrence& it, int64_t T, int64_t G, intptr_t start, intptr_t active, int64_t first,
                            intptr_t a, intptr_t p, intptr_t c, intptr_t seen, intptr_t m, intptr_t stats,
                            intptr_t d_r) {
            it.T = T, it.start = pointer<int64_t>(start), it.active = pointer<int64_t>(active);
            const auto rows = [&](intptr_t address, int64_t n) {
                if (!address) return Steps{};
                return Steps{pointer<float>(address + static_cast<int64_t>(sizeof(float)) * n * first), it.B * n, n, start != 0};
            };
            it.a = rows(a, G), it.p = rows(p, G), it.c = rows(c, it.H), it.seen = rows(seen, it.R);
            it.m = rows(m, it.H), it.stats = rows(stats, 2), it.d_r = rows(d_r, it.R);
        }, "Steps of the next call, and buffers of rows (n, ...) that begin `first` rows further on.")
        .def("set_state", [](Recurrence& it, intptr_t h0, intptr_t c0, intptr_t h_end, intptr_t c_end) {
            it.h0 = pointer<float>(h0), it.c0 = pointer<float>(c0);
            it.h_end = pointer<float>(h_end), it.c_end = pointer<float>(c_end);
        })
        .def("set_gradients", [](Recurrence& it, intptr_t h0, intptr_t c0, intptr_t bias, intptr_t peephole,
                                 intptr_t gain, intptr_t gain_c, intptr_t bias_c) {
            it.d_h0 = pointer<float>(h0), it.d_c0 = pointer<float>(c0), it.d_bias = pointer<float>(bias);
            it.d_peephole = pointer<float>(peephole), it.d_gain = pointer<float>(gain);
            it.d_gain_c = pointer<float>(gain_c), it.d_bias_c = pointer<float>(bias_c);
        });

    // Layers are added once; then every call is one step, or several.
    struct Stream {
        std::vector<StepLayer> layers;
        bool from_end = false;  // every second step
    };
    nb::class_<Stream>(m, "Stream")
        .def(nb::init<>())
        .def("add", [](Stream& it, const Recurrence& layer, int64_t D, intptr_t packed_ih, intptr_t bias_ih,
                       intptr_t out, intptr_t projected) {
            it.layers.push_back({layer, D, pointer<float>(packed_ih), pointer<float>(bias_ih),
                                 pointer<float>(out), pointer<float>(projected)});
        }, "layer"_a, "D"_a, "packed_ih"_a, "bias_ih"_a, "out"_a, "projected"_a)
        .def("step", [](Stream& it, intptr_t x, int threads) {
            chosen->step(it.layers.data(), static_cast<int>(it.layers.size()), pointer<float>(x), it.from_end, threads);
            it.from_end = !it.from_end;
        })
        .def("run", [](Stream& it, intptr_t x, intptr_t y, int64_t steps, int threads) {
            const int64_t from = it.layers.front().it.B * it.layers.front().D;
            const Recurrence& last = it.layers.back().it;
            const int64_t to = last.B * last.R;
            nb::gil_scoped_release release;
            for (int64_t t = 0; t < steps; ++t, it.from_end = !it.from_end) {
                chosen->step(it.layers.data(), static_cast<int>(it.layers.size()), pointer<float>(x) + t * from,
                             it.from_end, threads);
                std::copy_n(last.h_end, to, pointer<float>(y) + t * to);
            }
        }, "Steps of x (T, B, D), and their outputs y (T, B, R).");
    m.def("sort_rows", [](intptr_t lengths, int64_t B, int64_t T, intptr_t to) {
        int64_t* numbers = pointer<int64_t>(to);
        sort_rows(pointer<int64_t>(lengths), B, T, numbers, numbers + T, numbers + 2 * T);
    });
    m.def("copy_rows", [](int64_t T, intptr_t numbers, intptr_t order, intptr_t padded, int64_t step, int64_t row,
                          intptr_t packed, int64_t bytes, bool pack, int threads) {
        const int64_t* start = pointer<int64_t>(numbers);
        nb::gil_scoped_release release;
        copy_rows({T, start, start + T, pointer<int64_t>(order), pointer<char>(padded), step, row,
                   pointer<char>(packed), bytes, pack}, threads);
    });
    m.def("packed_size", [](int64_t k, int64_t columns) { return chosen->packed_size(k, columns); });
    m.def("pack_transposed", [](intptr_t w, int64_t k, int64_t columns, intptr_t to) {
        chosen->pack_transposed(pointer<float>(w), k, columns, pointer<float>(to));
    });
    nb::class_<Rows>(m, "Rows").def("__init__", [](Rows* it, intptr_t address, int64_t per_step, int64_t step,
                                                   int64_t row, bool bf16, intptr_t initial, int64_t initial_step) {
        new (it) Rows{pointer<void>(address), per_step, step, row, bf16, pointer<float>(initial), initial_step};
    }, "address"_a, "per_step"_a, "step"_a, "row"_a, "bf16"_a = false, "initial"_a = 0, "initial_step"_a = -1);
    m.def("has_products", [] { return chosen->product != nullptr; },
          "Whether this instruction set has whole products that are faster than torch's.");
    m.def("product", [](int64_t N, int64_t K, int64_t columns, const Rows& a, intptr_t w, bool transposed,
                        intptr_t bias, intptr_t c, bool bf16, int64_t threads) {
        const Product it{N, K, columns, threads, bf16, a, pointer<float>(w), transposed, pointer<float>(bias),
                         pointer<float>(c)};
        if (!chosen->product) throw nb::value_error("this instruction set has no such kernel");
        nb::gil_scoped_release release;
        chosen->product(it);
    });
    m.def("outer_product", [](int64_t N, int64_t rows, intptr_t a, int64_t a_row, const std::vector<std::tuple<Rows, int64_t, intptr_t>>& to,
                              bool add, bool bf16, int64_t threads) {
        OuterProduct it{N, rows, threads, bf16, add, pointer<float>(a), a_row};
        if (!chosen->product || to.size() > 2) throw nb::value_error("this instruction set has no such kernel");
        for (const auto& [b, columns, c] : to) {
            it.b[it.count] = b, it.columns[it.count] = columns, it.c[it.count] = pointer<float>(c);
            ++it.count;
        }
        nb::gil_scoped_release release;
        chosen->outer_product(it);
    });
    m.def("layer_norm", [](int64_t N, int64_t G, int64_t first, intptr_t y, intptr_t x, intptr_t scales,
                           intptr_t gain, intptr_t bias, int64_t threads) {
        const LayerNorm it{N, G, first, threads, pointer<float>(gain), pointer<float>(bias), pointer<float>(y),
                           pointer<float>(x), pointer<float>(scales)};
        nb::gil_scoped_release release;
        chosen->layer_norm(it);
    });
    m.def("layer_norm_backward", [](int64_t N, int64_t G, int64_t first, intptr_t d_y, intptr_t x, intptr_t scales,
                                    intptr_t gain, intptr_t d_gain, intptr_t d_bias, int64_t threads) {
        const LayerNorm it{N, G, first, threads, pointer<float>(gain), nullptr, pointer<float>(d_y),
                           pointer<float>(x), pointer<float>(scales), pointer<float>(d_gain),
                           pointer<float>(d_bias)};
        nb::gil_scoped_release release;
        chosen->layer_norm_backward(it);
    });
    m.def("cross_entropy_rows", [] { return chosen->cross_entropy_rows; },
          "With more rows than that, products with a softmax between are as fast.");
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
        it.name = Steps{pointer<float>(address), step, row, packed}; })
    STEPS(c); STEPS(y); STEPS(keep_h); STEPS(keep_c); STEPS(decay); STEPS(d_decay);
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
