// Launches: argument checks, tensor maps, grid sizes. The only file that instantiates
// the kernels.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>

#include "attention/cuda/capi.h"
#include "attention/cuda/check.h"
#include "attention/cuda/device.h"
#include "attention/cuda/kernels/decode.cuh"
#include "attention/cuda/kernels/merge.cuh"
#include "attention/cuda/kernels/planner.cuh"
#include "attention/cuda/kernels/stream.cuh"
#include "attention/cuda/workspace.h"

namespace fieldprint::cuda {
namespace {

template <typename Kernel>
bool allow_shared(Kernel* kernel, std::size_t bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(bytes)) == cudaSuccess;
}

template <int kDim>
bool allow_decode() {
  constexpr auto kNarrow = sizeof(DecodeShared<kDim, 4>);
  return allow_shared(decode_kernel<kDim, 4, DecodeMode::kAttend>, kNarrow) &&
         allow_shared(decode_kernel<kDim, 8, DecodeMode::kAttend>, sizeof(DecodeShared<kDim, 8>)) &&
         allow_shared(decode_kernel<kDim, 4, DecodeMode::kReadOnly>, kNarrow);
}

Device inspect_device(int device) {
  Device result;
  int major = 0;
  int minor = 0;
  if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&result.multiprocessors, cudaDevAttrMultiProcessorCount, device) !=
          cudaSuccess) {
    return result;
  }
  result.status = FP_ATTN_UNSUPPORTED_DEVICE;
  if (major != 9 || minor != 0) return result;
  const bool ready = allow_decode<64>() && allow_decode<128>() && allow_decode<256>();
  result.status = ready ? FP_ATTN_OK : FP_ATTN_CUDA_ERROR;
  return result;
}

}  // namespace

const Device& current_device() {
  static const Device none;
  constexpr int kMaxDevices = 16;
  static const auto devices = [] {
    struct All {
      Device at[kMaxDevices];
    } all;
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
    int previous = 0;
    if (count > 0) cudaGetDevice(&previous);
    for (int i = 0; i < count && i < kMaxDevices; ++i) {
      if (cudaSetDevice(i) == cudaSuccess) all.at[i] = inspect_device(i);
    }
    if (count > 0) cudaSetDevice(previous);
    cudaGetLastError();  // a missing driver is an answer, not a pending error
    return all;
  }();
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess || device >= kMaxDevices) {
    cudaGetLastError();
    return none;
  }
  return devices.at[device];
}

fp_attn_status launched() {
  return cudaGetLastError() == cudaSuccess ? FP_ATTN_OK : FP_ATTN_CUDA_ERROR;
}

TableView table_view(const fp_attn_tables& t) {
  return {t.pages,        t.page_counts,        t.page_stride,   t.batch,   t.anchor_ids,
          t.anchor_pages, t.anchor_page_counts, t.anchor_stride, t.anchors, t.cuts};
}

namespace {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

EncodeTiled encode_function() {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found,
                                                             12000, cudaEnableDefault, &result);
  if (error != cudaSuccess || result != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<EncodeTiled>(found);
}

// What one bulk copy brings: rows of head_dim, cut into parts of 64 elements.
struct Box {
  cuuint32_t rows;
  cuuint32_t parts;
};

// The pool as rows, 128-byte swizzled, one part after the other. Promotion to 256 bytes
// costs 5 % of the read rate.
fp_attn_status encode_map(EncodeTiled encode, const fp_attn_pool& pool, const void* data,
                          const Box& of, std::uint64_t (&out)[16]) {
  const fp_attn_shape& shape = pool.shape;
  alignas(64) CUtensorMap map;
  static_assert(sizeof(map) == sizeof(out));
  const auto halves = static_cast<cuuint32_t>(shape.head_dim / 64);
  const cuuint64_t rows = static_cast<cuuint64_t>(pool.pages) * shape.kv_heads * shape.page_rows;
  const cuuint64_t sizes[3] = {64, rows, halves};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(shape.head_dim) * 2, 128};
  const cuuint32_t box[3] = {64, of.rows, of.parts};
  const cuuint32_t steps[3] = {1, 1, 1};
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(data), sizes, strides,
             box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) return FP_ATTN_CUDA_ERROR;
  std::memcpy(out, &map, sizeof(map));
  return FP_ATTN_OK;
}

// All CTAs that fit; the planner lists the first two tickets of each.
int decode_grid(int head_dim) {
  const int each = head_dim > 128 ? kDecodeCtas<256> : kDecodeCtas<128>;
  return std::min(each * current_device().multiprocessors, kMaxOpenings / 2);
}

// A kernel that starts while the one before it drains, and waits for its results on the device.
template <typename... Parameters, typename... Args>
cudaError_t launch_early(void (*kernel)(Parameters...), dim3 grid, int threads, std::size_t shared,
                         cudaStream_t stream, const Args&... args) {
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, args...);
}

template <int kDim, int kCols, DecodeMode kMode>
cudaError_t launch_decode(const fp_attn_pool& pool, const DecodeArgs& args, cudaStream_t stream) {
  alignas(64) CUtensorMap maps[2];
  std::memcpy(&maps[0], pool.k_map, sizeof(CUtensorMap));
  std::memcpy(&maps[1], pool.v_map, sizeof(CUtensorMap));
  return launch_early(decode_kernel<kDim, kCols, kMode>,
                      dim3(static_cast<unsigned>(decode_grid(kDim))), kDecodeThreads,
                      sizeof(DecodeShared<kDim, kCols>), stream, maps[0], maps[1], args);
}

// A CTA takes kQuads quads of outputs at most, so that all runs' fit its shared memory.
template <int kDim, int kCols, int kQuads, MergeFor kFor>
cudaError_t launch_merge(const DecodeArgs& args, cudaStream_t stream) {
  constexpr int kAll = kDim * kCols / 4;
  constexpr int kSlices = kAll > kQuads ? kAll / kQuads : 1;
  const dim3 grid(static_cast<unsigned>(args.shape.kv_heads * kSlices),
                  static_cast<unsigned>(args.table.batch));
  return launch_early(merge_kernel<kDim, kCols, kSlices, kFor>, grid, kRuns * 32, 0, stream, args);
}

template <int kDim, int kCols, MergeFor kFor>
cudaError_t launch_many(const DecodeArgs& args, cudaStream_t stream) {
  // Thin slices of head_dim where the batch alone gives the device too few CTAs.
  return args.table.batch * args.shape.kv_heads < 2 * current_device().multiprocessors
             ? launch_merge<kDim, kCols, 32, kFor>(args, stream)
             : launch_merge<kDim, kCols, 128, kFor>(args, stream);
}

template <int kDim, int kCols>
cudaError_t launch_merge(const DecodeArgs& args, cudaStream_t stream) {
  if (args.table.batch <= args.plan.split_batch) {
    return launch_merge<kDim, kCols, 32, MergeFor::kFew>(args, stream);
  }
  return args.table.anchor_ids == nullptr
             ? launch_many<kDim, kCols, MergeFor::kManyPlain>(args, stream)
             : launch_many<kDim, kCols, MergeFor::kMany>(args, stream);
}

template <int kDim, int kCols>
cudaError_t launch_attention(const fp_attn_pool& pool, const DecodeArgs& args,
                             cudaStream_t stream) {
  const cudaError_t error = launch_decode<kDim, kCols, DecodeMode::kAttend>(pool, args, stream);
  if (error != cudaSuccess) return error;
  return launch_merge<kDim, kCols>(args, stream);
}

template <int kDim>
cudaError_t launch_attention(const fp_attn_pool& pool, const DecodeArgs& args,
                             cudaStream_t stream) {
  return args.shape.columns == 4 ? launch_attention<kDim, 4>(pool, args, stream)
                                 : launch_attention<kDim, 8>(pool, args, stream);
}

cudaError_t launch_attention(const fp_attn_pool& pool, const DecodeArgs& args,
                             cudaStream_t stream) {
  if (pool.shape.head_dim == 64) return launch_attention<64>(pool, args, stream);
  if (pool.shape.head_dim == 128) return launch_attention<128>(pool, args, stream);
  return launch_attention<256>(pool, args, stream);
}

template <int kDim>
cudaError_t launch_stream(const StreamArgs& args, cudaStream_t stream) {
  stream_kernel<kDim><<<3 * current_device().multiprocessors, kStreamThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

PlanView plan_view(const fp_attn_shape& shape, const fp_attn_workspace& workspace) {
  PlanView view = cut_workspace(shape, workspace.limits, workspace.data).view;
  const int grid = decode_grid(shape.head_dim);
  view.opening_count = 2 * grid;
  // Half the CTAs would have a leaf, if any: a quarter of a leaf each is faster.
  view.split_leaves = std::min(view.split_leaves, grid / 2 / shape.kv_heads);
  view.split_batch = view.split_leaves / 4;
  return view;
}

// Checks that every call with tables and a workspace needs.
fp_attn_status check_step(const fp_attn_shape& shape, const fp_attn_tables* tables,
                          const fp_attn_workspace* workspace) {
  fp_attn_status status = check_tables(shape, tables);
  if (status == FP_ATTN_OK) {
    status = check_workspace(*tables, workspace, fp_attn_workspace_bytes, shape);
  }
  if (status == FP_ATTN_OK) status = current_device().status;
  return status;
}

fp_attn_status plan(const fp_attn_shape* shape, const fp_attn_tables* tables,
                    const WindowView& window, const fp_attn_workspace* workspace, void* stream) {
  fp_attn_status status = check_shape(shape);
  if (status == FP_ATTN_OK) status = check_step(*shape, tables, workspace);
  if (status != FP_ATTN_OK) return status;
  const PlannerArgs args{table_view(*tables), shape_view(*shape, 0), plan_view(*shape, *workspace),
                         window};
  plan_kernel<<<1, kPlannerThreads, 0, static_cast<cudaStream_t>(stream)>>>(args);
  return launched();
}

}  // namespace
}  // namespace fieldprint::cuda

using namespace fieldprint::cuda;  // the C functions below are thin

fp_attn_status fp_attn_make_pool(const fp_attn_shape* shape, const void* k, const void* v,
                                 int32_t pages, fp_attn_pool* pool) {
  fp_attn_status status = check_pool(shape, k, v, pages);
  if (status != FP_ATTN_OK) return status;
  if (pool == nullptr) return FP_ATTN_NULL_POINTER;
  status = current_device().status;
  if (status != FP_ATTN_OK) return status;
  static const EncodeTiled encode = encode_function();
  if (encode == nullptr) return FP_ATTN_CUDA_ERROR;
  pool->k = k;
  pool->v = v;
  pool->shape = *shape;
  pool->pages = pages;
  const Box slab{kSlabRows, static_cast<cuuint32_t>(shape->head_dim / 64)};
  const Box page{static_cast<cuuint32_t>(shape->page_rows), 1};
  status = encode_map(encode, *pool, k, slab, pool->k_map);
  if (status == FP_ATTN_OK) status = encode_map(encode, *pool, v, slab, pool->v_map);
  if (status == FP_ATTN_OK) status = encode_map(encode, *pool, k, page, pool->k_tile_map);
  if (status == FP_ATTN_OK) status = encode_map(encode, *pool, v, page, pool->v_tile_map);
  return status;
}

fp_attn_status fp_attn_plan(const fp_attn_shape* shape, const fp_attn_tables* tables,
                            const fp_attn_workspace* workspace, void* stream) {
  return plan(shape, tables, {}, workspace, stream);
}

fp_attn_status fp_attn_plan_window(const fp_attn_shape* shape, const fp_attn_tables* tables,
                                   const fp_attn_window* window, const fp_attn_workspace* workspace,
                                   void* stream) {
  fp_attn_status status = check_shape(shape);
  if (status == FP_ATTN_OK) status = check_tables(*shape, tables);
  if (status == FP_ATTN_OK) status = check_window(*tables, window);
  if (status != FP_ATTN_OK) return status;
  const WindowView view{window->rows, window->page_positions, window->anchor_positions};
  return plan(shape, tables, view, workspace, stream);
}

fp_attn_status fp_attn_decode(const fp_attn_pool* pool, const fp_attn_tables* tables,
                              const fp_attn_workspace* workspace, const fp_attn_decode_args* args,
                              void* stream_handle) {
  if (pool == nullptr) return FP_ATTN_NULL_POINTER;
  fp_attn_status status = check_pool(&pool->shape, pool->k, pool->v, pool->pages);
  if (status == FP_ATTN_OK) status = check_step(pool->shape, tables, workspace);
  if (status == FP_ATTN_OK) status = check_decode_args(*tables, args);
  if (status != FP_ATTN_OK) return status;
  auto* stream = static_cast<cudaStream_t>(stream_handle);
  DecodeArgs decode{};
  decode.table = table_view(*tables);
  decode.shape = shape_view(pool->shape, pool->pages);
  decode.plan = plan_view(pool->shape, *workspace);
  decode.q = args->q;
  decode.beta = args->beta;
  decode.scale_log2 = args->scale * kLog2E;
  decode.inv_scale = 1.0F / args->scale;
  decode.policy = {args->modes, args->gamma, args->psi};
  decode.o = args->o;
  decode.lse_context = args->lse_context;
  decode.lse_anchor = args->lse_anchor;
  decode.lse_joint = args->lse_joint;
  decode.mass = args->mass;
  if (launch_attention(*pool, decode, stream) == cudaSuccess) return FP_ATTN_OK;
  cudaGetLastError();
  return FP_ATTN_CUDA_ERROR;
}

fp_attn_status fp_attn_read_pages(const fp_attn_pool* pool, const fp_attn_tables* tables,
                                  const fp_attn_workspace* workspace, int32_t engine,
                                  void* stream_handle) {
  if (pool == nullptr) return FP_ATTN_NULL_POINTER;
  fp_attn_status status = check_pool(&pool->shape, pool->k, pool->v, pool->pages);
  if (status == FP_ATTN_OK) status = check_step(pool->shape, tables, workspace);
  if (status != FP_ATTN_OK) return status;
  auto* stream = static_cast<cudaStream_t>(stream_handle);
  const ShapeView shape = shape_view(pool->shape, pool->pages);
  const PlanView plan = plan_view(pool->shape, *workspace);
  const int dim = pool->shape.head_dim;
  cudaError_t error = cudaSuccess;
  if (engine == 1) {
    DecodeArgs args{};
    args.table = table_view(*tables);
    args.shape = shape;
    args.plan = plan;
    error = dim == 64    ? launch_decode<64, 4, DecodeMode::kReadOnly>(*pool, args, stream)
            : dim == 128 ? launch_decode<128, 4, DecodeMode::kReadOnly>(*pool, args, stream)
                         : launch_decode<256, 4, DecodeMode::kReadOnly>(*pool, args, stream);
  } else {
    const StreamArgs args{table_view(*tables), shape, pool->k, pool->v,
                          reinterpret_cast<std::uint32_t*>(plan.partial_o)};
    error = dim == 64    ? launch_stream<64>(args, stream)
            : dim == 128 ? launch_stream<128>(args, stream)
                         : launch_stream<256>(args, stream);
  }
  if (error == cudaSuccess) return FP_ATTN_OK;
  cudaGetLastError();
  return FP_ATTN_CUDA_ERROR;
}
