// Work on several threads, which belong to the OpenMP runtime that torch has already started.
//
// A second team would compete with torch's for the cores, since idle OpenMP threads spin for a while
// before they sleep.  The runtime of the process is therefore looked up and used; without one (and in
// a child process after fork, whose team is gone) the caller works alone.
#pragma once

#include <atomic>

// body(context, thread, threads) on each of at most `threads` threads, the caller's included.
using Body = void (*)(void* context, int thread, int threads);
void parallel(int threads, Body body, void* context);

// The name of the runtime in use, for `elman info`.
const char* threads_name();

// All threads of a team wait for each other.  They spin, because a step of a recurrence is shorter
// than a system call, but after some 100 pauses (2 to 5 microseconds) yield to other programs, and to each
// other where the system has put two of them on one core.
class Barrier {
public:
    explicit Barrier(int threads) : threads_(threads) {}
    void wait() {
        if (threads_ == 1) return;
        const int round = round_.load(std::memory_order_relaxed);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
            arrived_.store(0, std::memory_order_relaxed);
            round_.store(round + 1, std::memory_order_release);
            return;
        }
        for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
            if (spins < 100)
                pause();
            else
                yield();
        }
    }

private:
    static void pause();
    static void yield();
    const int threads_;
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<int> round_{0};
};
