// oneDAL's gradient boosted trees in C++. Arguments: the flat forest, the number of the instruction set to keep to or "".
// Two classes: margins by regression. More: probabilities, which is what its classifier gives.
#include <cmath>

#include <daal.h>

#include "flat.hpp"

namespace {

namespace gbt = daal::algorithms::gbt;
using daal::data_management::HomogenNumericTable;

void check(const daal::services::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.getDescription());
}

// Adds a tree, parents first. The base of an output goes into the leaves of its first tree.
template <class Builder, class Tree>
void add(Builder& builder, Tree tree, const Flat& flat, std::int32_t start, double base, std::int32_t node, typename Builder::NodeId parent,
         std::size_t side) {
  const std::size_t i = start + node;
  if (flat.feature[i] < 0) {
    builder.addLeafNode(tree, parent, side, flat.value[i] + base, 0.0);
    return;
  }
  // It sends x <= threshold to the left; x < t is x <= (the number before t).
  const float threshold = flat.less_equal ? flat.threshold[i] : std::nextafterf(flat.threshold[i], -INFINITY);
  const auto id = builder.addSplitNode(tree, parent, side, flat.feature[i], threshold, flat.default_left[i], 0.0);
  add(builder, tree, flat, start, base, flat.left[i], id, 0);
  add(builder, tree, flat, start, base, flat.right[i], id, 1);
}

template <class Builder, class Create>
void fill(Builder& builder, const Flat& flat, Create create) {
  std::vector<double> base = flat.base;
  for (std::int32_t i = 0; i < flat.n_trees; ++i) {
    const auto tree = create(flat.start[i + 1] - flat.start[i], i);
    add(builder, tree, flat, flat.start[i], base[flat.output[i]], 0, Builder::noParent, 0);
    base[flat.output[i]] = 0;
  }
}

// Keeps oneDAL to an instruction set: 0 is SSE2, 4 AVX2, 6 AVX-512. Its setCpuId only counts before the processor was looked at,
// which loading the library already does; so that it counts, the note of that look, right behind the pointer to the virtual
// functions, is taken back.
void keep_to(int instructions) {
  using daal::services::Environment;
  Environment* environment = Environment::getInstance();
  auto* known = reinterpret_cast<Environment::env*>(reinterpret_cast<char*>(environment) + sizeof(void*));
  if (!known->cpuid_init_flag || known->cpuid > 6) throw std::runtime_error("cannot be kept to an instruction set");
  known->cpuid_init_flag = false;
  known->cpuid = static_cast<std::size_t>(-1);
  environment->setCpuId(instructions);
  if (environment->getCpuId() != instructions) throw std::runtime_error("does not keep to the instruction set");
}

class OneDal {
 public:
  explicit OneDal(const Arguments& arguments) : width_(arguments.n_features), outputs_(arguments.n_outputs), row_(width_), answer_(outputs_) {
    daal::services::Environment::getInstance()->setNumberOfThreads(1);
    if (!arguments[1].empty()) keep_to(std::stoi(arguments[1]));
    const Flat flat(arguments[0]);
    if (outputs_ == 1) {
      gbt::regression::ModelBuilder builder(width_, flat.n_trees);
      fill(builder, flat, [&](std::size_t n_nodes, std::size_t) { return builder.createTree(n_nodes); });
      regression_ = std::make_unique<Regression>();
      regression_->input.set(gbt::regression::prediction::model, builder.getModel());
    } else {
      gbt::classification::ModelBuilder builder(width_, flat.n_trees / outputs_, outputs_);
      // Its builder keeps trees by label, one iteration after the other, while its prediction gives tree i to class i % n_classes:
      // labels in the order of the trees put each where it is looked for.
      const std::size_t n_iterations = flat.n_trees / outputs_;
      fill(builder, flat, [&](std::size_t n_nodes, std::size_t i) { return builder.createTree(n_nodes, i / n_iterations); });
      classification_ = std::make_unique<Classification>(outputs_);
      classification_->parameter().nClasses = outputs_;
      classification_->parameter().resultsToEvaluate = daal::algorithms::classifier::computeClassProbabilities;
      classification_->input.set(daal::algorithms::classifier::prediction::model, builder.getModel());
    }
  }

  // A single row goes through tables that were made once, which is its fastest way.
  void predict(const float* rows, std::size_t n_rows, char* out) {
    if (n_rows == 1) {
      if (prepared_ != 1) prepare(row_.data(), 1, answer_.data());
      std::memcpy(row_.data(), rows, width_ * sizeof(float));
      compute();
      std::memcpy(out, answer_.data(), outputs_ * sizeof(float));
    } else {
      prepare(rows, n_rows, reinterpret_cast<float*>(out));
      compute();
    }
    prepared_ = n_rows;
  }

 private:
  // Made in the constructor's body: they choose their code for the instruction set when they are made.
  using Regression = gbt::regression::prediction::Batch<float>;
  using Classification = gbt::classification::prediction::Batch<float>;

  void prepare(const float* rows, std::size_t n_rows, float* out) {
    // It does not write to its input.
    const auto data = HomogenNumericTable<float>::create(const_cast<float*>(rows), width_, n_rows);
    const auto answer = HomogenNumericTable<float>::create(out, outputs_, n_rows);
    if (outputs_ == 1) {
      regression_->input.set(gbt::regression::prediction::data, data);
      daal::services::SharedPtr<gbt::regression::prediction::Result> result(new gbt::regression::prediction::Result());
      result->set(gbt::regression::prediction::prediction, answer);
      check(regression_->setResult(result));
    } else {
      namespace classifier = daal::algorithms::classifier;
      classification_->input.set(classifier::prediction::data, data);
      daal::services::SharedPtr<classifier::prediction::Result> result(new classifier::prediction::Result());
      result->set(classifier::prediction::probabilities, answer);
      check(classification_->setResult(result));
    }
  }

  void compute() { check(outputs_ == 1 ? regression_->computeNoThrow() : classification_->computeNoThrow()); }

  std::size_t width_, outputs_, prepared_ = 0;
  std::vector<float> row_, answer_;
  std::unique_ptr<Regression> regression_;
  std::unique_ptr<Classification> classification_;
};

}  // namespace

CONTENDER(OneDal)
