// Strips of packed factors (see tiles.h), and their products for a C of any size.
//
// A strip has 32 rows of A or columns of B.  It begins with a cache line that shows whether some of
// its numbers cannot be split into parts.
#pragma once

#include "bfloat16.h"
#include "tiles.h"

#if defined(ELMAN_AMX)

namespace {

constexpr int64_t HEADER = 32;  // numbers

// Returns the size in numbers of a strip with `tiles` steps.
template <int PARTS>
ELMAN_INLINE int64_t strip_size(int64_t tiles) { return HEADER + tiles * STRIP<PARTS>; }

template <int PARTS, bool ALONG, bool OF_A, class RowOf>
void write_strip(const RowOf& row, int64_t outer0, int64_t outer, int64_t k0, int64_t k, int64_t tiles, uint16_t* to) {
    to[0] = pack_strip<PARTS, ALONG, OF_A>(row, outer0, outer, k0, k, tiles, to + HEADER);
}

// Packs strips first..last, which are `size` numbers apart, from vectors that run across them.  A
// step of k is packed for all strips before the next step, so that memory is read in its order, and
// the next step is fetched meanwhile.
template <int PARTS, bool OF_A, class RowOf>
void write_strips(const RowOf& row, int64_t first, int64_t last, int64_t outer, int64_t k0, int64_t k, int64_t tiles, uint16_t* to, int64_t size) {
    const int64_t end = k0 + tiles * DEPTH < k ? k0 + tiles * DEPTH : k;
    for (int64_t i = 0; i < last - first; ++i) to[i * size] = 0;
    for (int64_t t = 0; t < tiles; ++t)
        for (int64_t i = 0; i < last - first; ++i) {
            const int64_t column = (first + i) * BLOCK, at = k0 + t * DEPTH;
            for (int64_t j = at + DEPTH; j < at + 2 * DEPTH && j < end; ++j) {
                PREFETCH(row(j) + column, 3);
                PREFETCH(row(j) + column + SIDE, 3);
            }
            to[i * size] |= pack_step<PARTS, false, OF_A>(row, column, outer, at, k, to + i * size + HEADER + t * STRIP<PARTS>);
        }
}

// Returns an element of a packed strip as a float.
template <int PARTS>
float element(const uint16_t* tile, int64_t at) {
    float sum = 0;
    for (int part = 0; part < PARTS; ++part) sum += to_float(tile[part * TILE + at]);
    return sum;
}

// Computes a block with products of floats, for numbers that cannot be split.
template <int PARTS>
void block_of_floats(const uint16_t* a, const uint16_t* b, int64_t tiles, float* c) {
    std::memset(c, 0, sizeof(float) * BLOCK * BLOCK);
    for (int64_t t = 0; t < tiles; ++t, a += STRIP<PARTS>, b += STRIP<PARTS>)
        for (int64_t k = 0; k < DEPTH; ++k) {
            float y[BLOCK];
            for (int64_t j = 0; j < BLOCK; ++j)
                y[j] = element<PARTS>(b + j / SIDE * PARTS * TILE, k / 2 * DEPTH + j % SIDE * 2 + k % 2);
            for (int64_t i = 0; i < BLOCK; ++i) {
                const float x = element<PARTS>(a + i / SIDE * PARTS * TILE, i % SIDE * DEPTH + k);
                for (int64_t j = 0; j < BLOCK; ++j) c[i * BLOCK + j] += x * y[j];
            }
        }
}

// Computes the first rows and columns of a block of C = `from` + A B; a null `from` means zeros.
template <int PARTS>
void multiply_block(const uint16_t* a, const uint16_t* b, int64_t tiles, const float* from, int64_t from_step,
                    float* c, int64_t ldc, int64_t rows, int64_t columns) {
    const bool divided = PARTS == 1 || !(a[0] | b[0]), tall = rows > SIDE, wide = columns > SIDE;
    a += HEADER, b += HEADER;
    const auto run = tall ? (wide ? block_of_tiles<PARTS, 2, 2> : block_of_tiles<PARTS, 2, 1>)
                          : (wide ? block_of_tiles<PARTS, 1, 2> : block_of_tiles<PARTS, 1, 1>);
    if (divided && rows % SIDE == 0 && columns % SIDE == 0) return run(a, b, tiles, from, from_step, c, ldc);
    alignas(64) float square[BLOCK * BLOCK];
    if (divided)
        run(a, b, tiles, nullptr, 0, square, BLOCK);
    else
        block_of_floats<PARTS>(a, b, tiles, square);
    finish_writing();
    for (int64_t j = 0; j < columns; j += WIDTH) {
        const Lanes l(columns - j);
        for (int64_t i = 0; i < rows; ++i) {
            const Vec sum = load(square + i * BLOCK + j);
            store(c + i * ldc + j, from ? load(from + i * from_step + j, l) + sum : sum, l);
        }
    }
}

}  // namespace

#endif
