// Texts: UTF-8, splitting, case, regular expressions, n-grams.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/nn/tensor.hpp"

namespace kernels {
namespace nn {

// The code point that begins at `at`, which moves behind it; -1 for a byte that begins none.
inline std::int32_t next_code(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::int32_t first = byte(at++);
  if (first < 0x80) return first;
  const int more = first >= 0xF0 && first < 0xF5 ? 3 : first >= 0xE0 && first < 0xF0 ? 2 : first >= 0xC2 && first < 0xE0 ? 1 : 0;
  if (more == 0 || at + static_cast<std::size_t>(more) > text.size()) return -1;
  std::int32_t code = first & (0x3F >> more);
  for (int i = 0; i < more; ++i) {
    const std::int32_t low = byte(at + static_cast<std::size_t>(i));
    if ((low & 0xC0) != 0x80) return -1;
    code = code << 6 | (low & 0x3F);
  }
  constexpr std::int32_t least[] = {0, 0x80, 0x800, 0x10000};
  if (code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return -1;
  at += static_cast<std::size_t>(more);
  return code;
}

inline void append_code(std::int32_t code, std::string& to) {
  const auto put = [&](std::int32_t byte) { to += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F)), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  }
}

// Splitting. Python's `split` is the definition: without a delimiter at runs of white space, of which none is at an end of a part.

inline bool is_space(std::int32_t code) {
  return (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

// Calls `part` with each part; at most `most` splits, any number if it is negative.
template <class F>
inline std::int64_t split_text(std::string_view text, std::string_view delimiter, std::int64_t most, const F& part) {
  std::int64_t count = 0;
  std::size_t at = 0;
  if (!delimiter.empty()) {
    for (; most < 0 || count < most; ++count) {
      const std::size_t end = text.find(delimiter, at);
      if (end == std::string_view::npos) break;
      part(text.substr(at, end - at));
      at = end + delimiter.size();
    }
    part(text.substr(at));
    return count + 1;
  }
  while (true) {
    std::size_t begin = at;
    while (at < text.size() && is_space(next_code(text, at))) begin = at;
    if (begin >= text.size()) return count;
    if (most >= 0 && count == most) {
      part(text.substr(begin));
      return count + 1;
    }
    std::size_t end = begin;
    for (at = begin; at < text.size();) {
      if (is_space(next_code(text, at))) break;
      end = at;
    }
    part(text.substr(begin, end - begin));
    ++count;
  }
}

// The number of parts of each text; the largest comes back.
inline std::int64_t count_parts(const std::string* texts, std::int64_t n, std::string_view delimiter, std::int64_t most, std::int64_t* counts) {
  std::int64_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    counts[i] = split_text(texts[i], delimiter, most, [](std::string_view) {});
    largest = std::max(largest, counts[i]);
  }
  return largest;
}

// The parts, `width` of each text; those that are missing are empty.
inline void split_texts(const std::string* texts, std::int64_t n, std::string_view delimiter, std::int64_t most, std::int64_t width, std::string* to) {
  for (std::int64_t i = 0; i < n; ++i, to += width) {
    std::int64_t j = 0;
    split_text(texts[i], delimiter, most, [&](std::string_view part) { to[j++] = part; });
    for (; j < width; ++j) to[j].clear();
  }
}

// Case. The table has rows of four: a code point, and what it becomes, up to three code points with -1 behind them.
inline std::string changed_case(std::string_view text, const std::int32_t* table, std::int64_t rows) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const std::int32_t code = next_code(text, at);
    std::int64_t low = 0, high = rows;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (table[4 * middle] < code) low = middle + 1;
      else high = middle;
    }
    if (code < 0 || low == rows || table[4 * low] != code) {
      result.append(text.substr(start, at - start));
    } else {
      for (int i = 1; i < 4 && table[4 * low + i] >= 0; ++i) append_code(table[4 * low + i], result);
    }
  }
  return result;
}

struct CaseTable {
  const std::int32_t* rows = nullptr;
  std::int64_t count = 0;
};

// The texts that are no stop words, in another case; an empty text if there are none. `stops` is sorted, and in lower case if the case of
// words does not matter, which `compare` then brings about. The number of texts comes back.
inline std::int64_t normalize_texts(const std::string* texts, std::int64_t n, const std::string* stops, std::int64_t n_stops, CaseTable compare,
                                    CaseTable change, Strings& to) {
  to.values.clear();
  for (std::int64_t i = 0; i < n; ++i) {
    const bool stopped = n_stops > 0 && std::binary_search(stops, stops + n_stops, compare.rows ? changed_case(texts[i], compare.rows, compare.count) : texts[i]);
    if (!stopped) to.values.push_back(change.rows ? changed_case(texts[i], change.rows, change.count) : texts[i]);
  }
  if (to.values.empty()) to.values.emplace_back();
  return static_cast<std::int64_t>(to.values.size());
}

// Regular expressions, as automata whose states are walked all at once (K. Thompson, Commun. ACM 11 (1968) 419).
struct Automaton {
  const std::int32_t* states;      // triples: kind, argument, next state
  std::int32_t n_states;
  const std::int32_t* ranges;      // pairs of code points
  const std::int32_t* set_begins;  // of each set among the ranges, and behind the last
};

// `work` has room for 4 numbers for each state.
inline bool matches(const Automaton& automaton, std::string_view text, std::int32_t* work) {
  enum { set, split, assertion };
  const std::int32_t n = automaton.n_states;
  std::int32_t *now = work, *then = work + n, *stack = work + 2 * n, *seen = work + 3 * n;
  const auto in_set = [&](std::int32_t number, std::int32_t code) {
    std::int32_t low = automaton.set_begins[number], high = automaton.set_begins[number + 1];
    while (low < high) {
      const std::int32_t middle = (low + high) / 2;
      if (automaton.ranges[2 * middle + 1] < code) low = middle + 1;
      else high = middle;
    }
    return low < automaton.set_begins[number + 1] && automaton.ranges[2 * low] <= code;
  };
  const auto in_word = [](std::int32_t code) {
    return (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') || (code >= 'a' && code <= 'z') || code == '_';
  };
  constexpr std::int32_t outside = -2;
  std::fill(seen, seen + n, -1);
  std::int32_t n_then = 1, before = outside, round = 0;
  then[0] = 0;
  for (std::size_t at = 0;; ++round) {
    const bool ends = at == text.size();
    const std::int32_t code = ends ? outside : next_code(text, at);
    const auto holds = [&](std::int32_t kind) {
      switch (kind) {
        case 0: return before == outside;
        case 1: return ends;
        case 2: return before == outside || before == '\n';
        case 3: return ends || code == '\n';
        default: return (in_word(before) != in_word(code)) == (kind == 4);
      }
    };
    // All states that are reached without a character, from those behind the last.
    std::int32_t n_now = 0, n_stack = 0;
    bool matched = false;
    const auto reach = [&](std::int32_t state) {
      if (seen[state] != round) {
        seen[state] = round;
        stack[n_stack++] = state;
      }
    };
    for (std::int32_t i = 0; i < n_then; ++i) reach(then[i]);
    while (n_stack > 0) {
      const std::int32_t state = stack[--n_stack];
      const std::int32_t* const item = automaton.states + 3 * state;
      if (item[0] == set) {
        now[n_now++] = state;
      } else if (item[0] == split) {
        reach(item[1]);
        reach(item[2]);
      } else if (item[0] == assertion) {
        if (holds(item[1])) reach(item[2]);
      } else {
        matched = true;
      }
    }
    if (ends) return matched;
    n_then = 0;
    for (std::int32_t i = 0; i < n_now; ++i) {
      const std::int32_t* const item = automaton.states + 3 * now[i];
      if (in_set(item[1], code)) then[n_then++] = item[2];
    }
    if (n_then == 0) return false;
    before = code;
  }
}

inline void match_texts(const Automaton& automaton, const std::string* texts, std::int64_t n, std::int32_t* work, bool* to) {
  for (std::int64_t i = 0; i < n; ++i) {
    require(texts[i].size() < 0x7FFFFFFF, "RegexFullMatch is given a text of more than 2 GiB");
    to[i] = matches(automaton, texts[i], work);
  }
}

// N-grams. Words have numbers: their places in a sorted table.
template <class T, class Word>
inline std::int32_t word_number(const T& word, const Word* words, std::int64_t n) {
  const Word* const found = std::lower_bound(words, words + n, word, [](const Word& a, const T& b) { return a < b; });
  return found != words + n && *found == word ? static_cast<std::int32_t>(found - words) : -1;
}

// N-grams of one length: rows of numbers of words, sorted, and the column that each is counted in.
struct NGrams {
  std::int64_t length;
  const std::int32_t* rows;
  const std::int64_t* columns;
  std::int64_t count;
};

inline void count_ngrams(const std::int32_t* numbers, std::int64_t n, std::int64_t distance, const NGrams& grams, float* to) {
  const auto length = grams.length;
  if (length > 1 && (n - 1) / distance < length - 1) return;
  for (std::int64_t start = 0; start < n - (length - 1) * distance; ++start) {
    std::int64_t low = 0, high = grams.count;
    const auto below = [&](const std::int32_t* row) {
      for (std::int64_t i = 0; i < length; ++i) {
        const std::int32_t mine = row[i], theirs = numbers[start + i * distance];
        if (mine != theirs) return mine < theirs;
      }
      return false;
    };
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (below(grams.rows + middle * length)) low = middle + 1;
      else high = middle;
    }
    if (low == grams.count) continue;
    bool same = true;
    for (std::int64_t i = 0; i < length; ++i) same = same && grams.rows[low * length + i] == numbers[start + i * distance];
    if (same) to[grams.columns[low]] += 1.0f;
  }
}

}  // namespace nn
}  // namespace kernels
