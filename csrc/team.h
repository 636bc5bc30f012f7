// Threads that work on one thing together and may wait for each other.
#pragma once

#include "subnormal.h"
#include "threads.h"

float* scratch(int64_t floats);  // of this thread, kept between calls; its contents are arbitrary

namespace {

// body(thread, threads, barrier) on each of so many threads.  Inside another parallel region there may
// be fewer than asked for: then one does everything.
template <class F>
void in_team(int threads, const F& body) {
    Barrier barrier(threads), alone(1);
    struct Shared { int threads; const F& body; Barrier &barrier, &alone; };
    Shared shared{threads, body, barrier, alone};
    parallel(threads, [](void* p, int thread, int threads) {
        const auto& s = *static_cast<Shared*>(p);
        const bool all = threads == s.threads;
        if (!all && thread > 0) return;
        const FlushToZero flush;
        s.body(all ? thread : 0, all ? threads : 1, all ? s.barrier : s.alone);
    }, &shared);
}

}  // namespace
