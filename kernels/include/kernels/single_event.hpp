// Single events: how their part of a plan is built and checked, and which engine runs it.
#pragma once

#include <string>

#include "kernels/forest.hpp"
#include "kernels/single_engine.hpp"
#include "kernels/single_plan.hpp"

namespace kernels {

class PlanWriter;
struct PlannedFeatures;
struct TreeShape;
struct ForestTables;

// Adds the sections to a plan. The tables must have been checked. Forests that no engine here takes get the kind `walk`.
void plan_single(const ForestTables& tables, const PlannedFeatures& features, const std::vector<TreeShape>& shapes, PlanWriter& writer);

// Checks all that the engines rely on, so that they need not; std::invalid_argument.
void check_single(const PlanHeader* plan);

// `target` as Engine::target names it.
SingleEngine single_engine(const char* target, const PlanHeader* plan);

// Which way single events take on that target, and why, in words.
std::string describe_single(const char* target, const PlanHeader* plan);

}  // namespace kernels
