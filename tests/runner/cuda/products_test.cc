// Every product kernel against double precision, around every boundary between kernels.
#include "runner/cuda/products.h"

#include <cmath>
#include <cstring>
#include <random>

#include "runner/cuda/memory.h"
#include "runner/cuda/support.h"

namespace fieldprint::test {
namespace {

using cuda::DeviceBuffer;
using cuda::GateKind;
using cuda::Matrix;
using cuda::ProductOutput;
using cuda::Products;

float to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
std::uint16_t to_bf16(float x) {
  return static_cast<std::uint16_t>((std::bit_cast<std::uint32_t>(x) + 0x8000U) >> 16);
}

template <typename T>
DeviceBuffer on_device(const std::vector<T>& values) {
  DeviceBuffer buffer = must(DeviceBuffer::allocate(values.size() * sizeof(T), "a test"));
  EXPECT_EQ(cudaMemcpy(buffer.data(), values.data(), buffer.size(), cudaMemcpyHostToDevice),
            cudaSuccess);
  return buffer;
}
template <typename T>
std::vector<T> on_host(const DeviceBuffer& buffer) {
  std::vector<T> values(buffer.size() / sizeof(T));
  EXPECT_EQ(cudaMemcpy(values.data(), buffer.data(), buffer.size(), cudaMemcpyDeviceToHost),
            cudaSuccess);
  return values;
}

// y = x W^T with random bf16 operands.
class Problem {
 public:
  Problem(int rows, int columns, int depth) : rows_(rows), columns_(columns), depth_(depth) {
    std::mt19937 random(static_cast<unsigned>(rows * 1000003 + columns * 1009 + depth));
    std::normal_distribution<float> normal;
    const int padded = Products::padded_rows(rows);
    x_.resize(static_cast<std::size_t>(padded * depth), to_bf16(NAN));  // padding is never read
    weight_.resize(static_cast<std::size_t>(columns * depth));
    for (int i = 0; i < rows * depth; ++i)
      x_[static_cast<std::size_t>(i)] = to_bf16(normal(random));
    for (std::uint16_t& w : weight_) w = to_bf16(normal(random));
    before_.resize(static_cast<std::size_t>(padded * columns));
    for (float& y : before_) y = normal(random);
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < columns; ++c) {
        double sum = 0;
        for (int k = 0; k < depth; ++k)
          sum += double{to_float(x(r, k))} * double{to_float(weight(c, k))};
        expected_.push_back(sum);
      }
    }
    x_device_ = on_device(x_);
    weight_device_ = on_device(weight_);
  }

  // |y - expected| over the size of a sum's terms, the worst of all outputs.
  double error(Products& products, ProductOutput output) {
    const bool wide = output != ProductOutput::kBf16;
    DeviceBuffer y = on_device(before_);
    EXPECT_TRUE(products.run(matrix(), x_device_.data(), rows_, y.data(), output, nullptr));
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const auto floats = on_host<float>(y);
    const auto halves = on_host<std::uint16_t>(y);
    double worst = 0;
    for (std::size_t i = 0; i < expected_.size(); ++i) {
      const double got = wide ? double{floats[i]} : double{to_float(halves[i])};
      const double added = output == ProductOutput::kAddF32 ? double{before_[i]} : 0.0;
      const double error = std::abs(got - (expected_[i] + added));
      worst = std::max(worst, std::isfinite(got) ? error / std::sqrt(depth_) : 1e30);
    }
    return worst;
  }

  double gated_error(Products& products, GateKind kind) {
    DeviceBuffer scratch = on_device(before_);
    DeviceBuffer y = on_device(before_);
    EXPECT_TRUE(
        products.gated(matrix(), x_device_.data(), rows_, scratch.data(), y.data(), kind, nullptr));
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const auto halves = on_host<std::uint16_t>(y);
    double worst = 0;
    for (std::size_t i = 0; i < expected_.size() / 2; ++i) {
      const double gate = expected_[2 * i];
      const double u = 0.7978845608 * gate * (1 + 0.044715 * gate * gate);
      const double act =
          kind == GateKind::kSilu ? gate / (1 + std::exp(-gate)) : 0.5 * gate * (1 + std::tanh(u));
      const double exact = act * expected_[2 * i + 1];
      const double error = std::abs(double{to_float(halves[i])} - exact);
      worst = std::max(worst, error / (depth_ + std::abs(exact)));
    }
    return worst;
  }

 private:
  Matrix matrix() const { return {weight_device_.data(), columns_, depth_}; }
  std::uint16_t x(int r, int k) const { return x_[static_cast<std::size_t>(r * depth_ + k)]; }
  std::uint16_t weight(int c, int k) const {
    return weight_[static_cast<std::size_t>(c * depth_ + k)];
  }

  int rows_, columns_, depth_;
  std::vector<std::uint16_t> x_, weight_;
  std::vector<float> before_;
  std::vector<double> expected_;
  DeviceBuffer x_device_, weight_device_;
};

struct Size {
  int columns;
  int depth;
};

TEST(CudaProductsTest, EveryKernelAgainstDoublePrecision) {
  FP_NEEDS_GPU();
  for (const NumericProfile profile : {NumericProfile::kFast, NumericProfile::kInvariant}) {
    const auto products = must(cuda::make_products(profile));
    for (const Size& size : {Size{32, 64}, Size{288, 192}, Size{5120, 64}, Size{544, 1088},
                             Size{96, 200}, Size{72, 128}}) {
      for (const int rows : {1, 2, 3, 8, 9, 16, 17, 31, 33, 64, 65, 130}) {
        Problem problem(rows, size.columns, size.depth);
        const std::string what = std::to_string(rows) + " x " + std::to_string(size.columns) +
                                 " x " + std::to_string(size.depth);
        EXPECT_LE(problem.error(*products, ProductOutput::kF32), 1e-4) << what;
        EXPECT_LE(problem.error(*products, ProductOutput::kAddF32), 1e-4) << what;
        EXPECT_LE(problem.error(*products, ProductOutput::kBf16), 0.02) << what;
        EXPECT_LE(problem.gated_error(*products, GateKind::kSilu), 0.02) << what;
        EXPECT_LE(problem.gated_error(*products, GateKind::kGelu), 0.02) << what;
      }
    }
  }
}

}  // namespace
}  // namespace fieldprint::test
