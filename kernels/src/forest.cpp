#include "kernels/forest.hpp"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>

#include "dispatch.hpp"
#include "kernels/single_event.hpp"
#include "planner.hpp"

namespace kernels {
namespace {

// Grows with the largest forest that its thread has met, and stays.
unsigned char* workspace(std::size_t size) {
  thread_local std::unique_ptr<unsigned char, FreeAligned> memory;
  thread_local std::size_t capacity = 0;
  if (capacity < size) {
    memory = aligned_bytes(size);
    capacity = size;
  }
  return memory.get();
}

// Shares the rows between threads in whole blocks; work(from, to, thread) must not throw. Each takes some blocks when it has none: one
// that starts late, or shares its core, does less, and nobody waits for its half.
template <class Work>
void share(std::size_t n_rows, std::size_t block_rows, std::size_t n_threads, const Work& work) {
  if (n_threads < 2) return work(0, n_rows, 0);
  constexpr std::size_t helpings = 8;  // of each thread
  const std::size_t n_blocks = (n_rows + block_rows - 1) / block_rows;
  const std::size_t helping = std::max<std::size_t>(1, n_blocks / (helpings * n_threads)) * block_rows;
  std::atomic<std::size_t> next{0};
  const auto take = [&](std::size_t thread) {
    for (std::size_t from; (from = next.fetch_add(helping, std::memory_order_relaxed)) < n_rows;) {
      work(from, std::min(n_rows, from + helping), thread);
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(n_threads - 1);
  for (std::size_t i = 1; i < n_threads; ++i) threads.emplace_back(take, i);
  take(0);
  for (std::thread& thread : threads) thread.join();
}

// No more threads than blocks of rows.
std::size_t useful_threads(std::size_t n_rows, std::size_t block_rows, std::size_t n_threads) {
  return std::max<std::size_t>(1, std::min(n_threads, (n_rows + block_rows - 1) / block_rows));
}

std::size_t predictions_of(const PlanHeader& plan) {
  const auto link = static_cast<Link>(plan.link);
  return link == Link::argmax ? 1 : is_pair(link) ? 2 : plan.n_outputs;
}

void run_on(const Engine& engine, const PlanHeader* plan, const Rows<float>& x, std::size_t from, std::size_t to, bool link,
            void* out, unsigned char* memory) {
  engine.run_single(plan, x, from, to, link, out, memory);
}
void run_on(const Engine& engine, const PlanHeader* plan, const Rows<double>& x, std::size_t from, std::size_t to, bool link,
            void* out, unsigned char* memory) {
  engine.run_double(plan, x, from, to, link, out, memory);
}

const char* why_not_sliced(NotSliced reason) {
  switch (reason) {
    case NotSliced::no: return "";
    case NotSliced::big_tree: return "a tree has more than 4096 leaves, or is too lopsided to be rebalanced into 12 levels";
    case NotSliced::too_many_planes: return "it has more than 65 000 distinct conditions";
    case NotSliced::too_many_cuts: return "a feature has more than 65 535 distinct thresholds or 32 768 categories";
    case NotSliced::mixed_missing: return "nodes of one feature disagree about which values are missing";
    case NotSliced::mixed_kinds: return "nodes of one feature disagree about whether it is numeric or categorical";
  }
  return "";
}

}  // namespace

Forest::~Forest() = default;

std::unique_ptr<Forest> Forest::build(const ForestTables& tables) {
  std::unique_ptr<Forest> forest(new Forest);
  forest->engine_ = &active_engine();
  Plan plan = build_plan(tables);
  forest->plan_ = plan.header();
  forest->single_ = single_engine(forest->engine_->target, forest->plan_);
  forest->memory_ = std::shared_ptr<unsigned char>(std::move(plan.bytes));
  return forest;
}

std::unique_ptr<Forest> Forest::from_plan(const void* plan, std::size_t size, std::shared_ptr<void> owner) {
  validate_plan(static_cast<const unsigned char*>(plan), size);
  std::unique_ptr<Forest> forest(new Forest);
  forest->engine_ = &active_engine();
  forest->plan_ = static_cast<const PlanHeader*>(plan);
  forest->single_ = single_engine(forest->engine_->target, forest->plan_);
  forest->memory_ = std::move(owner);
  return forest;
}

std::size_t Forest::n_predictions() const { return predictions_of(*plan_); }

template <class X>
void Forest::run_one(const X* row, void* out, SumOrder order) const {
  if (static_cast<Link>(plan_->link) == Link::identity && plan_->divisor == 1) return margin_one(row, out, order);
  alignas(8) unsigned char few[16 * sizeof(double)];
  const std::size_t n_bytes = n_outputs() * (plan_->sum_is_double ? 8 : 4);
  void* margins = n_bytes <= sizeof few ? few : workspace(n_bytes);
  margin_one(row, margins, order);
  single_.link(plan_, margins, out);
}

void Forest::predict_one(const float* row, void* out, SumOrder order) const { run_one(row, out, order); }
void Forest::predict_one(const double* row, void* out, SumOrder order) const { run_one(row, out, order); }

template <class X>
void Forest::run(const Rows<X>& x, void* out, std::size_t n_threads, bool link) const {
  const std::size_t row_bytes = (link ? n_predictions() : n_outputs()) * (plan_->sum_is_double ? 8 : 4);
  if (x.n_rows <= single_.few_rows && x.column_stride == 1) {
    for (std::size_t i = 0; i < x.n_rows; ++i) {
      const X* row = x.data + static_cast<std::ptrdiff_t>(i) * x.row_stride;
      unsigned char* to = static_cast<unsigned char*>(out) + i * row_bytes;
      link ? predict_one(row, to) : margin_one(row, to);
    }
    return;
  }
  // The caller's memory, which stays: threads of their own would touch theirs for the first time at each call.
  const std::size_t n_bytes = (engine_->workspace_bytes(plan_) + 63) / 64 * 64;
  const std::size_t n = useful_threads(x.n_rows, engine_->block_rows, n_threads);
  unsigned char* memory = workspace(n * n_bytes);
  share(x.n_rows, engine_->block_rows, n, [=](std::size_t from, std::size_t to, std::size_t thread) {
    run_on(*engine_, plan_, x, from, to, link, static_cast<unsigned char*>(out) + from * row_bytes, memory + thread * n_bytes);
  });
}

void Forest::margin(const Rows<float>& x, void* out, std::size_t n_threads) const { run(x, out, n_threads, false); }
void Forest::margin(const Rows<double>& x, void* out, std::size_t n_threads) const { run(x, out, n_threads, false); }
void Forest::predict(const Rows<float>& x, void* out, std::size_t n_threads) const { run(x, out, n_threads, true); }
void Forest::predict(const Rows<double>& x, void* out, std::size_t n_threads) const { run(x, out, n_threads, true); }

void Forest::leaves(const Rows<float>& x, std::int32_t* out, std::size_t n_threads) const {
  share(x.n_rows, engine_->block_rows, useful_threads(x.n_rows, engine_->block_rows, n_threads), [&](std::size_t from, std::size_t to, std::size_t) {
    engine_->leaves_single(plan_, x, from, to, out + from * n_trees());
  });
}
void Forest::leaves(const Rows<double>& x, std::int32_t* out, std::size_t n_threads) const {
  share(x.n_rows, engine_->block_rows, useful_threads(x.n_rows, engine_->block_rows, n_threads), [&](std::size_t from, std::size_t to, std::size_t) {
    engine_->leaves_double(plan_, x, from, to, out + from * n_trees());
  });
}

std::vector<std::pair<std::string, std::string>> Forest::engines() const {
  const std::string target = engine_->target;
  if (plan_->is_sliced == 0) {
    const char* reason = why_not_sliced(static_cast<NotSliced>(plan_->not_sliced));
    return {{"rows", "walk, " + target + ": node by node, eight rows in step, because " + reason}, {"single", describe_single(engine_->target, plan_)}};
  }
  const std::string conditions = std::to_string(plan_->n_planes - 2) + " distinct conditions, one bit a row each";
  return {{"batches", "bit-sliced, " + target + ": blocks of " + std::to_string(engine_->block_rows) + " rows, " + conditions},
          {"few rows", "bit-sliced, " + target + ": blocks of 64 rows"},
          {"single", describe_single(engine_->target, plan_)}};
}

}  // namespace kernels
