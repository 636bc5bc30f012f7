// The boundary between Python and the kernels: a tensor of torch as an argument of a native
// function.
//
// Functions of the module get addresses only through `dense`, `rows`, `steps` and `field` and their
// variants.  Each of these names the dtype and the shape that the kernel will read or write, and
// raises a TensorError for any other tensor, or one that is not on the CPU.
#pragma once

#include <nanobind/nanobind.h>

#include <algorithm>
#include <array>
#include <complex>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "kernels.h"

namespace nb = nanobind;

// The place of a tensor's numbers: the struct of DLPack 1 (https://dmlc.github.io/dlpack).
struct DLView {
    void* data;
    int32_t device_type, device_id, ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
};

// A type of numbers, from the code and bits of DLPack.
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

// A tensor of torch, or None.
class Tensor {
    static constexpr int MOST = 4;  // dimensions
    static constexpr int32_t CPU = 1;

    PyObject* object = nullptr;
    void* data = nullptr;
    int64_t shape[MOST], strides[MOST];
    int ndim = 0;
    int type = -1;  // code and bits of DLPack; -1 if there are no numbers in the CPU's memory

    using Read = int (*)(void*, DLView*);
    static PyObject* torch_tensor();
    static Read reader();
    static std::string wanted_shape(std::initializer_list<int64_t> shape);
    void read(PyObject* from, Read read);
    void read_attributes(PyObject* from);
    // Returns the address of a number, as a float* even for bfloat16; kernels get a separate flag.
    float* from(int64_t number) const { return reinterpret_cast<float*>(static_cast<char*>(data) + number * (is_bf16() ? 2 : 4)); }
    bool is_float(bool maybe_bf16) const { return type == Type<float>::value || (maybe_bf16 && is_bf16()); }
    [[noreturn]] void refuse(const char* name, const char* dtype, const std::string& shape) const;

    // Ignores the strides of dimensions of size 1, which have no meaning.
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
    // Takes a Python object, and returns whether it is a tensor or None.
    bool take(PyObject* from);
    bool given() const { return object != nullptr; }
    bool is_bf16() const { return type == BFLOAT16_TYPE; }
    int dimensions() const { return ndim; }
    nb::object python() const { return nb::borrow(object); }

    // Returns the size of dimension d, which counts from the end if it is negative; 0 if d does not
    // exist.
    int64_t extent(int d) const {
        d += d < 0 ? ndim : 0;
        return d < 0 || d >= ndim ? 0 : shape[d];
    }

    int64_t count() const {
        int64_t numbers = 1;
        for (int d = 0; d < ndim; ++d) numbers *= shape[d];
        return numbers;
    }
    // Returns whether the tensor still has its float32 numbers at this address.
    bool is_at(const float* p, int64_t numbers) const {
        return type == Type<float>::value && data == p && count() == numbers && is_dense();
    }

    // Returns dense memory of exactly this shape, possibly with leading dimensions of one.
    template <class T>
    T* dense(const char* name, std::initializer_list<int64_t> wanted) const {
        const int more = ndim - static_cast<int>(wanted.size());
        bool fits = type == Type<T>::value && more >= 0 && is_dense();
        for (int d = 0; fits && d < more; ++d) fits = shape[d] == 1;
        for (int d = 0; fits && d < static_cast<int>(wanted.size()); ++d) fits = shape[more + d] == wanted.begin()[d];
        if (!fits) refuse(name, Type<T>::name, wanted_shape(wanted));
        return static_cast<T*>(data);
    }
    // Returns dense memory of this shape, of floats or, with `bf16`, of bfloat16 numbers as a
    // float*.
    float* numbers(const char* name, std::initializer_list<int64_t> wanted, bool bf16) const {
        return bf16 ? reinterpret_cast<float*>(dense<uint16_t>(name, wanted)) : dense<float>(name, wanted);
    }
    // Returns float32 numbers of this shape; bfloat16 numbers are converted into `to`.  Returns
    // null for None.
    float* floats(const char* name, std::initializer_list<int64_t> wanted, std::vector<float>& to) const;
    // Returns dense memory of this shape, or null for None.
    template <class T>
    T* maybe(const char* name, std::initializer_list<int64_t> wanted) const {
        return given() ? dense<T>(name, wanted) : nullptr;
    }
    // Checks that the tensor is float32 or bfloat16 and has this shape, without returning memory.
    void must_be(const char* name, std::initializer_list<int64_t> wanted) const {
        bool fits = (type == Type<float>::value || type == BFLOAT16_TYPE) && ndim == static_cast<int>(wanted.size());
        for (int d = 0; fits && d < ndim; ++d) fits = shape[d] == wanted.begin()[d];
        if (!fits) refuse(name, "float32 or bfloat16", wanted_shape(wanted));
    }
    // Returns dense memory of at least `count` numbers.
    template <class T>
    T* at_least(const char* name, int64_t count) const {
        if (type != Type<T>::value || !is_dense() || this->count() < count)
            refuse(name, Type<T>::name, "of at least " + std::to_string(count) + " numbers");
        return static_cast<T*>(data);
    }

    struct Matrix { void* p; int64_t rows, columns, row; bool bf16; };
    // Returns a matrix in which the numbers of a row lie side by side, float32 or, if allowed,
    // bfloat16.
    Matrix matrix(const char* name, bool maybe_bf16) const;

    struct Span { int64_t begin, end; };
    // Returns steps of a matrix (n, columns) from row `first` on; nothing for None.  Rows can have
    // gaps between them, and the kernel uses the rows in `used`.  Packed steps count from a first
    // row that can be negative.  Numbers are float32 or, if allowed, bfloat16.
    Steps rows(const char* name, int64_t columns, int64_t first, Span used, int64_t rows_a_step, bool packed, bool maybe_bf16 = false) const;
    // Returns steps of (T, B, columns) from step `first` on, or of packed (N, columns).  The
    // numbers of a row lie side by side.
    Steps steps(const char* name, int64_t first, int64_t count, int64_t B, int64_t columns, int64_t packed_rows, bool maybe_bf16 = false) const;
    // Returns a field (B, T, D) with any strides; a dimension of size 1 is broadcast.
    Field field(const char* name, int64_t B, int64_t T, int64_t D, bool complex) const;

    struct Strided { float* p; std::array<int64_t, 4> size, stride; };
    // Returns float32 numbers of four dimensions with any strides.
    Strided strided(const char* name) const {
        if (type != Type<float>::value || ndim != 4) refuse(name, "float32", "of four dimensions");
        return {static_cast<float*>(data), {shape[0], shape[1], shape[2], shape[3]}, {strides[0], strides[1], strides[2], strides[3]}};
    }

    struct Batch { void* p; int64_t step, row, bytes; int type; };  // strides in bytes
    // Returns a batch (T, B, D) in which the numbers of a row lie side by side, of float32 or
    // bfloat16.
    Batch batch(const char* name, int64_t T, int64_t B, int64_t D) const;
    // Returns dense memory (N, D) of the batch's type.
    void* packed(const char* name, int64_t N, int64_t D, int type) const;
};

// The functions of the instruction set that runs.
extern const Kernels* chosen;

// Raises a class of elman.errors.
[[noreturn]] void raise(const char* error, const std::string& message);

// These check an argument of a call: that it was given, and that a number is in its range.
void need(const void* p, const char* name);
void need_range(int64_t n, int64_t low, int64_t high, const char* name);
constexpr int64_t ANY = int64_t{1} << 40;

// Returns integers (n) after checking that they are in 0..high, which the message calls
// `described`.
const int64_t* integers(const Tensor& tensor, const char* name, int64_t n, int64_t high, const char* described,
                        const char* remedy);

template <> struct nb::detail::has_arg_defaults<Tensor> : std::true_type {};  // None is allowed

template <> struct nb::detail::type_caster<Tensor> {
    NB_TYPE_CASTER(Tensor, const_name("torch.Tensor | None"))
    bool from_python(handle from, uint32_t, cleanup_list*) noexcept { return value.take(from.ptr()); }
};
