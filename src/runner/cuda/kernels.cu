// The only file that instantiates the runner's kernels.
#include <cuda_runtime.h>

#include "runner/cuda/kernels.h"
#include "runner/cuda/kernels/norm.cuh"
#include "runner/cuda/kernels/product.cuh"
#include "runner/cuda/kernels/rows.cuh"
#include "runner/cuda/kernels/skinny.cuh"

namespace fieldprint::cuda {
namespace {

// Programmatic dependent launch: `kernel` may begin once every CTA of the one before has said
// launch_dependents(), and must wait_for_previous_kernel() before it touches what earlier kernels
// wrote. All kernels launched so wait, so "complete" carries over from kernel to kernel.
template <typename... Parameters, typename... Arguments>
void launch_early(void (*kernel)(Parameters...), unsigned grid, int threads, void* stream,
                  const Arguments&... arguments) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(grid);
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &early;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, arguments...);
}

template <int kVecs>
void launch_norm(const NormArgs& args, int rows, void* stream) {
  launch_early(norm_kernel<kVecs>, static_cast<unsigned>(rows), kNormThreads, stream, args);
}

template <ProductOutput kOutput>
void launch_product(const ProductArgs& args, void* stream) {
  constexpr int kBytes = static_cast<int>(sizeof(ProductShared));
  static const cudaError_t allowed = cudaFuncSetAttribute(
      product_kernel<kOutput>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (allowed != cudaSuccess) return;  // the launch below would fail the same way; so does the next
  const dim3 grid(static_cast<unsigned>((args.columns + kProductTile - 1) / kProductTile),
                  static_cast<unsigned>((args.rows + kProductTile - 1) / kProductTile));
  product_kernel<kOutput>
      <<<grid, kProductThreads, kBytes, static_cast<cudaStream_t>(stream)>>>(args);
}

constexpr int kMultiprocessors = 132;  // of H100 SXM and H200; others run as well, less evenly

// One group of 16 outputs per CTA fills the chip better; two halve the reads of x, which count
// once there are several rows.
template <SkinnyOutput kOutput>
void launch_skinny(const ProductArgs& args, void* stream) {
  const auto groups = static_cast<unsigned>(args.columns / 16);
  if (args.rows <= 2) {
    launch_early(skinny_kernel<1, 4, kOutput>, groups, kSkinnyThreads, stream, args);
  } else {
    launch_early(skinny_kernel<2, 2, kOutput>, groups / 2, kSkinnyThreads, stream, args);
  }
}

}  // namespace

void embed(const EmbedArgs& args, int rows, void* stream) {
  embed_kernel<<<static_cast<unsigned>(rows), kNormThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      args);
}

void norm(const NormArgs& args, int rows, void* stream) {
  constexpr int kPerVector = 4 * kNormThreads;
  if (args.hidden <= kPerVector) {
    launch_norm<1>(args, rows, stream);
  } else if (args.hidden <= 2 * kPerVector) {
    launch_norm<2>(args, rows, stream);
  } else if (args.hidden <= 4 * kPerVector) {
    launch_norm<4>(args, rows, stream);
  } else {
    static_assert(16 * kPerVector >= kMaxHidden);
    launch_norm<16>(args, rows, stream);
  }
}

void qkv_finish(const QkvFinishArgs& args, void* stream) {
  const int items = args.rows * (args.heads + 2 * args.kv_heads);
  qkv_finish_kernel<<<static_cast<unsigned>((items + kHeadWarps - 1) / kHeadWarps), kHeadWarps * 32,
                      0, static_cast<cudaStream_t>(stream)>>>(args);
}

void gate(const GateArgs& args, GateKind kind, void* stream) {
  const auto grid = static_cast<unsigned>((args.elements / 4 + kRowThreads - 1) / kRowThreads);
  if (kind == GateKind::kGelu) {
    launch_early(gate_kernel<true>, grid, kRowThreads, stream, args);
  } else {
    launch_early(gate_kernel<false>, grid, kRowThreads, stream, args);
  }
}

void gather(const GatherArgs& args, int rows, void* stream) {
  gather_kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      args);
}

void tap(const TapArgs& args, int taps, void* stream) {
  tap_kernel<<<static_cast<unsigned>(taps), kRowThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      args);
}

void mass(const MassArgs& args, int sequences, void* stream) {
  mass_kernel<<<static_cast<unsigned>(sequences), kRowThreads, 0,
                static_cast<cudaStream_t>(stream)>>>(args);
}

void argmax(const float* logits, std::int32_t* best, int rows, int vocab, void* stream) {
  argmax_kernel<<<static_cast<unsigned>(rows), kArgmaxThreads, 0,
                  static_cast<cudaStream_t>(stream)>>>(logits, best, vocab);
}

void read_all(const void* data, std::size_t bytes, void* stream) {
  constexpr unsigned kCtas = kMultiprocessors * 8;
  read_kernel<<<kCtas, kRowThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      static_cast<const uint4*>(data), bytes / sizeof(uint4));
}

void product(const ProductArgs& args, ProductOutput output, void* stream) {
  switch (output) {
    case ProductOutput::kBf16:
      launch_product<ProductOutput::kBf16>(args, stream);
      return;
    case ProductOutput::kF32:
      launch_product<ProductOutput::kF32>(args, stream);
      return;
    case ProductOutput::kAddF32:
      launch_product<ProductOutput::kAddF32>(args, stream);
      return;
  }
}

bool skinny_fits(int rows, int columns, int depth) {
  return rows <= kSkinnyRows && columns % 32 == 0 && depth % kUnitDepth == 0;
}

void skinny_product(const ProductArgs& args, ProductOutput output, void* stream) {
  switch (output) {
    case ProductOutput::kBf16:
      launch_skinny<SkinnyOutput::kBf16>(args, stream);
      return;
    case ProductOutput::kF32:
      launch_skinny<SkinnyOutput::kF32>(args, stream);
      return;
    case ProductOutput::kAddF32:
      launch_skinny<SkinnyOutput::kAddF32>(args, stream);
      return;
  }
}

void skinny_gated(const ProductArgs& args, GateKind kind, void* stream) {
  if (kind == GateKind::kGelu) {
    launch_skinny<SkinnyOutput::kGelu>(args, stream);
  } else {
    launch_skinny<SkinnyOutput::kSilu>(args, stream);
  }
}

}  // namespace fieldprint::cuda
