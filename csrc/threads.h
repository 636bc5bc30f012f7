// Work on several threads, which belong to the OpenMP runtime that torch has already started.
//
// A second team would compete with torch's team for the cores, because idle OpenMP threads spin for
// a while before they sleep.  The runtime of the process is therefore found and used.  Without one,
// and in a child process after fork, whose team is gone, the caller works alone.
#pragma once

#include <atomic>

// Runs body(context, thread, threads) on each of at most `threads` threads, including the caller's
// thread.
using Body = void (*)(void* context, int thread, int threads);
void parallel(int threads, Body body, void* context);

// Returns the name of the runtime in use, for `elman info`.
const char* threads_name();

// Lets all threads of a team wait for each other.  They spin, because a step of a recurrence is
// shorter than a system call.  After 100 pauses (2 to 5 microseconds) they yield to other programs,
// and to each other if the system has put two of them on one core.
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
