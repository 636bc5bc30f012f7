// The border between Python and the kernels: a tensor of torch as an argument of a native function.
//
// Memory is reached through `dense`, `rows`, `steps` and `field` only, and each of them names the
// dtype and the shape that the kernel will read or write.  A tensor that is different, or is not on
// the CPU, becomes one TensorError.  An entry of the module takes no address in another way.
#pragma once

#include <nanobind/nanobind.h>

#include <algorithm>
#include <complex>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "kernels.h"

namespace nb = nanobind;

// Where the numbers of a tensor are: the struct of DLPack 1 (https://dmlc.github.io/dlpack).
struct DLView {
    void* data;
    int32_t device_type, device_id, ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
};

// Types of numbers: code and bits of DLPack.
constexpr int type_of(int code, int bits) { return code << 8 | bits; }
constexpr int BFLOAT16_TYPE = type_of(4, 16);
template <class T> struct Type;
template <> struct Type<float> { static constexpr int value = type_of(2, 32); static constexpr const char* name = "float32"; };
template <> struct Type<double> { static constexpr int value = type_of(2, 64); static constexpr const char* name = "float64"; };
template <> struct Type<int64_t> { static constexpr int value = type_of(0, 64); static constexpr const char* name = "int64"; };
template <> struct Type<uint16_t> { static constexpr int value = BFLOAT16_TYPE; static constexpr const char* name = "bfloat16"; };
template <> struct Type<bool> { static constexpr int value = type_of(6, 8); static constexpr const char* name = "bool"; };
template <> struct Type<std::complex<float>> {
    static constexpr int value = type_of(5, 64);
    static constexpr const char* name = "complex64";
};

class Tensor {
    static constexpr int MOST = 4;  // dimensions
    static constexpr int32_t CPU = 1;

    PyObject* object = nullptr;
    void* data = nullptr;
    int64_t shape[MOST], strides[MOST];
    int ndim = 0;
    int type = -1;  // code and bits of DLPack; -1: there are no numbers in the CPU's memory

    using Read = int (*)(void*, DLView*);
    static PyObject* torch_tensor();
    static Read reader();
    static std::string wanted_shape(std::initializer_list<int64_t> shape);
    void read(PyObject* from, Read read);
    void read_attributes(PyObject* from);
    // The address of a number: a float* also for bfloat16, of which a flag tells the kernels.
    float* from(int64_t number) const { return reinterpret_cast<float*>(static_cast<char*>(data) + number * (is_bf16() ? 2 : 4)); }
    bool is_float(bool maybe_bf16) const { return type == Type<float>::value || (maybe_bf16 && is_bf16()); }
    [[noreturn]] void refuse(const char* name, const char* dtype, const std::string& shape) const;

    // Strides of dimensions of size 1 have no meaning.
    bool is_dense() const {
        int64_t wanted = 1;
        for (int d = 0; d < ndim; ++d)
            if (shape[d] == 0) return true;
        for (int d = ndim - 1; d >= 0; --d) {
            if (shape[d] != 1 && strides[d] != wanted) return false;
            wanted *= shape[d];
        }
        return true;
    }

 public:
    // Whether `from` is a tensor, or None.
    bool take(PyObject* from);
    bool given() const { return object != nullptr; }
    bool is_bf16() const { return type == BFLOAT16_TYPE; }
    int dimensions() const { return ndim; }
    nb::object python() const { return nb::borrow(object); }

    // The size of a dimension, from the end if negative; 0 if there is none.
    int64_t extent(int d) const {
        d += d < 0 ? ndim : 0;
        return d < 0 || d >= ndim ? 0 : shape[d];
    }

    int64_t count() const {
        int64_t numbers = 1;
        for (int d = 0; d < ndim; ++d) numbers *= shape[d];
        return numbers;
    }
    // Whether the tensor still has exactly these float32 numbers.
    bool is_at(const float* p, int64_t numbers) const {
        return type == Type<float>::value && data == p && count() == numbers && is_dense();
    }

    // Dense memory of exactly this shape, possibly with leading dimensions of one.
    template <class T>
    T* dense(const char* name, std::initializer_list<int64_t> wanted) const {
        const int more = ndim - static_cast<int>(wanted.size());
        bool fits = type == Type<T>::value && more >= 0 && is_dense();
        for (int d = 0; fits && d < more; ++d) fits = shape[d] == 1;
        for (int d = 0; fits && d < static_cast<int>(wanted.size()); ++d) fits = shape[more + d] == wanted.begin()[d];
        if (!fits) refuse(name, Type<T>::name, wanted_shape(wanted));
        return static_cast<T*>(data);
    }
    // Dense memory of this shape, of floats or, with `bf16`, of bfloat16 numbers behind the same address.
    float* numbers(const char* name, std::initializer_list<int64_t> wanted, bool bf16) const {
        return bf16 ? reinterpret_cast<float*>(dense<uint16_t>(name, wanted)) : dense<float>(name, wanted);
    }
    // Float32 numbers of this shape, or bfloat16 numbers, converted into `to`; null for None.
    float* floats(const char* name, std::initializer_list<int64_t> wanted, std::vector<float>& to) const;
    // Dense memory of this shape, or null for None.
    template <class T>
    T* maybe(const char* name, std::initializer_list<int64_t> wanted) const {
        return given() ? dense<T>(name, wanted) : nullptr;
    }
    // A check without the memory: float32 or bfloat16, of this shape.
    void must_be(const char* name, std::initializer_list<int64_t> wanted) const {
        bool fits = (type == Type<float>::value || type == BFLOAT16_TYPE) && ndim == static_cast<int>(wanted.size());
        for (int d = 0; fits && d < ndim; ++d) fits = shape[d] == wanted.begin()[d];
        if (!fits) refuse(name, "float32 or bfloat16", wanted_shape(wanted));
    }
    // Memory of at least `count` numbers, dense.
    template <class T>
    T* at_least(const char* name, int64_t count) const {
        if (type != Type<T>::value || !is_dense() || this->count() < count)
            refuse(name, Type<T>::name, "of at least " + std::to_string(count) + " numbers");
        return static_cast<T*>(data);
    }

    struct Matrix { void* p; int64_t rows, columns, row; bool bf16; };
    // A matrix with numbers of a row side by side, float32 or, if that is allowed, bfloat16.
    Matrix matrix(const char* name, bool maybe_bf16) const;

    struct Span { int64_t begin, end; };
    // Steps of a matrix (n, columns), whose rows can have gaps between them, from row `first` on, of which the
    // kernel uses the rows of a span; none for None.  Packed steps count from a first row that can be negative.
    // float32 numbers or, if that is allowed, bfloat16.
    Steps rows(const char* name, int64_t columns, int64_t first, Span used, int64_t rows_a_step, bool packed, bool maybe_bf16 = false) const;
    // Steps from this one on of (T, B, columns), or packed (N, columns), numbers of a row side by side.
    Steps steps(const char* name, int64_t first, int64_t count, int64_t B, int64_t columns, int64_t packed_rows, bool maybe_bf16 = false) const;
    // (B, T, D) of any strides; a size of 1 stands for all.
    Field field(const char* name, int64_t B, int64_t T, int64_t D, bool complex) const;

    struct Batch { void* p; int64_t step, row, bytes; int type; };  // strides in bytes
    // (T, B, D) with numbers of a row side by side, of float32 or bfloat16.
    Batch batch(const char* name, int64_t T, int64_t B, int64_t D) const;
    // (N, D), dense, with the type of the batch.
    void* packed(const char* name, int64_t N, int64_t D, int type) const;
};

// The instruction set that runs.
extern const Kernels* chosen;

// Raise a class of elman.errors.
[[noreturn]] void raise(const char* error, const std::string& message);

// A required argument of a call.
void need(const void* p, const char* name);
void need_range(int64_t n, int64_t low, int64_t high, const char* name);
constexpr int64_t ANY = int64_t{1} << 40;

// Integers (n) in 0..high, which a message calls `described`.
const int64_t* integers(const Tensor& tensor, const char* name, int64_t n, int64_t high, const char* described,
                        const char* remedy);

template <> struct nb::detail::has_arg_defaults<Tensor> : std::true_type {};  // None is no tensor

template <> struct nb::detail::type_caster<Tensor> {
    NB_TYPE_CASTER(Tensor, const_name("torch.Tensor | None"))
    bool from_python(handle from, uint32_t, cleanup_list*) noexcept { return value.take(from.ptr()); }
};
