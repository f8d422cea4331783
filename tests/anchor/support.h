// What the anchor tests share: a tiny artifact, temporary folders, and a runner that
// keeps rows in memory.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "anchor/artifact.h"
#include "attention/bf16.h"
#include "runner/runner.h"

namespace fieldprint::test {

// The value, or a failed test with the error's text.
template <typename T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().code << ": " << result.error().message;
    std::abort();
  }
  return std::move(*result);
}

template <typename T>
std::string code_of(const Result<T>& result) {
  return result ? "ok" : result.error().code;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// The artifact of docs/formats/anchor.md: element i of k is i, of v is -i/2.
inline AnchorArtifact tiny_anchor() {
  AnchorArtifact anchor;
  anchor.name = "tiny";
  anchor.text = "I am Ada.\n";
  anchor.tokens = {1, 57, 1024};
  anchor.model_digest = "sha256:" + std::string(64, '0');
  anchor.recipe.chat_template = "chatml";
  anchor.recipe.numeric_profile = "test/none";
  anchor.layers = 2;
  anchor.kv_heads = 1;
  anchor.head_dim = 2;
  for (int i = 0; i < 12; ++i) {
    anchor.k.push_back(bf16_from_float(static_cast<float>(i)));
    anchor.v.push_back(bf16_from_float(static_cast<float>(-i) / 2));
  }
  anchor.beta_fit.assign(6, 0.0F);
  return anchor;
}

// A new folder for each test, removed at its end.
class FolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "anchor_test_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  std::filesystem::path root_;
};

// Rows as a made-up function of everything a real row depends on: layer, head, and the
// tokens at all positions up to its own.
class FakeRunner : public Runner {
 public:
  FakeRunner(std::int32_t pages, std::int32_t step_tokens)
      : pages_(pages), step_tokens_(step_tokens) {
    config_.layers = 3;
    config_.heads = 4;
    config_.kv_heads = 2;
    config_.head_dim = 4;
    config_.context_train = 512;
  }

  Result<StepOutput> forward(std::span<const SequenceStep> steps) override {
    for (const SequenceStep& step : steps) {
      if (fail_after_ == 0) return fail(ErrorKind::kInternal, "device_lost", "fake");
      --fail_after_;
      check_plan(step);
      for (std::size_t i = 0; i < step.tokens.size(); ++i) {
        const auto pos = step.plan.first_query_pos + static_cast<std::int32_t>(i);
        tokens_at_[pos] = step.tokens[i];
        for (int layer = 0; layer < config_.layers; ++layer) {
          for (int head = 0; head < config_.kv_heads; ++head) {
            for (int d = 0; d < config_.head_dim; ++d) {
              at(k_, layer, step.slots[i].page, head, step.slots[i].row, d) =
                  expected(layer, head, pos, d, 1);
              at(v_, layer, step.slots[i].page, head, step.slots[i].row, d) =
                  expected(layer, head, pos, d, 2);
            }
          }
        }
      }
    }
    return StepOutput{};
  }

  // The element that the tokens seen so far give; part 1 for K, 2 for V.
  std::uint16_t expected(int layer, int head, int pos, int d, int part) const {
    std::uint32_t hash = 2166136261U;
    const auto mix = [&](std::int32_t value) {
      hash = (hash ^ static_cast<std::uint32_t>(value)) * 16777619U;
    };
    for (int p = 0; p <= pos; ++p) mix(tokens_at_.at(p));
    for (const int value : {layer, head, pos, d, part}) mix(value);
    return bf16_from_float(static_cast<float>(hash % 1021U) / 16.0F);
  }

  Status copy_page(PageId, PageId) override { return {}; }
  Result<PageRows> read_page(int layer, PageId page, int rows) override {
    PageRows out;
    for (int head = 0; head < config_.kv_heads; ++head) {
      for (int row = 0; row < rows; ++row) {
        for (int d = 0; d < config_.head_dim; ++d) {
          out.k.push_back(at(k_, layer, page, head, row, d));
          out.v.push_back(at(v_, layer, page, head, row, d));
        }
      }
    }
    return out;
  }
  Status write_page(int layer, PageId page, int rows, const PageRows& data) override {
    if (fail_after_ == 0) return fail(ErrorKind::kInternal, "device_lost", "fake");
    --fail_after_;
    std::size_t i = 0;
    for (int head = 0; head < config_.kv_heads; ++head) {
      for (int row = 0; row < rows; ++row) {
        for (int d = 0; d < config_.head_dim; ++d, ++i) {
          at(k_, layer, page, head, row, d) = data.k.at(i);
          at(v_, layer, page, head, row, d) = data.v.at(i);
        }
      }
    }
    EXPECT_EQ(i, data.k.size());
    return {};
  }

  const ModelConfig& config() const override { return config_; }
  std::int32_t page_count() const override { return pages_; }
  std::int32_t max_step_tokens() const override { return step_tokens_; }
  std::string device_name() const override { return "fake"; }
  std::string numeric_profile() const override { return "test/fake"; }

  ModelConfig config_;
  int fail_after_ = 1 << 30;       // calls until the device is lost
  std::vector<Leaf> last_leaves_;  // of the last step
  std::vector<PageEntry> last_pages_;
  int steps_ = 0;

 private:
  using Store = std::map<std::vector<int>, std::uint16_t>;
  static std::uint16_t& at(Store& store, int layer, PageId page, int head, int row, int d) {
    return store[{layer, page, head, row, d}];
  }

  void check_plan(const SequenceStep& step) {
    ++steps_;
    EXPECT_LE(static_cast<std::int32_t>(step.tokens.size()), step_tokens_);
    ASSERT_EQ(step.slots.size(), step.tokens.size());
    last_pages_.assign(step.plan.pages.begin(), step.plan.pages.end());
    last_leaves_.assign(step.plan.leaves.begin(), step.plan.leaves.end());
    EXPECT_TRUE(step.plan.anchor.pages.empty());
    // Each slot is where the page table says its position is.
    for (std::size_t i = 0; i < step.slots.size(); ++i) {
      const auto pos = step.plan.first_query_pos + static_cast<std::int32_t>(i);
      bool found = false;
      for (const PageEntry& entry : step.plan.pages) {
        found |= entry.page == step.slots[i].page && entry.first_pos + step.slots[i].row == pos &&
                 step.slots[i].row < entry.rows;
      }
      EXPECT_TRUE(found) << "position " << pos;
    }
  }

  std::int32_t pages_;
  std::int32_t step_tokens_;
  std::map<int, TokenId> tokens_at_;
  Store k_, v_;
};

}  // namespace fieldprint::test
