// A team of threads that shares out the parts of a step.
//
// Parts are claimed one item at a time, and nobody waits for a thread that has claimed nothing: where other programs
// keep the helpers from running, the caller does the work alone. Between steps helpers sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace stepwell {

inline void rest() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

class Team {
   public:
    explicit Team(int size) {
        for (int rank = 1; rank < size; ++rank) threads_.emplace_back([this, rank] { serve(rank); });
    }

    ~Team() {
        ends_.store(true, std::memory_order_release);
        begin();
        for (auto& thread : threads_) thread.join();
    }

    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int size() const { return int(threads_.size()) + 1; }

    // Wake the helpers: parts come soon.
    void begin() {
        awake_.store(true, std::memory_order_release);
        wakes_.fetch_add(1, std::memory_order_release);
        wakes_.notify_all();
    }

    // No more parts for a while.
    void end() { awake_.store(false, std::memory_order_release); }

    // `task(item, rank)` for every item below `count`, the caller being rank 0; ends when all are done.
    void each(int count, const std::function<void(int, int)>& task) {
        if (count == 1 || threads_.empty()) {
            for (int item = 0; item < count; ++item) task(item, 0);
            return;
        }
        done_.store(0, std::memory_order_relaxed);
        part_ = (part_ + 1) & 0xffffff;
        tasks_[part_ & 1] = &task;
        state_.store(uint64_t(part_) << 40 | uint64_t(count) << 20, std::memory_order_release);
        while (claim(0)) {
        }
        for (int looks = 0; done_.load(std::memory_order_acquire) < count; ++looks) {
            if (looks < LOOKS) rest();
            else std::this_thread::yield();
        }
    }

   private:
    static constexpr int LOOKS = 2000;
    static constexpr uint64_t ITEMS = 0xfffff;

    // Do one item of the present part; false where none is left. The part cannot end before the item is done, so its
    // task is still there.
    bool claim(int rank) {
        uint64_t now = state_.load(std::memory_order_acquire);
        if ((now & ITEMS) >= (now >> 20 & ITEMS)) return false;
        now = state_.fetch_add(1, std::memory_order_acq_rel);
        if ((now & ITEMS) >= (now >> 20 & ITEMS)) return false;
        (*tasks_[now >> 40 & 1])(int(now & ITEMS), rank);
        done_.fetch_add(1, std::memory_order_release);
        return true;
    }

    void serve(int rank) {
        for (int looks = 0;;) {
            const int known = wakes_.load(std::memory_order_acquire);
            if (ends_.load(std::memory_order_acquire)) return;
            if (claim(rank)) looks = 0;
            else if (++looks < LOOKS) rest();
            else if (awake_.load(std::memory_order_acquire)) std::this_thread::yield();
            else wakes_.wait(known, std::memory_order_acquire), looks = 0;
        }
    }

    std::atomic<uint64_t> state_{0};  // number of the part (24 bits), its items (20), the next item (20)
    std::atomic<int> done_{0}, wakes_{0};
    std::atomic<bool> awake_{false}, ends_{false};
    uint32_t part_ = 0;
    const std::function<void(int, int)>* tasks_[2] = {};
    std::vector<std::thread> threads_;
};

// One of `parts` shares of the numbers below `count`: from `begin` up to `end`. A longer one comes before a shorter one,
// so that two threads that take turns end together.
struct Share {
    int begin, end;
    Share(int count, int part, int parts) : begin(cut(count, part, parts)), end(cut(count, part + 1, parts)) {}

    int size() const { return end - begin; }

   private:
    static int cut(int count, int part, int parts) { return int((int64_t(count) * part + parts - 1) / parts); }
};

}  // namespace stepwell
