// Rows times a packed matrix: x W^T, with weights of 32, 16, 8 or 4 bits.
//
// Sixteen outputs are a panel, whose weights stand together in the order in which a product reads them (`packing.py`
// writes that). Few rows read the codes as they go; for more a panel is unpacked once. All add up the same numbers in
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

// Weights of four panels at once where the sums of all rows stay in registers (few), or where what is unpacked of them
// is read so often that it may leave the first cache (many); between these two panels.
constexpr int FEW_ROWS = 3, MANY_ROWS = 24;
constexpr int CODED_ROWS = 6;  // up to so many read codes, more read panels that were unpacked

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
    Rows from(int number) const { return {row(number), sums_of(number), stride}; }

    void add_up(int number, int channels) const {
        for (int group = 0; group < channels / GROUP; ++group) {
            const auto* from = row(number) + group * GROUP;
            sums_of(number)[group] = total(Mode::load_exact(from) + Mode::load_exact(from + LANES));
        }
    }
};

// Pairs of weights of a panel from its codes, as many at once as the codes are best read.
template <class Mode, int FORMAT>
struct Codes {
    using Pair = typename Mode::Pair;
    static constexpr int AT_ONCE = std::is_same_v<Mode, Exact> ? 1 : 4;
    const uint8_t* panel;

    void read(int pair, Pair* pairs) const;
};

template <>
inline void Codes<Exact, FLOAT32>::read(int pair, Exact::Pair* pairs) const {
    pairs[0] = Exact::pair_at(reinterpret_cast<const float*>(panel) + size_t(pair) * 2 * LANES);
}

template <>
inline void Codes<Exact, BFLOAT16>::read(int pair, Exact::Pair* pairs) const {
    const Ints both = stepwell::read<Ints>(panel + size_t(pair) * sizeof both);
    pairs[0] = {as_floats(both << 16), as_floats(both & int32_t(0xffff0000))};
}

template <>
inline void Codes<Exact, INT8>::read(int pair, Exact::Pair* pairs) const {
    const Ints both = widened(reinterpret_cast<const int16_t*>(panel) + size_t(pair) * LANES);
    pairs[0] = {to_floats(both << 24 >> 24), to_floats(both >> 8)};
}

template <>
inline void Codes<Exact, INT4>::read(int pair, Exact::Pair* pairs) const {
    const Ints four = stepwell::read<Ints>(panel + size_t(pair / 4) * sizeof four);
    const int place = pair % 4 * 4;
    pairs[0] = {to_floats(four >> place & 15), to_floats(four >> (16 + place) & 15)};
}

#if HAS_BFLOAT16
template <>
inline void Codes<Rounded, BFLOAT16>::read(int first, __m512bh* pairs) const {
    const uint16_t* from = reinterpret_cast<const uint16_t*>(panel) + size_t(first) * 2 * LANES;
    for (int pair = 0; pair < 4; ++pair) pairs[pair] = Rounded::pair_at(from + pair * 2 * LANES);
}

template <>
inline void Codes<Rounded, INT8>::read(int first, __m512bh* pairs) const {
    const uint8_t* from = panel + size_t(first) * 2 * LANES;
    for (int pair = 0; pair < 4; ++pair) {
        const __m128i* at = reinterpret_cast<const __m128i*>(from + pair * 2 * LANES);
        const __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at)));
        const __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at + 1)));
        pairs[pair] = _mm512_cvtne2ps_pbh(high, low);
    }
}

template <>
inline void Codes<Rounded, INT4>::read(int first, __m512bh* pairs) const {
    // bfloat16 of 0 to 15, twice: the fifth bit of an index is one of the neighbouring level's
    alignas(64) static const uint16_t LEVELS[32] = {
        0,      0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120,
        0x4130, 0x4140, 0x4150, 0x4160, 0x4170, 0,      0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0,
        0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170};
    const __m512i levels = _mm512_load_si512(LEVELS);
    const __m512i codes = _mm512_loadu_si512(panel + size_t(first) * LANES);
    pairs[0] = __m512bh(_mm512_permutexvar_epi16(codes, levels));
    pairs[1] = __m512bh(_mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 4), levels));
    pairs[2] = __m512bh(_mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 8), levels));
    pairs[3] = __m512bh(_mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 12), levels));
}
#endif

// Pairs of weights that stand as products take them, one at a time: more would have no registers beside many sums.
template <class Mode>
struct Unpacked {
    using Pair = typename Mode::Pair;
    static constexpr int AT_ONCE = 1;
    const typename Mode::Number* panel;

    void read(int pair, Pair* pairs) const { pairs[0] = Mode::kept(Mode::pair_at(panel + size_t(pair) * 2 * LANES)); }
};

template <class Mode, int FORMAT>
void unpack(const uint8_t* panel, int channels, typename Mode::Number* to) {
    const Codes<Mode, FORMAT> codes{panel};
    for (int quad = 0; quad < channels / QUAD; ++quad)
#pragma GCC unroll 4
        for (int first = 0; first < 4; first += codes.AT_ONCE) {
            typename Mode::Pair pairs[codes.AT_ONCE];
            codes.read(quad * 4 + first, pairs);
#pragma GCC unroll 4
            for (int pair = 0; pair < codes.AT_ONCE; ++pair)
                Mode::store_pair(to + size_t(quad * 4 + first + pair) * 2 * LANES, pairs[pair]);
        }
}

// Where products go: (rows, stride) float32, set or added to.
struct Out {
    float* numbers;
    int stride;
    bool adds;

    Out from(int row) const { return {numbers + size_t(row) * stride, stride, adds}; }
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
            if (ahead != nullptr) fetch(ahead + size_t(quad) * QUAD_BYTES, QUAD_BYTES);
#pragma GCC unroll 4
            for (int first = 0; first < 4; first += Panel::AT_ONCE) {
                typename Mode::Pair pairs[P][Panel::AT_ONCE];
#pragma GCC unroll 4
                for (int panel = 0; panel < P; ++panel) panels[panel].read(quad * 4 + first, pairs[panel]);
#pragma GCC unroll 4
                for (int pair = 0; pair < Panel::AT_ONCE; ++pair)
#pragma GCC unroll 12
                    for (int row = 0; row < R; ++row)
#pragma GCC unroll 4
                        for (int panel = 0; panel < P; ++panel)
                            sums[row][panel] = Mode::multiply(sums[row][panel], pairs[panel][pair], x[row] + quad * QUAD + (first + pair) * 2);
            }
        }
        if constexpr (GROUPED) {
#pragma GCC unroll 4
            for (int panel = 0; panel < P; ++panel) {
                const size_t place = size_t(first_panel + panel) * groups + group;
                const uint16_t* grid = matrix.scales + place * (FORMAT == INT4 ? 2 : 1) * LANES;
                const Floats step = load_halves(grid), low = FORMAT == INT4 ? load_halves(grid + LANES) : Floats{};
#pragma GCC unroll 12
                for (int row = 0; row < R; ++row) {
                    if (FORMAT == INT4) totals[row][panel] += low * rows.sums_of(first_row + row)[group];
                    totals[row][panel] += step * sums[row][panel];
                    sums[row][panel] = Floats{};
                }
            }
        }
    }
#pragma GCC unroll 12
    for (int row = 0; row < R; ++row)
#pragma GCC unroll 4
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
    // codes, sums and totals of groups have registers of their own
    constexpr bool CODES = Panel::AT_ONCE > 1, GROUPED = FORMAT == INT8 || FORMAT == INT4;
    constexpr int MOST = CODES ? (P == 4 ? FEW_ROWS : CODED_ROWS) : P == 4 ? 4 : GROUPED ? 6 : 12;
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

// P panels of a product; `scratch` holds as many that are unpacked.
template <class Mode, int FORMAT, int P>
void multiply_some(const Matrix& matrix, const Rows<Mode>& rows, int num_rows, const Out& out, int first, const uint8_t* ahead, typename Mode::Number* scratch) {
    using Number = typename Mode::Number;
    constexpr bool AS_IT_STANDS = FORMAT == FLOAT32 || (FORMAT == BFLOAT16 && std::is_same_v<Number, uint16_t>);
    const auto codes = [&](int panel) { return matrix.codes + matrix.panel_bytes() * (first + panel); };
    if (num_rows <= CODED_ROWS) {
        Codes<Mode, FORMAT> panels[P];
        for (int panel = 0; panel < P; ++panel) panels[panel].panel = codes(panel);
        return multiply_panels<Mode, FORMAT, Codes<Mode, FORMAT>, P>(matrix, first, panels, rows, num_rows, out, ahead);
    }
    Unpacked<Mode> panels[P];
    for (int panel = 0; panel < P; ++panel) {
        if constexpr (!AS_IT_STANDS) {
            Number* to = scratch + size_t(panel) * matrix.channels * LANES;
            unpack<Mode, FORMAT>(codes(panel), matrix.channels, to);
            panels[panel].panel = to;
        } else {
            panels[panel].panel = reinterpret_cast<const Number*>(codes(panel));
        }
    }
    multiply_panels<Mode, FORMAT, Unpacked<Mode>, P>(matrix, first, panels, rows, num_rows, out, ahead);
}

template <class Mode, int FORMAT>
void multiply_share(const Matrix& matrix, const Rows<Mode>& rows, int num_rows, const Out& out, Share panels, typename Mode::Number* scratch) {
    const bool wide = num_rows <= FEW_ROWS || num_rows > MANY_ROWS;
    for (int panel = panels.begin, count; panel < panels.end; panel += count) {
        const int left = panels.end - panel;
        count = wide && left >= 4 ? 4 : std::min(left, 2);
        const uint8_t* ahead = left >= 2 * count ? matrix.codes + matrix.panel_bytes() * (panel + count) : nullptr;
        if (count == 4) multiply_some<Mode, FORMAT, 4>(matrix, rows, num_rows, out, panel, ahead, scratch);
        else if (count == 2) multiply_some<Mode, FORMAT, 2>(matrix, rows, num_rows, out, panel, ahead, scratch);
        else multiply_some<Mode, FORMAT, 1>(matrix, rows, num_rows, out, panel, ahead, scratch);
    }
}

// The share of one thread of `parts` in a product; `scratch` holds four unpacked panels.
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
