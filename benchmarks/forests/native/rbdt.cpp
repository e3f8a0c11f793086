// The algorithm of ROOT's RBDT (FastForest's): per node a cut's feature and value and two children, where a child that is no node
// is a response; row after row, tree after tree, a branch per node. Argument: the flat forest.
#include "flat.hpp"

namespace {

class Rbdt {
 public:
  explicit Rbdt(const Arguments& arguments) : width_(arguments.n_features), outputs_(arguments.n_outputs) {
    const Flat flat(arguments[0]);
    if (flat.less_equal) throw std::runtime_error("it compares by < only");
    base_.assign(flat.base.begin(), flat.base.end());
    for (std::int32_t tree = 0; tree < flat.n_trees; ++tree) {
      output_.push_back(flat.output[tree]);
      root_.push_back(add(flat, flat.start[tree], 0));
    }
  }

  void predict(const float* rows, std::size_t n_rows, char* bytes) {
    float* out = reinterpret_cast<float*>(bytes);
    for (std::size_t i = 0; i < n_rows; ++i) {
      const float* row = rows + i * width_;
      float* sums = out + i * outputs_;
      for (std::size_t k = 0; k < outputs_; ++k) sums[k] = base_[k];
      for (std::size_t tree = 0; tree < root_.size(); ++tree) {
        int at = root_[tree];
        while (at >= 0) at = row[feature_[at]] < value_[at] ? left_[at] : right_[at];
        sums[output_[tree]] += response_[~at];
      }
    }
  }

 private:
  // The place of a node or, as its complement, of a response.
  int add(const Flat& flat, std::int32_t start, std::int32_t node) {
    const std::size_t i = start + node;
    if (flat.feature[i] < 0) {
      response_.push_back(static_cast<float>(flat.value[i]));
      return ~static_cast<int>(response_.size() - 1);
    }
    const std::size_t place = feature_.size();
    feature_.push_back(flat.feature[i]);
    value_.push_back(flat.threshold[i]);
    left_.push_back(0);
    right_.push_back(0);
    const int left = add(flat, start, flat.left[i]), right = add(flat, start, flat.right[i]);
    left_[place] = left;
    right_[place] = right;
    return static_cast<int>(place);
  }

  std::size_t width_, outputs_;
  std::vector<int> root_, output_, feature_, left_, right_;
  std::vector<float> value_, response_, base_;
};

}  // namespace

CONTENDER(Rbdt)
