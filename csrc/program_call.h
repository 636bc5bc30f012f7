// A recorded step as an object of Python, see elman/recur/record.py.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "calls.h"

namespace {

class Program {
    std::vector<Operation> operations;
    std::deque<MatrixScan> scans;  // whose addresses do not change
    std::vector<nb::object> alive;
    const Kernels* set = chosen;

public:
    // Adds an operation.  Its operands are tensors of four dimensions: the result, and as many others as
    // the operation reads.  The first of these has the sizes of the loops.
    void add(const std::string& name, const Tensor& out, const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& d) {
        // The names of the kinds of operations, in the order of their numbers.
        static const char* const NAMES[] = {"copy", "neg", "add", "sub", "mul", "div", "maximum", "minimum", "equal", "select", "abs", "sqrt", "rsqrt",
                                            "exp", "expm1", "sigmoid", "tanh", "silu", "gelu", "softplus", "log_sigmoid", "sum",
                                            "mean", "norm", "matmul", "layer_norm"};
        int kind = 0;
        while (kind <= Operation::LAYER_NORM && name != NAMES[kind]) ++kind;
        if (kind > Operation::LAYER_NORM) throw nb::value_error(("there is no operation " + name).c_str());
        Operation it;
        it.kind = static_cast<Operation::Kind>(kind);
        const Tensor* given[] = {&out, &a, &b, &c, &d};
        for (int n = 0; n < 5; ++n) {
            if (!given[n]->given()) continue;
            const auto found = given[n]->strided("an operand");
            it.p[n] = found.p, it.stride[n] = found.stride;
            if (n == 1) it.size = found.size;
            alive.push_back(given[n]->python());
        }
        operations.push_back(it);
    }
    // Adds a step of a matrix recurrence, whose tensors must stay alive.
    void add_scan(const MatrixScanCall& call) {
        call.check(false);
        scans.push_back(call);
        Operation it{Operation::MATRIX_SCAN};
        it.scan = &scans.back();
        operations.push_back(it);
    }
    void run() const { set->program(operations.data(), static_cast<int64_t>(operations.size())); }
};

}  // namespace
