// Attention over keys and values that stand in blocks of sixteen tokens, anywhere in a pool.
//
// Keys are taken in segments whose borders are places in the text, each with a softmax of its own, and segments are
// joined in their order. So a query's answer depends neither on the queries beside it, nor on how a prompt was cut, nor
// on whether threads share its segments. Keys that a query may not see weigh nothing. Keys and values are held as
// products read them, or in a byte each.
#pragma once

#include <algorithm>

#include "vectors.h"

namespace stepwell {

constexpr int BLOCK = 16;     // tokens
constexpr int SEGMENT = 256;  // tokens
constexpr int AT_ONCE = 6;    // queries that share what is read of the keys

// A block of keys or values as products read them.
template <class Mode>
struct Whole {
    using Item = typename Mode::Number;
    static constexpr bool SCALED = false;

    static size_t size(int width) { return size_t(width) * BLOCK * sizeof(Item); }
    static Item* items(char* block) { return reinterpret_cast<Item*>(block); }
    static const Item* items(const char* block) { return reinterpret_cast<const Item*>(block); }
    static Floats scales(const char*) { return all(1.0f); }
    static typename Mode::Pair pair_at(const Item* from) { return Mode::pair_at(from); }

    // What `item` of a token is held as, by its place.
    template <class Place>
    static void write(char* block, int, const float* numbers, int width, const Place& place) {
        for (int channel = 0; channel < width; ++channel) items(block)[place(channel)] = Mode::rounded(numbers[channel]);
    }
};

// A block in bytes: a scale for each of its tokens, and codes from 1 to 127, of which 64 is zero. The products take
// numbers that are higher by an offset, since those are quickly made of codes; what that adds is taken off their sum.
template <class Mode>
struct Coded {
    using Item = uint8_t;
    static constexpr bool SCALED = true;
    static constexpr size_t SCALES = BLOCK * sizeof(float);

    static size_t size(int width) { return SCALES + size_t(width) * BLOCK; }
    static Item* items(char* block) { return reinterpret_cast<Item*>(block + SCALES); }
    static const Item* items(const char* block) { return reinterpret_cast<const Item*>(block + SCALES); }
    static Floats scales(const char* block) { return load(reinterpret_cast<const float*>(block)); }
    static typename Mode::Pair pair_at(const Item* from) { return Mode::pair_of(from); }

    template <class Place>
    static void write(char* block, int slot, const float* numbers, int width, const Place& place) {
        float most = 0;
        for (int channel = 0; channel < width; ++channel) most = std::max(most, std::fabs(numbers[channel]));
        reinterpret_cast<float*>(block)[slot] = most / 63;
        const float scale = most > 0 ? 63 / most : 0;
        for (int channel = 0; channel < width; ++channel)
            items(block)[place(channel)] = Item(64 + std::lrintf(numbers[channel] * scale));
    }
};

// Keys and values of one layer: (kv heads, blocks) of `Held`, so that blocks that follow each other are read in one go.
template <class Mode, template <class> class Format>
struct Cache {
    using Held = Format<Mode>;
    char *keys, *values;
    int blocks, width;  // how many blocks there are; of a head, a multiple of 16

    size_t at(int block, int head) const { return (size_t(head) * blocks + block) * Held::size(width); }

    void write(int block, int slot, int head, const float* key, const float* value) const {
        Held::write(keys + at(block, head), slot, key, width, [&](int channel) { return Mode::place(channel, slot); });
        Held::write(values + at(block, head), slot, value, width, [&](int channel) {
            const int lane = channel % LANES, chunk = channel / LANES;
            return ((slot / 2) * (width / LANES) + chunk) * 2 * LANES + Mode::place(slot % 2, lane);
        });
    }
};

// Blocks of one head's keys or values that are read later, or none.
struct Ahead {
    const int32_t* table;
    int blocks, head;
};

// Fetch what step `number` of a loop over the pairs of a block will read of another block. A line at a time beside the
// products: all of it at once would keep them waiting.
template <class Held>
inline void fetch(const char* block, int number) {
    constexpr int STEP = 2 * LANES * sizeof(typename Held::Item), LINE = 64;
    if (Held::SCALED && number == 0) __builtin_prefetch(block, 0, 2);
    if (STEP < LINE && number % (LINE / STEP) != 0) return;
    const char* from = reinterpret_cast<const char*>(Held::items(block)) + size_t(number) * STEP;
    for (int at = 0; at < STEP; at += LINE) __builtin_prefetch(from + at, 0, 2);
}

// One query of one head.
template <class Mode>
struct Query {
    const typename Mode::Number* numbers;  // (width,), scaled
    int first, last;                       // keys that it sees
    float slope;                           // what a step away costs (ALiBi), or 0
    float sum;                             // of its numbers
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
    const float before = most == known.largest ? 1 : std::exp(known.largest - most);
    const float after = most == next.largest ? 1 : std::exp(next.largest - most);
    known.largest = most;
    known.sum = known.sum * before + next.sum * after;
    for (int channel = 0; channel < width; channel += LANES)
        store(known.values + channel, load(known.values + channel) * before + load(next.values + channel) * after);
}

// The values of some blocks, `WIDE` times sixteen channels of them, weighed for R queries. What is added up stays in
// registers: loops whose ends the compiler knows, and unrolls. The keys of `next` are fetched meanwhile.
template <class Mode, int R, int WIDE, template <class> class Format>
void weigh(const Cache<Mode, Format>& cache, int head, const int32_t* table, int blocks, int chunk, const typename Mode::Number* weights, const float* above, Partial* found, const Ahead& next) {
    using Held = Format<Mode>;
    const int chunks = cache.width / LANES;
    Floats sums[R][WIDE] = {};
    for (int block = 0; block < blocks; ++block) {
        const char* ahead = block < next.blocks ? cache.keys + cache.at(next.table[block], next.head) : nullptr;
        const auto* values = Held::items(static_cast<const char*>(cache.values + cache.at(table[block], head))) + chunk * 2 * LANES;
        for (int pair = 0; pair < BLOCK / 2; ++pair)
#pragma GCC unroll 4
            for (int part = 0; part < WIDE; ++part) {
                const auto both = Held::pair_at(values + (pair * chunks + part) * 2 * LANES);
                if (ahead != nullptr) fetch<Held>(ahead, pair * chunks + chunk + part);
#pragma GCC unroll 6
                for (int row = 0; row < R; ++row)
                    sums[row][part] = Mode::multiply(sums[row][part], both, weights + row * SEGMENT + block * BLOCK + pair * 2);
            }
    }
#pragma GCC unroll 6
    for (int row = 0; row < R; ++row)
#pragma GCC unroll 4
        for (int part = 0; part < WIDE; ++part)
            store(found[row].values + (chunk + part) * LANES, sums[row][part] - above[row]);
}

// What R queries see in one segment; `next` is what is looked at after it.
template <class Mode, int R, template <class> class Format>
void look(const Cache<Mode, Format>& cache, int head, const int32_t* table, int segment, const Query<Mode>* queries, float softcap, Partial* found, const Ahead& next) {
    using Number = typename Mode::Number;
    using Held = Format<Mode>;
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
    static constexpr int32_t LANE[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const Ints lanes = read<Ints>(LANE);
    constexpr int BESIDE = R <= 3 ? 4 : R <= 6 ? 2 : 1;  // blocks at once, so that few queries do not wait for sums
    for (int block = 0; block < blocks; block += BESIDE) {
        const char *keys[BESIDE], *next_keys[BESIDE], *values[BESIDE];
        for (int beside = 0; beside < BESIDE; ++beside) {
            const int32_t *now = table + begin / BLOCK + std::min(block + beside, blocks - 1);
            const int32_t *later = table + begin / BLOCK + std::min(block + BESIDE + beside, blocks - 1);
            keys[beside] = cache.keys + cache.at(*now, head), values[beside] = cache.values + cache.at(*now, head);
            next_keys[beside] = cache.keys + cache.at(*later, head);
        }
        Floats sums[BESIDE][R] = {};
        for (int channel = 0; channel < cache.width; channel += 2)
#pragma GCC unroll 4
            for (int beside = 0; beside < BESIDE; ++beside) {
                const auto pair = Held::pair_at(Held::items(keys[beside]) + channel * LANES);
                fetch<Held>(next_keys[beside], channel / 2), fetch<Held>(values[beside], channel / 2);
#pragma GCC unroll 6
                for (int row = 0; row < R; ++row)
                    sums[beside][row] = Mode::multiply(sums[beside][row], pair, queries[row].numbers + channel);
            }
        alignas(64) float dots[BESIDE][R][LANES];
#pragma GCC unroll 4
        for (int beside = 0; beside < BESIDE; ++beside)
#pragma GCC unroll 6
            for (int row = 0; row < R; ++row) store(dots[beside][row], sums[beside][row]);
        for (int beside = 0; beside < BESIDE && block + beside < blocks; ++beside) {
            const Ints places = lanes + (begin + (block + beside) * BLOCK);
            const Floats scales = Held::scales(keys[beside]);
            for (int row = 0; row < R; ++row) {
                Floats logit = load(dots[beside][row]);
                if (Held::SCALED) logit = (logit - Mode::CODE_OFFSET * queries[row].sum) * scales;
                if (softcap > 0) logit = hyperbolic_tangent(logit / softcap) * softcap;
                if (queries[row].slope != 0)
                    logit += to_floats(places - queries[row].last) * queries[row].slope;
                logit = where((places < queries[row].first) | (places > queries[row].last), all(-INFINITY), logit);
                most[row] = larger(most[row], logit);
                store(logits[row] + (block + beside) * BLOCK, logit);
            }
        }
    }
    float above[R];  // what the offset of codes adds to the values
    for (int row = 0; row < R; ++row) {
        const float top = largest(most[row]);
        found[row].largest = top;
        Floats sum{}, rounded{};
        for (int block = 0; block < blocks; ++block) {
            Floats weight = top == -INFINITY ? Floats{} : exponential(load(logits[row] + block * BLOCK) - top);
            sum += weight;
            if (Held::SCALED) weight *= Held::scales(cache.values + cache.at(table[begin / BLOCK + block], head));
            Mode::store_rounded(weights[row] + block * BLOCK, weight);
            if (Held::SCALED) rounded += Mode::load_exact(weights[row] + block * BLOCK);
        }
        found[row].sum = total(sum);
        above[row] = Held::SCALED ? Mode::CODE_OFFSET * total(rounded) : 0;
    }
    const int chunks = cache.width / LANES;
    int chunk = 0;
    for (; chunk + 4 <= chunks; chunk += 4) weigh<Mode, R, 4>(cache, head, table + begin / BLOCK, blocks, chunk, weights[0], above, found, next);
    for (; chunk < chunks; ++chunk) weigh<Mode, R, 1>(cache, head, table + begin / BLOCK, blocks, chunk, weights[0], above, found, next);
}

// What some queries of one head, at most AT_ONCE, see in the segments from `begin` up to `end`; `scratch` holds their
// values once more and `later` is what is read after them.
template <class Mode, template <class> class Format>
void attend(const Cache<Mode, Format>& cache, int head, const int32_t* table, int begin, int end, const Query<Mode>* queries, int num_queries, float softcap, Partial* known, float* scratch, const Ahead& later) {
    Partial found[AT_ONCE];
    for (int row = 0; row < num_queries; ++row) {
        known[row].largest = -INFINITY, known[row].sum = 0;
        found[row].values = scratch + row * cache.width;
    }
    for (int segment = begin; segment < end; ++segment) {
        const int place = (segment + 1) * SEGMENT, left = queries[num_queries - 1].last + 1 - place;
        const Ahead same{table + place / BLOCK, std::min(left, SEGMENT) / BLOCK, head}, &next = segment + 1 < end ? same : later;
        switch (num_queries) {
            case 1: look<Mode, 1>(cache, head, table, segment, queries, softcap, found, next); break;
            case 2: look<Mode, 2>(cache, head, table, segment, queries, softcap, found, next); break;
            case 3: look<Mode, 3>(cache, head, table, segment, queries, softcap, found, next); break;
            case 4: look<Mode, 4>(cache, head, table, segment, queries, softcap, found, next); break;
            case 5: look<Mode, 5>(cache, head, table, segment, queries, softcap, found, next); break;
            default: look<Mode, 6>(cache, head, table, segment, queries, softcap, found, next);
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
