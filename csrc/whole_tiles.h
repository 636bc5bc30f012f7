// The products of whole_product.h, on the tiles of AMX (tiles.h).
//
// W, and the B of an outer product, are packed once for all threads; each thread packs its rows of
// A when it reaches them.  Blocks of k keep the strips that are used together in the L2 cache.
#pragma once

#include "factors.h"
#include "kernels.h"
#include "team.h"

#if defined(ELMAN_AMX)

namespace {

constexpr int64_t AT_ONCE = 8;         // strips of A for each pass over the other factor
constexpr int64_t DEEPEST_SUM = 48;    // steps of k times parts in a block of a product
constexpr int64_t DEEPEST_OUTER = 96;  // the same for an outer product, which reads and writes C for each block

// Returns the number of steps of k in a block; all blocks have about the same depth.
template <int PARTS>
int64_t steps_of_block(int64_t k, int64_t deepest) {
    const int64_t tiles = tiles_of(k), n = (tiles * PARTS + deepest - 1) / deepest;
    return (tiles + n - 1) / n;
}

// The addresses of the rows of a matrix from row `first` on.
template <class T>
struct Listed {
    const void* const* list;
    int64_t first;
    const T* operator()(int64_t i) const { return static_cast<const T*>(list[i - first]); }
};

// Lists the addresses of rows i0..i1 of the chosen rows, or of all rows if `chosen` is null.
void list_rows(const Rows& m, const int64_t* chosen, int64_t i0, int64_t i1, int64_t width, const void** to) {
    const int64_t size = m.bf16 ? 2 : 4;
    for (int64_t i = i0; i < i1; ++i) {
        const int64_t n = chosen ? chosen[i] : i;
        const int64_t step = n / m.per_step, at = n % m.per_step;
        const bool initial = step == m.initial_step;
        const auto* p = static_cast<const char*>(initial ? m.initial : m.p);
        *to++ = p + (initial ? at * width : step * m.step + at * m.row) * size;
    }
}

// Calls a function with the listed rows in the type that they have in memory.
template <class Function>
void with_rows(const Rows& m, const void* const* list, int64_t first, const Function& run) {
    if (m.bf16)
        run(Listed<uint16_t>{list, first});
    else
        run(Listed<float>{list, first});
}

// C = A W (+ bias), some rows at a time.
template <int PARTS>
class TiledProduct {
public:
    explicit TiledProduct(const Product& it)
        : it_(it), depth_(steps_of_block<PARTS>(it.K, DEEPEST_SUM)), deep_((tiles_of(it.K) + depth_ - 1) / depth_),
          columns_(blocks(it.columns)), size_(strip_size<PARTS>(depth_)) {}

    // These return the sizes in floats of the packed W, and of the memory of a thread.
    int64_t packed_size() const { return deep_ * columns_ * size_ / 2; }
    int64_t own_size() const { return AT_ONCE * (size_ / 2 + 2 * BLOCK); }

    // Packs a thread's share of W.
    void pack(int thread, int threads, float* to) const {
        const int64_t all = deep_ * columns_, first = all * thread / threads, last = all * (thread + 1) / threads;
        if (it_.w_bf16)
            pack(reinterpret_cast<const uint16_t*>(it_.w), first, last, to);
        else
            pack(it_.w, first, last, to);
    }

    // Multiplies strips s0..s1 of the n chosen rows by some columns of W; `c` is the first row of
    // the result.
    void multiply(const int64_t* chosen, int64_t n, int64_t s0, int64_t s1, const Ranges& columns, float* c, int64_t ldc,
                  const float* packed, float* own) const {
        auto* a = reinterpret_cast<uint16_t*>(own);
        const auto* w = reinterpret_cast<const uint16_t*>(packed);
        auto** list = reinterpret_cast<const void**>(own + AT_ONCE * size_ / 2);
        for (int64_t s = s0; s < s1; s += AT_ONCE) {
            const int64_t end = s + AT_ONCE < s1 ? s + AT_ONCE : s1, begin = s * BLOCK;
            list_rows(it_.a, chosen, begin, end * BLOCK < n ? end * BLOCK : n, it_.K, list);
            for (int64_t block = 0; block < deep_; ++block) {
                with_rows(it_.a, list, begin, [&](const auto& rows) {
                    for (int64_t i = s; i < end; ++i)
                        write_strip<PARTS, true, true>(rows, i * BLOCK, n, block * depth_ * DEPTH, it_.K, steps(block), a + (i - s) * size_);
                });
                for (int r = 0; r < columns.count; ++r)
                    for (int64_t v = columns.first[r]; v < columns.last[r]; ++v)
                        for (int64_t i = s; i < end; ++i)
                            multiply(a + (i - s) * size_, w + (block * columns_ + v) * size_, block, n - i * BLOCK, v * BLOCK,
                                     c + (i - s0) * BLOCK * ldc + v * BLOCK, ldc);
            }
        }
    }

private:
    template <class T>
    void pack(const T* w, int64_t first, int64_t last, float* to) const {
        for (int64_t i = first; i < last; ++i) {
            const int64_t k = i / columns_ * depth_ * DEPTH, column = i % columns_ * BLOCK, n = steps(i / columns_);
            uint16_t* strip = reinterpret_cast<uint16_t*>(to) + i * size_;
            if (it_.transposed)
                write_strip<PARTS, true, false>(Dense<T>{w, it_.K}, column, it_.columns, k, it_.K, n, strip);
            else
                write_strip<PARTS, false, false>(Dense<T>{w, it_.columns}, column, it_.columns, k, it_.K, n, strip);
        }
    }

    int64_t steps(int64_t block) const {
        const int64_t left = tiles_of(it_.K) - block * depth_;
        return left < depth_ ? left : depth_;
    }

    void multiply(const uint16_t* a, const uint16_t* w, int64_t block, int64_t rows, int64_t column, float* c, int64_t ldc) const {
        const bool add = block || it_.add;
        const float* from = add ? c : it_.bias ? it_.bias + column : nullptr;
        const int64_t columns = it_.columns - column;
        multiply_block<PARTS>(a, w, steps(block), from, add ? ldc : 0, c, ldc, rows < BLOCK ? rows : BLOCK,
                              columns < BLOCK ? columns : BLOCK);
    }

    const Product& it_;
    const int64_t depth_, deep_;    // steps of k in a block, and number of blocks
    const int64_t columns_, size_;  // strips of W in a block, and numbers in a strip
};

// A product of numbers with one part or with three.
class Tiled {
public:
    explicit Tiled(const Product& it) : rounded_(it), divided_(it), bf16_(it.bf16) {}
    int64_t packed_size() const { return bf16_ ? rounded_.packed_size() : divided_.packed_size(); }
    int64_t own_size() const { return bf16_ ? rounded_.own_size() : divided_.own_size(); }
    void pack(int thread, int threads, float* to) const {
        bf16_ ? rounded_.pack(thread, threads, to) : divided_.pack(thread, threads, to);
    }
    void multiply(const int64_t* rows, int64_t n, int64_t s0, int64_t s1, const Ranges& columns, float* c, int64_t ldc,
                  const float* packed, float* own) const {
        bf16_ ? rounded_.multiply(rows, n, s0, s1, columns, c, ldc, packed, own)
              : divided_.multiply(rows, n, s0, s1, columns, c, ldc, packed, own);
    }

private:
    const TiledProduct<1> rounded_;
    const TiledProduct<3> divided_;
    const bool bf16_;
};

// C_j (+)= A^T B_j.
template <int PARTS>
class TiledOuter {
public:
    TiledOuter(const OuterProduct& it)
        : it_(it), depth_(steps_of_block<PARTS>(it.N, DEEPEST_OUTER)), rows_(blocks(it.rows)),
          columns_(blocks(it.columns[0]) + (it.count > 1 ? blocks(it.columns[1]) : 0)), size_(strip_size<PARTS>(depth_)) {}

    void run() const {
        const int64_t part = columns_ * size_ / 2, own = AT_ONCE * size_ / 2 + 2 * depth_ * DEPTH;
        const int64_t work = it_.N * it_.rows * columns_ * BLOCK;
        const int threads = work < 400000 ? 1 : static_cast<int>(rows_ < it_.threads ? rows_ : it_.threads);
        float* memory = scratch(2 * part + threads * own);
        in_team(threads, [&](int thread, int threads, Barrier& barrier) {
            const Tiles tiles;
            float* mine = memory + 2 * part + thread * own;
            auto** list = reinterpret_cast<const void**>(mine + AT_ONCE * size_ / 2);
            bool turn = false;
            for (int64_t k = 0; k < it_.N; k += depth_ * DEPTH) {
                // Two buffers alternate, so that no thread fills a buffer that others still read.
                auto* packed = reinterpret_cast<uint16_t*>(memory + (turn ? part : 0));
                turn = !turn;
                pack(k, thread, threads, list, packed);
                barrier.wait();
                multiply(k, thread, threads, packed, reinterpret_cast<uint16_t*>(mine));
            }
        });
    }

private:
    int64_t steps(int64_t k) const {
        const int64_t left = tiles_of(it_.N - k);
        return left < depth_ ? left : depth_;
    }

    void pack(int64_t k, int thread, int threads, const void** list, uint16_t* to) const {
        const int64_t end = k + depth_ * DEPTH < it_.N ? k + depth_ * DEPTH : it_.N;
        for (int j = 0; j < it_.count; ++j) {
            const int64_t strips = blocks(it_.columns[j]);
            list_rows(it_.b[j], nullptr, k, end, it_.columns[j], list);
            const int64_t from = strips * thread / threads;
            with_rows(it_.b[j], list, k, [&](const auto& rows) {
                write_strips<PARTS, false>(rows, from, strips * (thread + 1) / threads, it_.columns[j], k, it_.N, steps(k), to + from * size_, size_);
            });
            to += strips * size_;
        }
    }

    // Computes this thread's rows of C, which are columns of A.
    void multiply(int64_t k, int thread, int threads, const uint16_t* packed, uint16_t* a) const {
        const int64_t from = rows_ * thread / threads, to = rows_ * (thread + 1) / threads;
        for (int64_t s = from; s < to; s += AT_ONCE) {
            const int64_t end = s + AT_ONCE < to ? s + AT_ONCE : to;
            if (it_.a_bf16)
                write_strips<PARTS, true>(Dense<uint16_t>{static_cast<const uint16_t*>(it_.a), it_.a_row}, s, end, it_.rows, k, it_.N, steps(k), a, size_);
            else
                write_strips<PARTS, true>(Dense<float>{static_cast<const float*>(it_.a), it_.a_row}, s, end, it_.rows, k, it_.N, steps(k), a, size_);
            const uint16_t* b = packed;
            for (int j = 0; j < it_.count; ++j)
                for (int64_t v = 0; v < blocks(it_.columns[j]); ++v, b += size_)
                    for (int64_t i = s; i < end; ++i) multiply(a + (i - s) * size_, b, k, j, i * BLOCK, v * BLOCK);
        }
    }

    void multiply(const uint16_t* a, const uint16_t* b, int64_t k, int j, int64_t row, int64_t column) const {
        const int64_t ldc = it_.columns[j], rows = it_.rows - row, columns = ldc - column;
        float* c = it_.c[j] + row * ldc + column;
        multiply_block<PARTS>(a, b, steps(k), it_.add || k ? c : nullptr, ldc, c, ldc, rows < BLOCK ? rows : BLOCK,
                              columns < BLOCK ? columns : BLOCK);
    }

    const OuterProduct& it_;
    const int64_t depth_;           // steps of k in a block
    const int64_t rows_, columns_;  // strips of A^T, and of all B
    const int64_t size_;            // numbers in a strip
};

// Tiles are wasted on few columns, and for a small matrix splitting many rows into parts costs more
// than it saves.  Numbers that are bfloat16 in memory always need tiles.
constexpr int64_t FEWEST_COLUMNS = 16, SMALL_MATRIX = 1 << 14;

// Rounds rows r0..r1 of C to bfloat16.
void round_rows(const Product& it, int64_t r0, int64_t r1, const Ranges& columns, const float* sums, int64_t ld) {
    const int64_t first = columns.first[0] * BLOCK, end = columns.last[0] * BLOCK, last = end < it.columns ? end : it.columns;
    finish_writing();
    for (int64_t r = r0; r < r1; ++r)
        for (int64_t i = first; i < last; i += WIDTH) {
            const Lanes l(last - i);
            store_bf16(static_cast<uint16_t*>(it.c) + r * it.columns + i, load(sums + (r - r0) * ld + i, l), l);
        }
}

bool run_on_tiles(const Product& it) {
    const bool narrow = it.K < FEWEST_COLUMNS || it.columns < FEWEST_COLUMNS;
    const bool floats = narrow || (!it.bf16 && it.K * it.columns <= SMALL_MATRIX);
    if (floats && !it.w_bf16 && !it.c_bf16) return false;
    const Tiled tiled(it);
    const int threads = it.N * it.K * it.columns < 400000 ? 1 : static_cast<int>(it.threads);
    const int64_t ld = padded_width(it.columns), own = tiled.own_size() + (it.c_bf16 ? AT_ONCE * BLOCK * ld : 0);
    float* memory = scratch(tiled.packed_size() + threads * own);
    in_team(threads, [&](int thread, int threads, Barrier& barrier) {
        const Tiles tiles;
        tiled.pack(thread, threads, memory);
        barrier.wait();
        // A thread computes some rows; if rows are few and the matrix is large, it computes some
        // columns of all.
        const int64_t rows = blocks(it.N), columns = blocks(it.columns);
        const bool by_columns = rows <= AT_ONCE && columns >= 8 * threads;
        const int64_t all = by_columns ? columns : rows, from = all * thread / threads, to = all * (thread + 1) / threads;
        const Ranges chosen{1, {by_columns ? from : 0}, {by_columns ? to : columns}};
        const int64_t begin = by_columns ? 0 : from, end = by_columns ? rows : to;
        float *mine = memory + tiled.packed_size() + thread * own, *sums = mine + tiled.own_size();
        if (!it.c_bf16)
            return tiled.multiply(nullptr, it.N, begin, end, chosen, static_cast<float*>(it.c) + begin * BLOCK * it.ldc(), it.ldc(), memory, mine);
        for (int64_t s = begin; s < end; s += AT_ONCE) {
            const int64_t next = s + AT_ONCE < end ? s + AT_ONCE : end;
            tiled.multiply(nullptr, it.N, s, next, chosen, sums, ld, memory, mine);
            round_rows(it, s * BLOCK, next * BLOCK < it.N ? next * BLOCK : it.N, chosen, sums, ld);
        }
    });
    return true;
}

bool run_on_tiles(const OuterProduct& it) {
    const int64_t columns = it.columns[0] + it.columns[1];
    const bool narrow = it.rows < FEWEST_COLUMNS || columns < 2 * FEWEST_COLUMNS;
    const bool floats = narrow || (!it.bf16 && it.rows * columns <= SMALL_MATRIX);
    if (floats && !it.a_bf16) return false;
    it.bf16 ? TiledOuter<1>(it).run() : TiledOuter<3>(it).run();
    return true;
}

}  // namespace

#else

namespace {

class Tiled {
public:
    explicit Tiled(const Product&) {}
    int64_t packed_size() const { return 0; }
    int64_t own_size() const { return 0; }
    void pack(int, int, float*) const {}
    void multiply(const int64_t*, int64_t, int64_t, int64_t, const Ranges&, float*, int64_t, const float*, float*) const {}
};

ELMAN_INLINE bool run_on_tiles(const Product&) { return false; }
ELMAN_INLINE bool run_on_tiles(const OuterProduct&) { return false; }

}  // namespace

#endif
