#include "tensor.h"

#include "bfloat16.h"

#include <exception>

// Returns torch's function that fills a DLView in a few nanoseconds.  It is null before torch 2.10,
// where the attributes of the tensor are read one by one.  The table is DLPack's DLPackExchangeAPI.
Tensor::Read Tensor::reader() {
    struct Table {
        uint32_t major, minor;
        void *older, *allocate, *to_managed, *from_managed;
        Read read;
    };
    static const Read found = []() -> Read {
        nb::object capsule = nb::getattr(nb::handle(torch_tensor()), "__dlpack_c_exchange_api__", nb::none());
        if (!PyCapsule_CheckExact(capsule.ptr())) return nullptr;
        const auto* table = static_cast<const Table*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
        if (!table) PyErr_Clear();
        return table && table->major == 1 ? table->read : nullptr;
    }();
    return found;
}

PyObject* Tensor::torch_tensor() {
    static PyObject* const type = nb::getattr(nb::module_::import_("torch"), "Tensor").release().ptr();
    return type;
}

void Tensor::read(PyObject* from, Read read) {
    DLView view;
    if (read(from, &view)) return PyErr_Clear();  // it has no memory: sparse, part of a graph, or on the meta device
    if (view.device_type != CPU || view.ndim > MOST || view.lanes != 1) return;
    ndim = view.ndim;
    int64_t numbers = 1, dense = 1;
    for (int d = 0; d < ndim; ++d) numbers *= shape[d] = view.shape[d];
    for (int d = ndim - 1; d >= 0; dense *= shape[d--]) strides[d] = view.strides ? view.strides[d] : dense;
    data = static_cast<char*>(view.data) + view.byte_offset;
    if (data || !numbers) type = type_of(view.code, view.bits);
}

static std::string text_of(nb::handle object) { return nb::str(object).c_str(); }

void Tensor::read_attributes(PyObject* tensor) {
    const nb::handle from = tensor;
    static const struct { const char* name; int type; } KNOWN[] = {
        {"torch.float32", type_of(2, 32)}, {"torch.float64", type_of(2, 64)}, {"torch.int64", type_of(0, 64)},
        {"torch.bool", type_of(6, 8)}, {"torch.bfloat16", type_of(4, 16)}, {"torch.complex64", type_of(5, 64)}};
    const nb::object device = from.attr("device"), sizes = from.attr("shape"), steps = from.attr("stride")();
    if (text_of(device) != "cpu" || nb::len(sizes) > MOST) return;
    ndim = static_cast<int>(nb::len(sizes));
    for (int d = 0; d < ndim; ++d) {
        shape[d] = PyLong_AsLongLong(nb::object(sizes[d]).ptr());
        strides[d] = PyLong_AsLongLong(nb::object(steps[d]).ptr());
    }
    data = PyLong_AsVoidPtr(nb::object(from.attr("data_ptr")()).ptr());
    const std::string name = text_of(from.attr("dtype"));
    for (const auto& known : KNOWN)
        if (name == known.name) type = known.type;
}

bool Tensor::take(PyObject* from) {
    if (from == Py_None) return true;
    if (!PyObject_TypeCheck(from, reinterpret_cast<PyTypeObject*>(torch_tensor()))) return false;
    object = from;
    if (const Read read = reader()) {
        this->read(from, read);
        return true;
    }
    try {
        read_attributes(from);
    } catch (const std::exception&) {
        type = -1;  // sparse, or without memory
    }
    return true;
}

void raise(const char* error, const std::string& message) {
    const nb::object type = nb::module_::import_("elman.errors").attr(error);
    PyErr_SetString(type.ptr(), message.c_str());
    throw nb::python_error();
}

void need(const void* p, const char* name) {
    if (!p) raise("TensorError", std::string(name) + " must be a tensor, got None");
}
void need_range(int64_t n, int64_t low, int64_t high, const char* name) {
    if (n < low || n > high) throw nb::value_error((std::string(name) + " is out of range").c_str());
}

const int64_t* integers(const Tensor& tensor, const char* name, int64_t n, int64_t high, const char* described,
                        const char* remedy) {
    const int64_t* p = tensor.dense<int64_t>(name, {n});
    for (int64_t i = 0; i < n; ++i)
        if (p[i] < 0 || p[i] > high)
            raise("ArgumentError", std::string(name) + " must be in 0.." + described + "=" + std::to_string(high) +
                                       ", got " + std::to_string(p[i]) + " at row " + std::to_string(i) + remedy);
    return p;
}

std::string Tensor::wanted_shape(std::initializer_list<int64_t> shape) {
    std::string text = "(";
    for (int64_t n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
    return text + (shape.size() == 1 ? ",)" : ")");
}

void Tensor::refuse(const char* name, const char* dtype, const std::string& shape) const {
    const auto text = [&](const char* attribute) { return text_of(nb::getattr(nb::handle(object), attribute)); };
    std::string got = "None";
    if (given()) {
        const std::string kind = text("dtype");
        const nb::tuple sizes(nb::getattr(nb::handle(object), "shape"));
        got = kind.substr(kind.find('.') + 1) + " " + text_of(sizes) + " on " + text("device");
        if (text("layout") != "torch.strided") got += " of layout " + text("layout");
        else if (type >= 0 && !is_dense()) got += " with gaps in memory";
        else if (type < 0 && text("device") == "cpu") got += " without memory (batched by vmap, fake or freed)";
    }
    raise("TensorError", std::string(name) + " must be " + dtype + " " + shape + " on the CPU, got " + got);
}

float* Tensor::floats(const char* name, std::initializer_list<int64_t> wanted, std::vector<float>& to) const {
    if (!given() || !is_bf16()) return maybe<float>(name, wanted);
    const uint16_t* from = dense<uint16_t>(name, wanted);
    to.resize(count());
    for (size_t i = 0; i < to.size(); ++i) to[i] = to_float(from[i]);
    return to.data();
}

Tensor::Matrix Tensor::matrix(const char* name, bool maybe_bf16) const {
    const bool bf16 = maybe_bf16 && type == BFLOAT16_TYPE;
    if ((type != Type<float>::value && !bf16) || ndim != 2 || (shape[1] > 1 && strides[1] != 1))
        refuse(name, "float32", "(N, K) with the numbers of a row side by side");
    return {data, shape[0], shape[1], strides[0], bf16};
}

Steps Tensor::rows(const char* name, int64_t columns, int64_t first, Span used, int64_t rows_a_step, bool packed, bool maybe_bf16) const {
    if (!given()) return {};
    const auto [begin, end] = used;
    const bool apart = ndim == 2 && shape[1] == columns && strides[1] == 1 && strides[0] >= columns;  // padded rows
    if (!is_float(maybe_bf16) || !(apart || (ndim == 2 && shape[1] == columns && is_dense())) || begin < 0 || end > shape[0])
        refuse(name, maybe_bf16 ? "float32 or bfloat16" : "float32", "(" + std::to_string(end) + " rows or more, " + std::to_string(columns) + ")");
    const int64_t row = apart && shape[0] > 1 ? strides[0] : columns;
    return {from(first * row), rows_a_step * row, row, packed, is_bf16()};
}

Steps Tensor::steps(const char* name, int64_t first, int64_t count, int64_t B, int64_t columns,
                    int64_t packed_rows, bool maybe_bf16) const {
    if (!given()) return {};
    const bool floats = is_float(maybe_bf16), packed = ndim == 2;
    const bool side_by_side = ndim > 0 && (shape[ndim - 1] <= 1 || strides[ndim - 1] == 1);
    if (floats && side_by_side && packed && shape[0] == packed_rows && shape[1] == columns) return {from(0), 0, strides[0], true, is_bf16()};
    if (!floats || !side_by_side || ndim != 3 || shape[0] < first + count || shape[1] != B || shape[2] != columns)
        refuse(name, maybe_bf16 ? "float32 or bfloat16" : "float32",
               wanted_shape({first + count, B, columns}) + " with the numbers of a row side by side");
    return {from(first * strides[0]), strides[0], strides[1], false, is_bf16()};
}

Field Tensor::field(const char* name, int64_t B, int64_t T, int64_t D, bool complex) const {
    if (!given()) return {};
    const int wanted = complex ? type_of(5, 64) : Type<float>::value;
    const auto fits = [&](int d, int64_t n) { return shape[d] == n || shape[d] == 1; };
    if (type != wanted || ndim != 3 || !fits(0, B) || !fits(1, T) || !fits(2, D))
        refuse(name, complex ? "complex64" : "float32", "of a shape like " + wanted_shape({B, T, D}));
    const auto stride = [&](int d, int64_t n) { return shape[d] == n ? strides[d] : 0; };
    return {static_cast<float*>(data), stride(0, B), stride(1, T), stride(2, D)};
}

Tensor::Batch Tensor::batch(const char* name, int64_t T, int64_t B, int64_t D) const {
    const bool known = type == Type<float>::value || type == BFLOAT16_TYPE;
    if (!known || ndim != 3 || shape[0] < T || shape[1] != B || shape[2] != D || (D > 1 && strides[2] != 1))
        refuse(name, "float32 or bfloat16", wanted_shape({T, B, D}) + " with the numbers of a row side by side");
    const int64_t size = (type & 255) / 8;
    return {data, strides[0] * size, strides[1] * size, D * size, type};
}

void* Tensor::packed(const char* name, int64_t N, int64_t D, int wanted) const {
    if (type != wanted || ndim != 2 || shape[0] != N || shape[1] != D || !is_dense())
        refuse(name, wanted == Type<float>::value ? "float32" : "bfloat16", wanted_shape({N, D}));
    return data;
}
