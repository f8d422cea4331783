// A runner around another one, which answers everything that a subclass does not.
//
// Thread rule: as Runner.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>

#include "runner/runner.h"

namespace fieldprint {

class WrappedRunner : public Runner {
 public:
  explicit WrappedRunner(std::unique_ptr<Runner> inner) : inner_(std::move(inner)) {}

  Result<StepOutput> forward(std::span<const SequenceStep> steps) override {
    return inner_->forward(steps);
  }
  Status copy_page(PageId from, PageId to) override { return inner_->copy_page(from, to); }
  Result<PageRows> read_page(int layer, PageId page, int rows) override {
    return inner_->read_page(layer, page, rows);
  }
  Status write_page(int layer, PageId page, int rows, const PageRows& data) override {
    return inner_->write_page(layer, page, rows, data);
  }
  const ModelConfig& config() const override { return inner_->config(); }
  std::int32_t page_count() const override { return inner_->page_count(); }
  std::int32_t max_step_tokens() const override { return inner_->max_step_tokens(); }
  std::string device_name() const override { return inner_->device_name(); }
  std::string numeric_profile() const override { return inner_->numeric_profile(); }

 protected:
  Runner& inner() { return *inner_; }

 private:
  std::unique_ptr<Runner> inner_;
};

}  // namespace fieldprint
