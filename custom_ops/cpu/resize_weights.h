// The integer weights of Pillow's antialiased bilinear filter along one side of a picture.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace mindvideo {

constexpr int kPrecision = 32 - 8 - 2;
constexpr int kHalf = 1 << (kPrecision - 1);
constexpr int kLowBits = 11;
constexpr int kDigits = 3;

// Weights of the results `begin` to `end` along one side that goes from `length` to `new_length` pixels. They have up
// to 23 bits, and the quick multiplications take 16 or 8: those are given groups of four taps, the rest of the last
// group zero.
struct Weights {
    int taps = 0;                // most sources of one result
    int fours = 0;               // groups of four sources that hold them
    std::vector<int> first;      // first source of each result
    std::vector<int> count;      // sources of each result
    std::vector<int32_t> value;  // [results, taps]
    std::vector<int16_t> low;    // [results, fours, 4]: the lower 11 bits of each weight
    std::vector<int16_t> high;   // and the others
    std::vector<int8_t> digit[kDigits];  // [fours, results, 4]: weight = digit 0 + 256 digit 1 + 65536 digit 2

    std::size_t results() const { return first.size(); }

    // Four digits of result i, followed by those of the next results.
    const int8_t* digits_of(int d, int i, int four) const { return digit[d].data() + 4 * (four * results() + i); }
};

inline double triangle(double x) {
    x = std::fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

inline Weights weights_of(int length, int new_length, int begin, int end) {
    const double scale = static_cast<double>(length) / new_length;
    const double filter_scale = std::max(scale, 1.0);
    const double support = filter_scale;
    const int most_taps = static_cast<int>(std::ceil(support)) * 2 + 1;
    Weights made;
    const int results = end - begin;
    made.first.resize(results);
    made.count.resize(results);
    std::vector<int32_t> values(static_cast<std::size_t>(results) * most_taps, 0);
    std::vector<double> exact(most_taps);
    const double inverse = 1.0 / filter_scale;
    for (int i = 0; i < results; ++i) {
        const double centre = (begin + i + 0.5) * scale;
        const int low = std::max(0, static_cast<int>(centre - support + 0.5));
        const int high = std::min(length, static_cast<int>(centre + support + 0.5));
        const int count = high - low;
        double sum = 0.0;
        for (int k = 0; k < count; ++k) {
            exact[k] = triangle((k + low - centre + 0.5) * inverse);
            sum += exact[k];
        }
        for (int k = 0; k < count; ++k) {
            const double share = sum != 0.0 ? exact[k] / sum : exact[k];
            values[static_cast<std::size_t>(i) * most_taps + k] =
                static_cast<int32_t>(share < 0 ? -0.5 + share * (1 << kPrecision) : 0.5 + share * (1 << kPrecision));
        }
        made.first[i] = low;
        made.count[i] = count;
        made.taps = std::max(made.taps, count);
    }
    made.value.resize(static_cast<std::size_t>(results) * made.taps);
    for (int i = 0; i < results; ++i) {
        const auto source = values.begin() + static_cast<std::ptrdiff_t>(i) * most_taps;
        std::copy(source, source + made.taps, made.value.begin() + static_cast<std::ptrdiff_t>(i) * made.taps);
    }
    made.fours = (made.taps + 3) / 4;
    return made;
}

inline void split_into_halves(Weights& weights) {
    weights.low.assign(weights.results() * weights.fours * 4, 0);
    weights.high.assign(weights.results() * weights.fours * 4, 0);
    for (std::size_t i = 0; i < weights.results(); ++i) {
        for (int k = 0; k < weights.count[i]; ++k) {
            const int32_t weight = weights.value[i * weights.taps + k];
            weights.low[i * weights.fours * 4 + k] = static_cast<int16_t>(weight & ((1 << kLowBits) - 1));
            weights.high[i * weights.fours * 4 + k] = static_cast<int16_t>(weight >> kLowBits);
        }
    }
}

// Digits of -128..127, because the quick multiplication takes signed bytes.
inline void split_into_digits(Weights& weights) {
    for (auto& digits : weights.digit) digits.assign(weights.results() * weights.fours * 4, 0);
    for (std::size_t i = 0; i < weights.results(); ++i) {
        for (int k = 0; k < weights.count[i]; ++k) {
            int32_t rest = weights.value[i * weights.taps + k];
            for (auto& digits : weights.digit) {
                const int32_t digit = ((rest + 128) & 255) - 128;
                digits[4 * (k / 4 * weights.results() + i) + k % 4] = static_cast<int8_t>(digit);
                rest = (rest - digit) >> 8;
            }
        }
    }
}

}  // namespace mindvideo
