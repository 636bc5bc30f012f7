// Threads that work together and can wait for each other.
#pragma once

#include "subnormal.h"
#include "threads.h"

float* scratch(int64_t floats);  // memory of this thread, kept between calls, with arbitrary contents

namespace {

// Runs body(thread, threads, barrier) on this number of threads.  Inside another parallel region there
// can be fewer threads than requested; one thread then does everything.
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
