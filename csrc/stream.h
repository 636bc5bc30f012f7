// A stack of layers that runs one step at a time, and a watch that detects changes of its weights.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "layer_call.h"

namespace {

// A stack whose layers are added once; each call then runs one or several steps.
class Stream {
    struct Free { void operator()(float* p) const { std::free(p); } };
    std::vector<StepLayer> layers;
    std::vector<std::unique_ptr<float[], Free>> buffers;
    const Kernels* set = chosen;
    bool from_end = false;  // true for every second step

    // Waking threads takes longer than one thread takes for a step.  After a pause one thread
    // therefore runs the steps, until they have followed each other for a while.
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::milliseconds PAUSE{3}, A_WHILE{10};
    Clock::time_point began, ended;

    void step(const float* x, int threads) {
        const bool team = threads > 1;
        const auto now = team ? Clock::now() : ended;
        if (now - ended > PAUSE) began = now;
        set->step(layers.data(), static_cast<int>(layers.size()), x, from_end, now - began < A_WHILE ? 1 : threads);
        from_end = !from_end;
        if (team) ended = Clock::now();
    }

    float* buffer(int64_t floats) {
        const size_t bytes = (sizeof(float) * std::max<int64_t>(1, floats) + 63) / 64 * 64;
        buffers.emplace_back(static_cast<float*>(std::aligned_alloc(64, bytes)));
        if (!buffers.back()) throw std::bad_alloc();
        return buffers.back().get();
    }
    const Recurrence& last() const {
        if (layers.empty()) throw nb::value_error("a stream has no layers");
        return layers.back().it;
    }

public:
    Stream() = default;
    Stream(const Stream&) = delete;

    // Adds a layer and the state (h, c) that it replaces in place; the call, its weights and the
    // state must stay alive.
    void add(Layer layer, const Tensor& w_ih, const Tensor& h, const Tensor& c) {
        const int64_t D = w_ih.extent(1), B = layer.B, H = layer.H, R = layer.R, G = layer.G;
        if (!layer.w_hh || layer.ragged || layer.mask || layer.gain || layer.bf16 ||
            (!layers.empty() && (last().R != D || last().B != B)))
            throw nb::value_error("a stream cannot run this layer");
        const float* w = w_ih.dense<float>("weight_ih", {G, D});
        layer.T = 1;
        layer.h_end = h.dense<float>("h", {B, R});
        layer.c_end = layer.cell == ::LSTM ? c.dense<float>("c", {B, H}) : nullptr;
        layer.a = {buffer(B * G), B * G, G, false};
        layer.p = layer.cell == ::GRU ? Steps{buffer(B * G), B * G, G, false} : Steps{};
        // A step multiplies floats, even where a whole sequence with as many rows would multiply
        // parts.
        const int64_t rows = layer.cell == GRU_RESET_BEFORE ? 2 * H : G, matrix = set->packed_size(R, rows);
        float *packed = buffer(matrix + (layer.w_hr ? set->packed_size(H, R) : 0)), *packed_ih = buffer(set->packed_size(D, G));
        set->pack_transposed(layer.w_hh, R, rows, packed);
        if (layer.w_hr) set->pack_transposed(layer.w_hr, H, R, packed + matrix);
        layer.packed = packed;
        set->pack_transposed(w, D, G, packed_ih);
        layers.push_back({layer, D, packed_ih, layer.bias_ih, buffer(B * H), buffer(B * R)});
    }
    void step(const Tensor& x, int threads) {
        step(x.dense<float>("x", {last().B, layers.front().D}), threads);
    }
    // Runs the steps of x (T, B, D), and writes their outputs to y (T, B, R).
    void run(const Tensor& x, const Tensor& y, int threads) {
        const int64_t T = x.extent(0), B = last().B, D = layers.front().D, R = last().R;
        const float* from = x.dense<float>("x", {T, B, D});
        float* to = y.dense<float>("y", {T, B, R});
        nb::gil_scoped_release release;
        for (int64_t t = 0; t < T; ++t) {
            step(from + t * B * D, threads);
            std::copy_n(last().h_end, B * R, to + t * B * R);
        }
    }
};

// Detects that parameters of a module have changed.  A change through `.data` does not increment the
// version counter, so some or all of the numbers are compared too.
class Watch {
    static constexpr int SAMPLES = 8;
    struct Parameter {
        nb::object name, tensor;
        int64_t version;
        const float* p;
        int64_t n;
        uint64_t sum;
        float samples[SAMPLES];
    };
    nb::dict parameters;
    std::vector<Parameter> seen;  // the parameters at construction

    static int64_t version_of(nb::handle tensor) {
        static PyObject* const name = PyUnicode_InternFromString("_version");
        PyObject* number = PyObject_GetAttr(tensor.ptr(), name);
        if (!number) return PyErr_Clear(), -1;  // a tensor of the inference mode has no version
        const int64_t version = PyLong_AsLongLong(number);
        Py_DECREF(number);
        return version;
    }
    static float sample(const float* p, int64_t n, int i) { return p[(n - 1) * i / (SAMPLES - 1)]; }

    static uint64_t checksum(const float* p, int64_t n) {
        constexpr int LANES = 16;
        uint32_t lanes[LANES] = {}, bits[LANES] = {};
        int64_t i = 0;
        for (; i + LANES <= n; i += LANES) {
            std::memcpy(bits, p + i, sizeof bits);
            for (int lane = 0; lane < LANES; ++lane) lanes[lane] = lanes[lane] * 0x9e3779b1u + bits[lane];
        }
        std::memcpy(bits, p + i, sizeof(float) * (n - i));
        uint64_t sum = 0;
        for (int lane = 0; lane < LANES; ++lane) sum = (sum * 31 + lanes[lane]) * 31 + bits[lane];
        return sum;
    }

public:
    Watch(nb::dict parameters, const nb::list& names) : parameters(parameters) {
        for (nb::handle name : names) {
            Parameter it{nb::borrow(name), nb::borrow(parameters[name]), 0, nullptr, 0, 0, {}};
            Tensor tensor;
            if (!tensor.take(it.tensor.ptr())) throw nb::type_error("a parameter must be a tensor");
            it.version = version_of(it.tensor);
            it.n = tensor.count();
            it.p = tensor.at_least<float>("a parameter", it.n);
            it.sum = checksum(it.p, it.n);
            for (int i = 0; i < SAMPLES && it.n; ++i) it.samples[i] = sample(it.p, it.n, i);
            seen.push_back(std::move(it));
        }
    }
    // Returns whether a parameter has changed; with `all`, every number is compared.
    bool changed(bool all) const {
        for (const Parameter& it : seen) {
            if (PyDict_GetItem(parameters.ptr(), it.name.ptr()) != it.tensor.ptr()) return true;
            Tensor tensor;
            tensor.take(it.tensor.ptr());
            if (version_of(it.tensor) != it.version || !tensor.is_at(it.p, it.n)) return true;
            for (int i = 0; i < SAMPLES && it.n; ++i) {
                const float now = sample(it.p, it.n, i);
                if (std::memcmp(&now, &it.samples[i], sizeof(float))) return true;
            }
            if (all && checksum(it.p, it.n) != it.sum) return true;
        }
        return false;
    }
};

}  // namespace
