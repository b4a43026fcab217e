// A Transformer decoder that extends many texts at once, each by its own number of tokens, over keys and values in
// blocks.
//
// One call is one step: it embeds the rows, takes them through all layers and gives logits for the rows that are asked
// for. A team shares out each part of it: panels of a matrix, rows, or heads.
// What the layers are is what `models/stack.py` computes, which is the truth that tests compare with.

#include <memory>

#include "attention.h"
#include "choice.h"
#include "matmul.h"
#include "threads.h"

namespace stepwell {

struct Norm {
    int32_t kind;  // 0: none, 1: root mean square, 2: layer
    float eps;
    const float *weight, *bias;
};

struct Layer {
    Norm attention_norm, attention_out_norm, mlp_norm, mlp_out_norm, query_norm, key_norm;
    Matrix qkv, out, up, down;
    const float *cosines, *sines;  // (positions, rotated / 2) each, or null
    const float* sinks;            // (heads,), or null
    int32_t rotated, window;       // channels of a head that turn; keys that a query sees, or 0 for all
    void *keys, *values;
};

enum Activation { RELU, SIGMOID, TANH, GELU, GELU_TANH, SILU, RELU2 };
enum Placement { PRE, POST, OUTPUT, SANDWICH };
enum QKNorm { NO_QK_NORM, HEAD, PROJECTION };

struct Shape {
    int32_t layers, width, heads, kv_heads, head_width, hidden_width, vocabulary;
    int32_t activation, gated, placement, parallel, qk_norm, exact, coded, most_rows, blocks;  // coded: keys and values in a byte each
    float scale, softcap, logit_softcap, embedding_scale;
    const void* embedding;   // (vocabulary, width), float32 if exact, else bfloat16
    const float* positions;  // (positions, width), or null
    const float* slopes;     // (heads,), or null
    Norm embedding_norm, norm;
    Matrix head;
};

// What is to be done: text i has the rows from starts[i] up to starts[i + 1], the first of them at places[i], and its
// blocks are tables[i * table_stride ...]. Logits are wanted of the rows `outputs`, in order, (num_outputs, panels of the
// head * 16).
struct Step {
    int32_t num_texts, num_outputs, table_stride;
    const int32_t *token_ids, *starts, *places, *tables, *outputs;
    float* logits;
};

constexpr int ROWS_AT_ONCE = 256;  // of a product, for one thread

constexpr int padded(int count, int unit) { return (count + unit - 1) / unit * unit; }

// The first numbers of sixteen, and zeros.
inline Floats load_some(const float* from, int count) {
    if (count == LANES) return load(from);
    float numbers[LANES] = {};
    std::memcpy(numbers, from, count * sizeof(float));
    return load(numbers);
}

inline Floats first_of(const Floats& x, int count) {
    float numbers[LANES];
    store(numbers, x);
    return load_some(numbers, count);
}

inline Floats activated(Floats x, int kind) {
    switch (kind) {
        case RELU: return larger(x, Floats{});
        case SIGMOID: return 1.0f / (1.0f + exponential(-x));
        case TANH: return hyperbolic_tangent(x);
        case GELU: return x * 0.5f * (1.0f + error_function(x * 0.70710678118654752f));
        case GELU_TANH: return x * 0.5f * (1.0f + hyperbolic_tangent((x + x * x * x * 0.044715f) * 0.79788456080286536f));
        case SILU: return x / (1.0f + exponential(-x));
        default: return larger(x, Floats{}) * larger(x, Floats{});
    }
}

// Numbers from `x` to `to`, (size,), by a norm; none copies.
inline void normalize(const Norm& norm, const float* x, int size, float* to) {
    if (norm.kind == 0) {
        if (to != x) std::memcpy(to, x, size * sizeof(float));
        return;
    }
    float mean = 0, squares = 0;
    const int whole = size / LANES * LANES;
    if (norm.kind == 2) {
        Floats sum{};
        for (int at = 0; at < whole; at += LANES) sum += load(x + at);
        mean = total(sum);
        for (int at = whole; at < size; ++at) mean += x[at];
        mean /= float(size);
    }
    Floats sum{};
    for (int at = 0; at < whole; at += LANES) {
        const Floats off = load(x + at) - mean;
        sum += off * off;
    }
    squares = total(sum);
    for (int at = whole; at < size; ++at) squares += (x[at] - mean) * (x[at] - mean);
    const float scale = 1.0f / std::sqrt(squares / float(size) + norm.eps);
    for (int at = 0; at < size; ++at) {
        const float y = (x[at] - mean) * scale * norm.weight[at];
        to[at] = norm.bias == nullptr ? y : y + norm.bias[at];
    }
}

class Decoding {
   public:
    virtual ~Decoding() = default;
    virtual void extend(const Step& step) = 0;
    virtual void choose(const float* logits, int size, int stride, int count, const int32_t* rows, const Rule* rules, Choice* choices) = 0;
};

template <class Mode, template <class> class Format>
class Decoder final : public Decoding {
    using Number = typename Mode::Number;

   public:
    Decoder(const Shape& shape, const Layer* layers, int threads)
        : s_(shape), layers_(layers, layers + shape.layers), team_(threads) {
        const int rows = s_.most_rows, heads = s_.heads * s_.head_width;
        head_width_ = padded(s_.head_width, LANES);
        stream_width_ = padded(s_.width, GROUP);
        in_width_ = padded(std::max({s_.width, heads, s_.hidden_width}), GROUP);
        int wide = 0, channels = s_.head.channels;
        sums_ = s_.head.format == INT4;
        for (const Layer& layer : layers_) {
            sums_ = sums_ || layer.qkv.format == INT4;
            wide = std::max({wide, layer.qkv.panels() * LANES, layer.up.panels() * LANES});
            channels = std::max({channels, layer.qkv.channels, layer.out.channels, layer.up.channels, layer.down.channels});
        }
        wide_width_ = padded(wide, GROUP);
        stream_.assign(size_t(rows) * stream_width_, 0);
        given_.assign(size_t(rows) * stream_width_, 0);
        wide_.assign(size_t(rows) * wide_width_, 0);
        in_.assign(size_t(rows) * in_width_, 0);
        in_sums_.assign(size_t(rows) * (in_width_ / GROUP), 0);
        queries_.assign(size_t(rows) * s_.heads * head_width_, 0);
        place_.resize(rows), text_.resize(rows);
        for (int rank = 0; rank < threads; ++rank) {
            Own& own = *own_.emplace_back(std::make_unique<Own>());
            own.unpacked.resize(size_t(4) * channels * LANES);
            own.row.resize(std::max({stream_width_, wide_width_, padded(heads, GROUP)}));
            own.values.resize(size_t(2) * AT_ONCE * head_width_);
        }
    }

    void extend(const Step& step) override {
        begin(step);
        plan();
        team_.begin();
        walk(step);
        team_.end();
    }

    void choose(const float* logits, int size, int stride, int count, const int32_t* rows, const Rule* rules, Choice* choices) override {
        if (count > 1) team_.begin();
        team_.each(count, [&](int item, int rank) {
            choices[item] = own_[rank]->chooser.choose(logits + size_t(rows[item]) * stride, size, rules[item]);
        });
        team_.end();
    }

   private:
    struct Own {  // what a thread has for itself
        Chooser chooser;
        Buffer<Number> unpacked;
        Buffer<float> row, values;
    };

    struct Unit {  // rows of one text whose queries look together, at all segments or at a part of them
        int text, row, num_rows, begin, end, partials;
    };

    Rows<Mode> rows() { return {in_.data(), in_sums_.data(), in_width_}; }

    // Which text each row is of, and where it stands in it.
    void begin(const Step& step) {
        num_rows_ = step.starts[step.num_texts];
        for (int text = 0; text < step.num_texts; ++text)
            for (int row = step.starts[text]; row < step.starts[text + 1]; ++row)
                text_[row] = text, place_[row] = step.places[text] + row - step.starts[text];
    }

    // Who looks at what: long texts of few rows are shared by the threads, segment by segment.
    void plan() {
        units_.clear();
        int partials = 0;
        const bool few = num_rows_ * s_.kv_heads < 4 * team_.size();
        for (int row = 0, count; row < num_rows_; row += count) {
            for (count = 1; count < BLOCK && row + count < num_rows_; ++count)
                if (text_[row + count] != text_[row] || place_[row + count] != place_[row] + count) break;
            const int segments = place_[row + count - 1] / SEGMENT + 1;
            if (!few || count > 1 || segments == 1) {
                units_.push_back({text_[row], row, count, 0, segments, -1});
                continue;
            }
            for (int segment = 0; segment < segments; ++segment)
                units_.push_back({text_[row], row, 1, segment, segment + 1, partials++});
        }
        partials_.resize(size_t(partials) * s_.heads);
        partial_values_.resize(size_t(partials) * s_.heads * head_width_);
    }

    // After the keys and values of the last layer, rows of which no logits are wanted are done with: the others move up.
    void keep_outputs(const Step& step) {
        const size_t wide = size_t(s_.heads) * head_width_;
        for (int number = 0; number < step.num_outputs; ++number) {
            const int row = step.outputs[number];  // never before `number`
            if (row == number) continue;
            std::memcpy(stream(number), stream(row), s_.width * sizeof(float));
            std::memcpy(queries_.data() + number * wide, queries_.data() + row * wide, wide * sizeof(Number));
            text_[number] = text_[row], place_[number] = place_[row];
        }
        num_rows_ = step.num_outputs;
        plan();
    }

    void walk(const Step& step) {
        each_row(num_rows_, [&](int row, int rank) { embed(step, row, rank); });
        for (const Layer& layer : layers_) {
            each_row(num_rows_, [&](int row, int rank) { before(layer.attention_norm, row, rank); });
            product(layer.qkv, num_rows_, {wide_.data(), wide_width_, false});
            each_row(num_rows_, [&](int row, int rank) { project(step, layer, row, rank); });
            if (&layer == &layers_.back()) keep_outputs(step);
            see(step, layer);
            product(layer.out, num_rows_, to_stream(false));
            each_row(num_rows_, [&](int row, int rank) {
                after(layer.attention_norm, layer.attention_out_norm, row, rank, false);
                before(layer.mlp_norm, row, rank);
            });
            product(layer.up, num_rows_, {wide_.data(), wide_width_, false});
            each_row(num_rows_, [&](int row, int) { activate(row); });
            product(layer.down, num_rows_, to_stream(s_.parallel));
            each_row(num_rows_, [&](int row, int rank) { after(layer.mlp_norm, layer.mlp_out_norm, row, rank, true); });
        }
        predict(step);
    }

    // Something for each row: a few at once by the caller, more by the team.
    template <class Task>
    void each_row(int count, const Task& task) {
        const int parts = count <= 2 ? 1 : std::min(count, 4 * team_.size());
        team_.each(parts, [&](int part, int rank) {
            const Share share(count, part, parts);
            for (int row = share.begin; row < share.end; ++row) task(row, rank);
        });
    }

    float* stream(int row) { return stream_.data() + size_t(row) * stream_width_; }
    float* given(int row) { return given_.data() + size_t(row) * stream_width_; }

    bool is_direct() const { return s_.placement == PRE && !s_.parallel; }

    // Where attention and MLP write: straight into the stream, or beside it.
    Out to_stream(bool adds) {
        if (is_direct()) return {stream_.data(), stream_width_, true};
        return {given_.data(), stream_width_, adds};
    }

    // Few rows are shared by panels; many by rows too, so that a thread's rows stay in its cache.
    void product(const Matrix& matrix, int num_rows, const Out& out) {
        const int pieces = (num_rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE, quads = std::max(1, matrix.panels() / 4);
        const int parts = pieces > 1 ? quads : std::min(quads, 2 * team_.size());
        team_.each(parts * pieces, [&](int item, int rank) {
            const Share some(num_rows, item % pieces, pieces);
            multiply<Mode>(matrix, rows().from(some.begin), some.size(), out.from(some.begin), item / pieces, parts, own_[rank]->unpacked.data());
        });
    }

    // Numbers as a product reads them; what lies between their end and the next group is zero.
    void take(int row, const float* from, int size) {
        Number* to = rows().row(row);
        int at = 0;
        for (; at + LANES <= size; at += LANES) Mode::store_rounded(to + at, load(from + at));
        for (; at < size; ++at) to[at] = Mode::rounded(from[at]);
        for (; at < padded(size, GROUP); ++at) to[at] = Mode::rounded(0);
        if (sums_) rows().add_up(row, padded(size, GROUP));
    }

    void embed(const Step& step, int row, int rank) {
        float *x = stream(row), *raw = own_[rank]->row.data();
        const size_t from = size_t(step.token_ids[row]) * s_.width;
        for (int channel = 0; channel < s_.width; ++channel) {
            float value = s_.exact ? static_cast<const float*>(s_.embedding)[from + channel]
                                   : from_bfloat16(static_cast<const uint16_t*>(s_.embedding)[from + channel]);
            value *= s_.embedding_scale;
            raw[channel] = s_.positions == nullptr ? value : value + s_.positions[size_t(place_[row]) * s_.width + channel];
        }
        normalize(s_.embedding_norm, raw, s_.width, x);
    }

    // What a part reads: the stream, normalised where the norm stands before.
    void before(const Norm& norm, int row, int rank) {
        const bool norms = s_.placement == PRE || s_.placement == SANDWICH;
        float* x = own_[rank]->row.data();
        normalize(norms ? norm : Norm{}, stream(row), s_.width, x);
        take(row, x, s_.width);
    }

    // The stream with what a part gave, where that was not added already.
    void after(const Norm& norm, const Norm& out_norm, int row, int rank, bool is_last) {
        if (is_direct() || (s_.parallel && !is_last)) return;
        float *x = stream(row), *more = own_[rank]->row.data();
        normalize(s_.placement == OUTPUT ? norm : s_.placement == SANDWICH ? out_norm : Norm{}, given(row), s_.width, more);
        for (int channel = 0; channel < s_.width; ++channel) x[channel] += more[channel];
        if (s_.placement == POST) normalize(norm, x, s_.width, x);
    }

    void turn(const Layer& layer, float* head, int place) {
        if (layer.cosines == nullptr) return;
        const int half = layer.rotated / 2;
        const float *cosine = layer.cosines + size_t(place) * half, *sine = layer.sines + size_t(place) * half;
        for (int channel = 0; channel < half; ++channel) {
            const float first = head[channel], second = head[channel + half];
            head[channel] = first * cosine[channel] - second * sine[channel];
            head[channel + half] = second * cosine[channel] + first * sine[channel];
        }
    }

    // Queries, and keys and values into their block, from what the first product of attention gave.
    void project(const Step& step, const Layer& layer, int row, int rank) {
        const int width = s_.head_width, place = place_[row];
        float *x = wide_.data() + size_t(row) * wide_width_, *key_at = x + s_.heads * width;
        const float* value_at = key_at + s_.kv_heads * width;
        if (s_.qk_norm == PROJECTION) {
            normalize(layer.query_norm, x, s_.heads * width, x);
            normalize(layer.key_norm, key_at, s_.kv_heads * width, key_at);
        }
        for (int head = 0; head < s_.heads; ++head) {
            float* query = x + head * width;
            if (s_.qk_norm == HEAD) normalize(layer.query_norm, query, width, query);
            turn(layer, query, place);
            Number* to = queries_.data() + (size_t(row) * s_.heads + head) * head_width_;
            int channel = 0;
            for (; channel + LANES <= width; channel += LANES) Mode::store_rounded(to + channel, load(query + channel) * s_.scale);
            for (; channel < width; ++channel) to[channel] = Mode::rounded(query[channel] * s_.scale);
        }
        const int32_t block = step.tables[size_t(text_[row]) * step.table_stride + place / BLOCK];
        float *key = own_[rank]->row.data(), *value = key + head_width_;
        std::fill(key, key + 2 * head_width_, 0.0f);
        for (int head = 0; head < s_.kv_heads; ++head) {
            std::memcpy(key, key_at + head * width, width * sizeof(float));
            std::memcpy(value, value_at + head * width, width * sizeof(float));
            if (s_.qk_norm == HEAD) normalize(layer.key_norm, key, width, key);
            turn(layer, key, place);
            cache(layer).write(block, place % BLOCK, head, key, value);
        }
    }

    Cache<Mode, Format> cache(const Layer& layer) const {
        return {static_cast<char*>(layer.keys), static_cast<char*>(layer.values), s_.blocks, head_width_};
    }

    // Attention: units of one key head each; then parts of one text are joined.
    void see(const Step& step, const Layer& layer) {
        const int group = s_.heads / s_.kv_heads, width = s_.heads * s_.head_width;
        const int items = int(units_.size()) * s_.kv_heads;
        team_.each(items, [&](int item, int rank) {
            const Unit& unit = units_[item / s_.kv_heads];
            const int queries = unit.num_rows * group, after = item + team_.size();  // which is likely to be this thread's
            const Ahead next = after < items ? first_keys(step, units_[after / s_.kv_heads], after % s_.kv_heads) : Ahead{};
            for (int at = 0; at < queries; at += AT_ONCE)
                see_some(step, layer, unit, item % s_.kv_heads, at, std::min(AT_ONCE, queries - at), rank, next);
        });
        for (size_t first = 0; first < units_.size(); ++first) {
            if (units_[first].partials < 0) continue;
            size_t last = first + 1;
            while (last < units_.size() && units_[last].row == units_[first].row) ++last;
            for (int head = 0; head < s_.heads; ++head) {
                Partial known = partials_[size_t(units_[first].partials) * s_.heads + head];
                for (size_t unit = first + 1; unit < last; ++unit)
                    join(known, partials_[size_t(units_[unit].partials) * s_.heads + head], head_width_);
                answer(layer, units_[first].row, head, known, own_[0]->values.data());
            }
            first = last - 1;
        }
        each_row(num_rows_, [&](int row, int) {
            Number* to = rows().row(row);
            for (int at = width; at < padded(width, GROUP); ++at) to[at] = Mode::rounded(0);
            if (sums_) rows().add_up(row, padded(width, GROUP));
        });
    }

    // What a unit reads first.
    Ahead first_keys(const Step& step, const Unit& unit, int kv_head) const {
        const int begin = unit.begin * SEGMENT, end = std::min(begin + SEGMENT, place_[unit.row] + 1);
        return {step.tables + size_t(unit.text) * step.table_stride + begin / BLOCK, (end - begin) / BLOCK, kv_head};
    }

    void see_some(const Step& step, const Layer& layer, const Unit& unit, int kv_head, int at, int count, int rank, const Ahead& next) {
        const int group = s_.heads / s_.kv_heads;
        Query<Mode> queries[AT_ONCE];
        Partial known[AT_ONCE];
        float* values = own_[rank]->values.data();
        for (int number = 0; number < count; ++number) {
            const int row = unit.row + (at + number) / group, head = kv_head * group + (at + number) % group;
            const int place = place_[row], first = layer.window ? std::max(0, place - layer.window + 1) : 0;
            queries[number] = {queries_.data() + (size_t(row) * s_.heads + head) * head_width_, first, place,
                               s_.slopes == nullptr ? 0 : s_.slopes[head], 0};
            for (int channel = 0; Format<Mode>::SCALED && channel < head_width_; ++channel)
                queries[number].sum += Mode::exact(queries[number].numbers[channel]);
            known[number].values = values + number * head_width_;
            if (unit.partials >= 0)
                known[number].values = partial_values_.data() + (size_t(unit.partials) * s_.heads + head) * head_width_;
        }
        attend(cache(layer), kv_head, step.tables + size_t(unit.text) * step.table_stride, unit.begin, unit.end,
                     queries, count, s_.softcap, known, values + AT_ONCE * head_width_, next);
        for (int number = 0; number < count; ++number) {
            const int row = unit.row + (at + number) / group, head = kv_head * group + (at + number) % group;
            if (unit.partials >= 0) partials_[size_t(unit.partials) * s_.heads + head] = known[number];
            else answer(layer, row, head, known[number], values + AT_ONCE * head_width_);
        }
    }

    void answer(const Layer& layer, int row, int head, const Partial& found, float* scratch) {
        finish(found, layer.sinks == nullptr ? -INFINITY : layer.sinks[head], head_width_, scratch);
        Number* to = rows().row(row) + head * s_.head_width;
        int channel = 0;
        for (; channel + LANES <= s_.head_width; channel += LANES) Mode::store_rounded(to + channel, load(scratch + channel));
        for (; channel < s_.head_width; ++channel) to[channel] = Mode::rounded(scratch[channel]);
    }

    // What the MLP has inside.
    void activate(int row) {
        const int width = s_.hidden_width;
        const float* x = wide_.data() + size_t(row) * wide_width_;
        Number* to = rows().row(row);
        for (int at = 0; at < padded(width, GROUP); at += LANES) {
            const int wide = std::max(0, std::min(LANES, width - at));
            Floats y = activated(load_some(x + at, wide), s_.activation);
            if (s_.gated) y *= load_some(x + width + at, wide);
            Mode::store_rounded(to + at, wide == LANES ? y : first_of(y, wide));
        }
        if (sums_) rows().add_up(row, padded(width, GROUP));
    }

    void predict(const Step& step) {
        const int stride = s_.head.panels() * LANES;
        each_row(step.num_outputs, [&](int number, int rank) {
            float* x = own_[rank]->row.data();
            normalize(s_.norm, stream(number), s_.width, x);
            take(number, x, s_.width);
        });
        product(s_.head, step.num_outputs, {step.logits, stride, false});
        if (s_.logit_softcap <= 0) return;
        each_row(step.num_outputs, [&](int number, int) {
            float* row = step.logits + size_t(number) * stride;
            for (int at = 0; at < stride; at += LANES)
                store(row + at, hyperbolic_tangent(load(row + at) / s_.logit_softcap) * s_.logit_softcap);
        });
    }

    const Shape s_;
    const std::vector<Layer> layers_;
    Team team_;
    bool sums_;
    int head_width_, stream_width_, in_width_, wide_width_, num_rows_ = 0;
    Buffer<float> stream_, given_, wide_, in_sums_, partial_values_;
    Buffer<Number> in_, queries_;
    std::vector<int> place_, text_;
    std::vector<Unit> units_;
    std::vector<Partial> partials_;
    std::vector<std::unique_ptr<Own>> own_;
};

}  // namespace stepwell

extern "C" {

void* stepwell_new(const stepwell::Shape* shape, const stepwell::Layer* layers, int32_t threads) {
    using namespace stepwell;
    if (shape->exact && shape->coded) return new Decoder<Exact, Coded>(*shape, layers, threads);
    if (shape->exact) return new Decoder<Exact, Whole>(*shape, layers, threads);
    if (shape->coded) return new Decoder<Rounded, Coded>(*shape, layers, threads);
    return new Decoder<Rounded, Whole>(*shape, layers, threads);
}

void stepwell_extend(void* decoder, const stepwell::Step* step) {
    static_cast<stepwell::Decoding*>(decoder)->extend(*step);
}

void stepwell_choose(void* decoder, const float* logits, int32_t size, int32_t stride, int32_t count, const int32_t* rows, const stepwell::Rule* rules, stepwell::Choice* choices) {
    static_cast<stepwell::Decoding*>(decoder)->choose(logits, size, stride, count, rows, rules, choices);
}

void stepwell_free(void* decoder) { delete static_cast<stepwell::Decoding*>(decoder); }

int32_t stepwell_has_bfloat16() { return HAS_BFLOAT16; }
}
