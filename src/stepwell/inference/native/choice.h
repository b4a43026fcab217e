// The next token of a row: temperature, top-k, top-p and min-p, without sorting a vocabulary.
//
// Only tokens that could be kept are looked at twice, and those are a few hundred. The draw inverts the cumulative
// distribution in the order of the vocabulary, as `sampling/truncation.py` does, which is the truth tests compare with.
#pragma once

#include <algorithm>
#include <vector>

#include "vectors.h"

namespace stepwell {

struct Rule {
    double uniform;     // in [0, 1)
    float temperature;  // 0: the likeliest token
    int32_t top_k;      // 0: all
    float top_p;        // 1: all
    float min_p;        // 0: all
};

struct Choice {
    int32_t token;      // -1: a logit is no finite number
    float logit;        // of the token
    float log_sum;      // log of the sum of e^logit over the vocabulary
};

struct Candidate {
    int32_t token;
    float logit;  // over the temperature, the largest being 0
};

// A row (size,) in blocks of sixteen, the last one filled up with -inf.
inline Floats block_of(const float* row, int size, int at) {
    if (at + LANES <= size) return load(row + at);
    float numbers[LANES];
    for (int lane = 0; lane < LANES; ++lane) numbers[lane] = at + lane < size ? row[at + lane] : -INFINITY;
    return load(numbers);
}

class Chooser {
   public:
    Choice choose(const float* row, int size, const Rule& rule) {
        row_ = row, size_ = size;
        Floats most = all(-INFINITY), zeros{};
        float zero = 0;
        for (int at = 0; at < size; at += LANES) {
            const Floats x = block_of(row, size, at);
            most = larger(most, x);
            if (at + LANES <= size) zeros += x * 0.0f;  // NaN or infinity spoils it
        }
        for (int at = size / LANES * LANES; at < size; ++at) zero += row[at] * 0.0f;
        top_ = largest(most);
        if (total(zeros) + zero != 0.0f) return {-1, 0, 0};
        const float log_sum = top_ + std::log(float(mass(1)));
        const int token = rule.temperature == 0 ? likeliest() : drawn(rule);
        return {token, row[token], log_sum};
    }

   private:
    // Sum of e^((x - top) / temperature).
    double mass(float temperature) const {
        double sum = 0;
        const float scale = 1 / temperature;
        for (int at = 0; at < size_; at += 64 * LANES) {
            Floats part{};
            for (int place = at; place < std::min(size_, at + 64 * LANES); place += LANES)
                part += exponential((block_of(row_, size_, place) - top_) * scale);
            sum += total(part);
        }
        return sum;
    }

    int likeliest() const {
        int at = 0;
        while (row_[at] != top_) ++at;
        return at;
    }

    int drawn(const Rule& rule) {
        float floor = rule.min_p > 0 ? std::log(rule.min_p) : -INFINITY;
        const bool keeps_all = rule.top_k == 0 && rule.top_p >= 1;
        if (!keeps_all) {
            gather(FEW, rule.temperature);
            float kept = -INFINITY;
            if (!truncate(rule, false, kept)) {
                gather(-INFINITY, rule.temperature);
                truncate(rule, true, kept);
            }
            floor = std::max(floor, kept);
        } else {
            gather(floor, rule.temperature);
        }
        double sum = 0;
        for (const Candidate& one : candidates_)
            if (one.logit >= floor) sum += std::exp(double(one.logit));
        double left = rule.uniform * sum;
        int last = likeliest();
        for (const Candidate& one : candidates_) {
            if (one.logit < floor) continue;
            const double weight = std::exp(double(one.logit));
            if (weight > 0) last = one.token;
            if (weight > left) break;
            left -= weight;
        }
        return last;
    }

    // Tokens from a logit on, in their order.
    void gather(float floor, float temperature) {
        candidates_.clear();
        const float scale = 1 / temperature;
        for (int at = 0; at < size_; at += LANES) {
            const Floats x = (block_of(row_, size_, at) - top_) * scale;
            if (largest(x) < floor) continue;
            float logits[LANES];
            store(logits, x);
            for (int lane = 0; lane < LANES && at + lane < size_; ++lane)
                if (logits[lane] >= floor) candidates_.push_back({at + lane, logits[lane]});
        }
    }

    // The least logit that top-k and top-p keep; false where the candidates are too few to tell.
    bool truncate(const Rule& rule, bool are_all, float& kept) {
        sorted_.clear();
        for (const Candidate& one : candidates_) sorted_.push_back(one.logit);
        size_t count = sorted_.size();
        double whole = 0;
        if (rule.top_k > 0) {
            if (size_t(rule.top_k) > count && !are_all) return false;
            if (size_t(rule.top_k) < count) {
                std::nth_element(sorted_.begin(), sorted_.begin() + rule.top_k - 1, sorted_.end(), std::greater<>());
                kept = sorted_[rule.top_k - 1];
                sorted_.erase(std::remove_if(sorted_.begin(), sorted_.end(), [&](float x) { return x < kept; }), sorted_.end());
            }
            for (float logit : sorted_) whole += std::exp(double(logit));
        } else {
            whole = mass(rule.temperature);
        }
        if (rule.top_p >= 1) return true;
        std::sort(sorted_.begin(), sorted_.end(), std::greater<>());
        double before = 0;
        for (float logit : sorted_) {
            if (before >= double(rule.top_p) * whole) return true;
            kept = logit;
            before += std::exp(double(logit));
        }
        return are_all || rule.top_k > 0 || before >= double(rule.top_p) * whole;
    }

    static constexpr float FEW = -16;  // what is less likely by e^16 than the likeliest is hardly ever needed

    const float* row_ = nullptr;
    int size_ = 0;
    float top_ = 0;
    std::vector<Candidate> candidates_;
    std::vector<float> sorted_;
};

}  // namespace stepwell
