// Rows times a packed matrix: x W^T, with weights of 32, 16, 8 or 4 bits.
//
// Sixteen outputs are a panel, whose weights stand together in the order in which a product reads them (`packing.py`
// writes that). Few rows read the codes as they go; for many a panel is unpacked once. Both add up the same numbers in
// the same order, so a row's answer does not depend on how many rows there are.
#pragma once

#include <algorithm>
#include <type_traits>

#include "threads.h"
#include "vectors.h"

namespace stepwell {

enum Format { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2, INT4 = 3 };

constexpr int GROUP = 32;  // channels that share a grid in INT8 and INT4
constexpr int QUAD = 8;    // channels that are read at once, as four pairs
constexpr int FEW_ROWS = 3;  // up to so many are multiplied by four panels at once

// A matrix (outputs, channels), as ctypes sees it. Channels are padded to whole groups, outputs to whole panels.
struct Matrix {
    int32_t format, outputs, channels;
    const uint8_t* codes;    // panels one after another
    const uint16_t* scales;  // float16; INT8: (panels, groups, 16), steps; INT4: (panels, groups, 2, 16), also lowest levels
    const float* bias;       // (outputs,), or null

    int panels() const { return (outputs + LANES - 1) / LANES; }
    size_t panel_bytes() const { return size_t(channels) * LANES * (32 >> format) / 8; }
};

// Rows that are multiplied, (rows, stride) with zeros after the channels, and for INT4 the sum of each group of a row.
template <class Mode>
struct Rows {
    typename Mode::Number* numbers;
    float* sums;
    int stride;

    typename Mode::Number* row(int number) const { return numbers + size_t(number) * stride; }
    float* sums_of(int number) const { return sums + size_t(number) * (stride / GROUP); }

    void add_up(int number, int channels) const {
        for (int group = 0; group < channels / GROUP; ++group) {
            const auto* from = row(number) + group * GROUP;
            sums_of(number)[group] = total(Mode::load_exact(from) + Mode::load_exact(from + LANES));
        }
    }
};

// Four pairs of weights of a panel from its codes.
template <class Mode, int FORMAT>
struct Codes {
    using Pair = typename Mode::Pair;
    const uint8_t* panel;

    void quad(int number, Pair* pairs) const;
};

template <>
inline void Codes<Exact, FLOAT32>::quad(int number, Exact::Pair* pairs) const {
    const float* from = reinterpret_cast<const float*>(panel) + size_t(number) * QUAD * LANES;
    for (int pair = 0; pair < 4; ++pair) pairs[pair] = Exact::pair_at(from + pair * 2 * LANES);
}

template <>
inline void Codes<Exact, BFLOAT16>::quad(int number, Exact::Pair* pairs) const {
    for (int pair = 0; pair < 4; ++pair) {
        Ints both;
        std::memcpy(&both, panel + (size_t(number) * 4 + pair) * sizeof both, sizeof both);
        pairs[pair] = {as_floats(both << 16), as_floats(both & int32_t(0xffff0000))};
    }
}

template <>
inline void Codes<Exact, INT8>::quad(int number, Exact::Pair* pairs) const {
    for (int pair = 0; pair < 4; ++pair) {
        const int8_t* from = reinterpret_cast<const int8_t*>(panel) + (size_t(number) * 4 + pair) * 2 * LANES;
        for (int lane = 0; lane < LANES; ++lane) {
            pairs[pair].first[lane] = from[2 * lane];
            pairs[pair].second[lane] = from[2 * lane + 1];
        }
    }
}

template <>
inline void Codes<Exact, INT4>::quad(int number, Exact::Pair* pairs) const {
    const uint16_t* from = reinterpret_cast<const uint16_t*>(panel) + size_t(number) * 2 * LANES;
    for (int pair = 0; pair < 4; ++pair)
        for (int lane = 0; lane < LANES; ++lane) {
            pairs[pair].first[lane] = float((from[2 * lane] >> (4 * pair)) & 15);
            pairs[pair].second[lane] = float((from[2 * lane + 1] >> (4 * pair)) & 15);
        }
}

#if HAS_BFLOAT16
template <>
inline void Codes<Rounded, BFLOAT16>::quad(int number, __m512bh* pairs) const {
    const uint16_t* from = reinterpret_cast<const uint16_t*>(panel) + size_t(number) * QUAD * LANES;
    for (int pair = 0; pair < 4; ++pair) pairs[pair] = Rounded::pair_at(from + pair * 2 * LANES);
}

template <>
inline void Codes<Rounded, INT8>::quad(int number, __m512bh* pairs) const {
    const uint8_t* from = panel + size_t(number) * QUAD * LANES;
    for (int pair = 0; pair < 4; ++pair) {
        const __m128i* at = reinterpret_cast<const __m128i*>(from + pair * 2 * LANES);
        const __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at)));
        const __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at + 1)));
        pairs[pair] = _mm512_cvtne2ps_pbh(high, low);
    }
}

template <>
inline void Codes<Rounded, INT4>::quad(int number, __m512bh* pairs) const {
    // bfloat16 of 0 to 15, twice: the fifth bit of an index is one of the neighbouring level's
    alignas(64) static const uint16_t LEVELS[32] = {
        0,      0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120,
        0x4130, 0x4140, 0x4150, 0x4160, 0x4170, 0,      0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0,
        0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170};
    const __m512i levels = _mm512_load_si512(LEVELS);
    const __m512i codes = _mm512_loadu_si512(panel + size_t(number) * 4 * LANES);
    pairs[0] = __m512bh(_mm512_permutexvar_epi16(codes, levels));
    pairs[1] = __m512bh(_mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 4), levels));
    pairs[2] = __m512bh(_mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 8), levels));
    pairs[3] = __m512bh(_mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 12), levels));
}
#endif

// Four pairs of a panel that was unpacked.
template <class Mode>
struct Unpacked {
    using Pair = typename Mode::Pair;
    const typename Mode::Number* panel;

    void quad(int number, Pair* pairs) const {
        for (int pair = 0; pair < 4; ++pair) pairs[pair] = Mode::pair_at(panel + (size_t(number) * 4 + pair) * 2 * LANES);
    }
};

template <class Mode, int FORMAT>
void unpack(const uint8_t* panel, int channels, typename Mode::Number* to) {
    const Codes<Mode, FORMAT> codes{panel};
    for (int quad = 0; quad < channels / QUAD; ++quad) {
        typename Mode::Pair pairs[4];
        codes.quad(quad, pairs);
        std::memcpy(to + size_t(quad) * QUAD * LANES, pairs, sizeof pairs);
    }
}

// Where products go: (rows, stride) float32, set or added to.
struct Out {
    float* numbers;
    int stride;
    bool adds;
};

inline void fetch(const uint8_t* from, int bytes) {
    for (int at = 0; at < bytes; at += 64) __builtin_prefetch(from + at, 0, 2);
}

// R rows times P panels; meanwhile as many codes from `ahead` on are fetched, where that is not null.
template <class Mode, int FORMAT, class Panel, int R, int P>
inline void multiply_block(const Matrix& matrix, int first_panel, const Panel* panels, const Rows<Mode>& rows, int first_row, const Out& out, const uint8_t* ahead) {
    constexpr int QUAD_BYTES = P * QUAD * LANES * (32 >> FORMAT) / 8;
    Floats sums[R][P] = {}, totals[R][P] = {};
    const typename Mode::Number* x[R];
    for (int row = 0; row < R; ++row) x[row] = rows.row(first_row + row);
    constexpr bool GROUPED = FORMAT == INT8 || FORMAT == INT4;
    const int groups = GROUPED ? matrix.channels / GROUP : 1, quads = matrix.channels / QUAD / groups;
    for (int group = 0; group < groups; ++group) {
        for (int quad = group * quads; quad < (group + 1) * quads; ++quad) {
            typename Mode::Pair pairs[P][4];
            for (int panel = 0; panel < P; ++panel) panels[panel].quad(quad, pairs[panel]);
            if (ahead != nullptr) fetch(ahead + size_t(quad) * QUAD_BYTES, QUAD_BYTES);
            for (int pair = 0; pair < 4; ++pair)
                for (int row = 0; row < R; ++row)
                    for (int panel = 0; panel < P; ++panel)
                        sums[row][panel] = Mode::multiply(sums[row][panel], pairs[panel][pair], x[row] + quad * QUAD + pair * 2);
        }
        if constexpr (GROUPED) {
            for (int panel = 0; panel < P; ++panel) {
                const size_t place = size_t(first_panel + panel) * groups + group;
                const uint16_t* grid = matrix.scales + place * (FORMAT == INT4 ? 2 : 1) * LANES;
                const Floats step = load_halves(grid), low = FORMAT == INT4 ? load_halves(grid + LANES) : Floats{};
                for (int row = 0; row < R; ++row) {
                    if (FORMAT == INT4) totals[row][panel] += low * rows.sums_of(first_row + row)[group];
                    totals[row][panel] += step * sums[row][panel];
                    sums[row][panel] = Floats{};
                }
            }
        }
    }
    for (int row = 0; row < R; ++row)
        for (int panel = 0; panel < P; ++panel) {
            const int column = (first_panel + panel) * LANES;
            Floats y = GROUPED ? totals[row][panel] : sums[row][panel];
            if (matrix.bias != nullptr) y += load(matrix.bias + column);
            float* place = out.numbers + size_t(first_row + row) * out.stride + column;
            store(place, out.adds ? load(place) + y : y);
        }
}

// All rows times P panels, some rows at a time.
template <class Mode, int FORMAT, class Panel, int P>
void multiply_panels(const Matrix& matrix, int first_panel, const Panel* panels, const Rows<Mode>& rows, int num_rows, const Out& out, const uint8_t* ahead) {
    // at four panels there are few rows; sums and totals of groups have registers of their own
    constexpr int MOST = P == 4 ? FEW_ROWS : FORMAT == INT8 || FORMAT == INT4 ? 6 : 12;
    const int blocks = (num_rows + MOST - 1) / MOST;
    for (int block = 0; block < blocks; ++block) {
        const Share share(num_rows, block, blocks);
        for (int row = share.begin; row < share.end;) {
            const int left = share.end - row;
#define BLOCK_OF(R)                                                                          \
    if constexpr (R <= MOST) if (left >= R) {                                                \
        multiply_block<Mode, FORMAT, Panel, R, P>(matrix, first_panel, panels, rows, row, out, ahead); \
        row += R;                                                                            \
        ahead = nullptr;                                                                     \
        continue;                                                                            \
    }
            BLOCK_OF(12) BLOCK_OF(10) BLOCK_OF(8) BLOCK_OF(6) BLOCK_OF(5) BLOCK_OF(4) BLOCK_OF(3) BLOCK_OF(2) BLOCK_OF(1)
#undef BLOCK_OF
        }
    }
}

// Some panels of a product; `scratch` holds two unpacked panels.
template <class Mode, int FORMAT>
void multiply_share(const Matrix& matrix, const Rows<Mode>& rows, int num_rows, const Out& out, Share panels, typename Mode::Number* scratch) {
    using Read = Codes<Mode, FORMAT>;
    constexpr bool UNPACKS = FORMAT == INT8 || FORMAT == INT4;
    const size_t bytes = matrix.panel_bytes(), unpacked = size_t(matrix.channels) * LANES;
    const auto codes = [&](int number) { return Read{matrix.codes + bytes * number}; };
    int panel = panels.begin;
    if (num_rows <= FEW_ROWS) {
        for (; panel + 4 <= panels.end; panel += 4) {
            const Read four[4] = {codes(panel), codes(panel + 1), codes(panel + 2), codes(panel + 3)};
            const uint8_t* ahead = panel + 8 <= panels.end ? codes(panel + 4).panel : nullptr;
            multiply_panels<Mode, FORMAT, Read, 4>(matrix, panel, four, rows, num_rows, out, ahead);
        }
    }
    for (; panel < panels.end; panel += 2) {
        const bool both = panel + 1 < panels.end;
        const uint8_t* ahead = panel + 4 <= panels.end ? codes(panel + 2).panel : nullptr;
        if (UNPACKS && num_rows > 6) {
            unpack<Mode, FORMAT>(codes(panel).panel, matrix.channels, scratch);
            if (both) unpack<Mode, FORMAT>(codes(panel + 1).panel, matrix.channels, scratch + unpacked);
            const Unpacked<Mode> two[2] = {{scratch}, {scratch + unpacked}};
            if (both) multiply_panels<Mode, FORMAT, Unpacked<Mode>, 2>(matrix, panel, two, rows, num_rows, out, ahead);
            else multiply_panels<Mode, FORMAT, Unpacked<Mode>, 1>(matrix, panel, two, rows, num_rows, out, ahead);
        } else {
            const Read two[2] = {codes(panel), codes(both ? panel + 1 : panel)};
            if (both) multiply_panels<Mode, FORMAT, Read, 2>(matrix, panel, two, rows, num_rows, out, ahead);
            else multiply_panels<Mode, FORMAT, Read, 1>(matrix, panel, two, rows, num_rows, out, ahead);
        }
    }
}

// The share of one thread of `parts` in a product.
template <class Mode>
void multiply(const Matrix& matrix, const Rows<Mode>& rows, int num_rows, const Out& out, int part, int parts, typename Mode::Number* scratch) {
    Share panels((matrix.panels() + 1) / 2, part, parts);  // pairs of panels, which share what is read of the rows
    panels.begin *= 2, panels.end = std::min(2 * panels.end, matrix.panels());
    if constexpr (std::is_same_v<Mode, Exact>)
        if (matrix.format == FLOAT32) return multiply_share<Mode, FLOAT32>(matrix, rows, num_rows, out, panels, scratch);
    if constexpr (std::is_same_v<Mode, Rounded>) {  // fewer bits are never multiplied exactly where they can be rounded
        if (matrix.format == BFLOAT16) multiply_share<Mode, BFLOAT16>(matrix, rows, num_rows, out, panels, scratch);
        else if (matrix.format == INT8) multiply_share<Mode, INT8>(matrix, rows, num_rows, out, panels, scratch);
        else multiply_share<Mode, INT4>(matrix, rows, num_rows, out, panels, scratch);
    }
}

}  // namespace stepwell
