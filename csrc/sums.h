// Sums of several registers at once.
#pragma once

#include "vector.h"

namespace {

// Stores the sums of N registers.
template <int N>
ELMAN_INLINE void store_sums(float* to, const Vec* a) {
#if defined(__AVX512F__)
    if constexpr (N == 16) {
        // Each level adds two parts of a register and puts the sums of two registers into one.
        __m512 b[8], c[4], d[2];
        for (int i = 0; i < 8; ++i) {
            const __m512 x = a[i + i / 4 * 4].v, y = a[i + i / 4 * 4 + 4].v;
            b[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
        }
        for (int i = 0; i < 4; ++i)
            c[i] = _mm512_add_ps(_mm512_shuffle_f32x4(b[i], b[i + 4], 0x88), _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd));
        for (int i = 0; i < 2; ++i)
            d[i] = _mm512_add_ps(_mm512_shuffle_ps(c[2 * i], c[2 * i + 1], 0x44), _mm512_shuffle_ps(c[2 * i], c[2 * i + 1], 0xee));
        _mm512_storeu_ps(to, _mm512_add_ps(_mm512_shuffle_ps(d[0], d[1], 0x88), _mm512_shuffle_ps(d[0], d[1], 0xdd)));
        return;
    }
#endif
    for (int n = 0; n < N; ++n) to[n] = sum(a[n]);
}

}  // namespace
