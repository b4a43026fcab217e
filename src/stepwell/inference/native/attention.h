// Attention over keys and values that stand in blocks of sixteen tokens, anywhere in a pool.
//
// Keys are taken in segments whose borders are places in the text, each with a softmax of its own, and segments are
// joined in their order. So a query's answer depends neither on the queries beside it, nor on how a prompt was cut, nor
// on whether threads share its segments. Keys that a query may not see weigh nothing.
#pragma once

#include <algorithm>

#include "vectors.h"

namespace stepwell {

constexpr int BLOCK = 16;     // tokens
constexpr int SEGMENT = 256;  // tokens
constexpr int AT_ONCE = 6;    // queries that share what is read of the keys

// Keys and values of one layer: (kv heads, blocks, head width * 16) numbers, so that blocks that follow each other are
// read in one go.
template <class Mode>
struct Cache {
    using Number = typename Mode::Number;
    Number *keys, *values;
    int blocks, width;  // how many blocks there are; of a head, a multiple of 16

    size_t at(int block, int head) const { return (size_t(head) * blocks + block) * width * BLOCK; }

    void fetch(const Number* from) const {
        for (int at = 0; at < width * BLOCK; at += 64 / int(sizeof(Number))) __builtin_prefetch(from + at, 0, 2);
    }

    void write(int block, int slot, int head, const float* key, const float* value) const {
        Number *to_keys = keys + at(block, head), *to_values = values + at(block, head);
        for (int channel = 0; channel < width; ++channel)
            to_keys[Mode::place(channel, slot)] = Mode::rounded(key[channel]);
        for (int channel = 0; channel < width; ++channel) {
            const int lane = channel % LANES, chunk = channel / LANES;
            to_values[((slot / 2) * (width / LANES) + chunk) * 2 * LANES + Mode::place(slot % 2, lane)] =
                Mode::rounded(value[channel]);
        }
    }
};

// One query of one head.
template <class Mode>
struct Query {
    const typename Mode::Number* numbers;  // (width,), scaled
    int first, last;                       // keys that it sees
    float slope;                           // what a step away costs (ALiBi), or 0
};

// What keys gave a query: the largest logit, the sum of e^(logit - largest), and the values weighed so, (width,).
struct Partial {
    float largest, sum;
    float* values;
};

// Add what later keys gave.
inline void join(Partial& known, const Partial& next, int width) {
    if (next.largest == -INFINITY) return;
    if (known.largest == -INFINITY) {
        known.largest = next.largest, known.sum = next.sum;
        std::memcpy(known.values, next.values, width * sizeof(float));
        return;
    }
    const float most = std::max(known.largest, next.largest);
    const float before = std::exp(known.largest - most), after = std::exp(next.largest - most);
    known.largest = most;
    known.sum = known.sum * before + next.sum * after;
    for (int channel = 0; channel < width; channel += LANES)
        store(known.values + channel, load(known.values + channel) * before + load(next.values + channel) * after);
}

// What R queries see in one segment.
template <class Mode, int R>
void look(const Cache<Mode>& cache, int head, const int32_t* table, int segment, const Query<Mode>* queries, float softcap, Partial* found) {
    using Number = typename Mode::Number;
    int first = queries[0].first, last = queries[0].last;
    for (int row = 1; row < R; ++row) first = std::min(first, queries[row].first), last = std::max(last, queries[row].last);
    const int begin = std::max(segment * SEGMENT, first / BLOCK * BLOCK), end = std::min((segment + 1) * SEGMENT, last + 1);
    for (int row = 0; row < R; ++row) found[row].largest = -INFINITY;
    if (begin >= end) return;
    alignas(64) float logits[R][SEGMENT];
    alignas(64) Number weights[R][SEGMENT];
    const int blocks = (end - begin + BLOCK - 1) / BLOCK;
    Floats most[R];
    for (int row = 0; row < R; ++row) most[row] = all(-INFINITY);
    Ints lanes;
    for (int lane = 0; lane < LANES; ++lane) lanes[lane] = lane;
    constexpr int BESIDE = R <= 3 ? 4 : R <= 6 ? 2 : 1;  // blocks at once, so that few queries do not wait for sums
    for (int block = 0; block < blocks; block += BESIDE) {
        const Number* keys[BESIDE];
        for (int beside = 0; beside < BESIDE; ++beside)
            keys[beside] = cache.keys + cache.at(table[begin / BLOCK + std::min(block + beside, blocks - 1)], head);
        for (int beside = 0; beside < BESIDE; ++beside) {  // the next keys, and the values of these
            const int next = std::min(block + BESIDE + beside, blocks - 1), now = std::min(block + beside, blocks - 1);
            cache.fetch(cache.keys + cache.at(table[begin / BLOCK + next], head));
            cache.fetch(cache.values + cache.at(table[begin / BLOCK + now], head));
        }
        Floats sums[BESIDE][R] = {};
        for (int channel = 0; channel < cache.width; channel += 2)
            for (int beside = 0; beside < BESIDE; ++beside) {
                const auto pair = Mode::pair_at(keys[beside] + channel * LANES);
                for (int row = 0; row < R; ++row)
                    sums[beside][row] = Mode::multiply(sums[beside][row], pair, queries[row].numbers + channel);
            }
        for (int beside = 0; beside < BESIDE && block + beside < blocks; ++beside) {
            const Ints places = lanes + (begin + (block + beside) * BLOCK);
            for (int row = 0; row < R; ++row) {
                Floats logit = sums[beside][row];
                if (softcap > 0) logit = hyperbolic_tangent(logit / softcap) * softcap;
                if (queries[row].slope != 0)
                    logit += __builtin_convertvector(places - queries[row].last, Floats) * queries[row].slope;
                logit = (places < queries[row].first) | (places > queries[row].last) ? all(-INFINITY) : logit;
                most[row] = larger(most[row], logit);
                store(logits[row] + (block + beside) * BLOCK, logit);
            }
        }
    }
    for (int row = 0; row < R; ++row) {
        const float top = largest(most[row]);
        found[row].largest = top;
        Floats sum{};
        for (int block = 0; block < blocks; ++block) {
            const Floats weight = top == -INFINITY ? Floats{} : exponential(load(logits[row] + block * BLOCK) - top);
            sum += weight;
            Mode::store_rounded(weights[row] + block * BLOCK, weight);
        }
        found[row].sum = total(sum);
    }
    const int chunks = cache.width / LANES;
    for (int chunk = 0; chunk < chunks; chunk += 4) {
        const int wide = std::min(4, chunks - chunk);
        Floats sums[R][4] = {};
        for (int block = 0; block < blocks; ++block) {
            const Number* values = cache.values + cache.at(table[begin / BLOCK + block], head) + chunk * 2 * LANES;
            for (int pair = 0; pair < BLOCK / 2; ++pair)
                for (int part = 0; part < 4; ++part) {
                    if (part >= wide) break;
                    const auto both = Mode::pair_at(values + (pair * chunks + part) * 2 * LANES);
                    for (int row = 0; row < R; ++row)
                        sums[row][part] = Mode::multiply(sums[row][part], both, weights[row] + block * BLOCK + pair * 2);
                }
        }
        for (int row = 0; row < R; ++row)
            for (int part = 0; part < wide; ++part) store(found[row].values + (chunk + part) * LANES, sums[row][part]);
    }
}

// What some queries of one head, at most AT_ONCE, see in the segments from `begin` up to `end`; `scratch` holds their
// values once more.
template <class Mode>
void attend(const Cache<Mode>& cache, int head, const int32_t* table, int begin, int end, const Query<Mode>* queries, int num_queries, float softcap, Partial* known, float* scratch) {
    Partial found[AT_ONCE];
    for (int row = 0; row < num_queries; ++row) {
        known[row].largest = -INFINITY, known[row].sum = 0;
        found[row].values = scratch + row * cache.width;
    }
    for (int segment = begin; segment < end; ++segment) {
        switch (num_queries) {
            case 1: look<Mode, 1>(cache, head, table, segment, queries, softcap, found); break;
            case 2: look<Mode, 2>(cache, head, table, segment, queries, softcap, found); break;
            case 3: look<Mode, 3>(cache, head, table, segment, queries, softcap, found); break;
            case 4: look<Mode, 4>(cache, head, table, segment, queries, softcap, found); break;
            case 5: look<Mode, 5>(cache, head, table, segment, queries, softcap, found); break;
            default: look<Mode, 6>(cache, head, table, segment, queries, softcap, found);
        }
        for (int row = 0; row < num_queries; ++row) join(known[row], found[row], cache.width);
    }
}

// (width,) the means, from what was found; a sink is a logit that takes weight and gives nothing.
inline void finish(const Partial& found, float sink, int width, float* to) {
    float sum = found.sum, scale = 1;
    if (sink != -INFINITY) {
        const float most = std::max(found.largest, sink);
        scale = std::exp(found.largest - most);
        sum = sum * scale + std::exp(sink - most);
    }
    for (int channel = 0; channel < width; channel += LANES) store(to + channel, load(found.values + channel) * (scale / sum));
}

}  // namespace stepwell
