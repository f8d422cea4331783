// Launches: argument checks, tensor maps, grid sizes. The only file that instantiates
// the kernels.
#include <cuda_runtime.h>

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
  const bool ready =
      allow_shared(decode_kernel<64, 4, DecodeMode::kAttend>, sizeof(DecodeShared<64, 4>)) &&
      allow_shared(decode_kernel<64, 8, DecodeMode::kAttend>, sizeof(DecodeShared<64, 8>)) &&
      allow_shared(decode_kernel<128, 4, DecodeMode::kAttend>, sizeof(DecodeShared<128, 4>)) &&
      allow_shared(decode_kernel<128, 8, DecodeMode::kAttend>, sizeof(DecodeShared<128, 8>)) &&
      allow_shared(decode_kernel<64, 4, DecodeMode::kReadOnly>, sizeof(DecodeShared<64, 4>)) &&
      allow_shared(decode_kernel<128, 4, DecodeMode::kReadOnly>, sizeof(DecodeShared<128, 4>));
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
  return {t.pages,        t.page_counts,        t.page_stride,   t.batch,  t.anchor_ids,
          t.anchor_pages, t.anchor_page_counts, t.anchor_stride, t.anchors};
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

// Two CTAs per multiprocessor; the planner lists the first two tickets of each.
int decode_grid() {
  const int wanted = 2 * current_device().multiprocessors;
  return wanted < kMaxOpenings / 2 ? wanted : kMaxOpenings / 2;
}

template <int kDim, int kCols, DecodeMode kMode>
void launch_decode(const fp_attn_pool& pool, const DecodeArgs& args, cudaStream_t stream) {
  alignas(64) CUtensorMap maps[2];
  std::memcpy(&maps[0], pool.k_map, sizeof(CUtensorMap));
  std::memcpy(&maps[1], pool.v_map, sizeof(CUtensorMap));
  decode_kernel<kDim, kCols, kMode>
      <<<decode_grid(), kDecodeThreads, sizeof(DecodeShared<kDim, kCols>), stream>>>(maps[0],
                                                                                     maps[1], args);
}

void launch_attend(const fp_attn_pool& pool, const DecodeArgs& args, cudaStream_t stream) {
  const bool narrow = args.shape.columns == 4;
  if (pool.shape.head_dim == 64) {
    narrow ? launch_decode<64, 4, DecodeMode::kAttend>(pool, args, stream)
           : launch_decode<64, 8, DecodeMode::kAttend>(pool, args, stream);
  } else {
    narrow ? launch_decode<128, 4, DecodeMode::kAttend>(pool, args, stream)
           : launch_decode<128, 8, DecodeMode::kAttend>(pool, args, stream);
  }
}

// Starts while the decode kernel drains; waits for its results on the device.
template <int kDim, int kCols, int kSlices>
cudaError_t launch_merge(const DecodeArgs& args, cudaStream_t stream) {
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(args.shape.kv_heads * kSlices),
                        static_cast<unsigned>(args.table.batch));
  config.blockDim = dim3(kMergeWarps * 32);
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, merge_kernel<kDim, kCols, kSlices>, args);
}

// Slices of head_dim only where the batch alone gives the device too few CTAs.
template <int kDim, int kCols>
cudaError_t launch_merge(const DecodeArgs& args, cudaStream_t stream) {
  const int units = args.table.batch * args.shape.kv_heads;
  return units < 2 * current_device().multiprocessors ? launch_merge<kDim, kCols, 4>(args, stream)
                                                      : launch_merge<kDim, kCols, 1>(args, stream);
}

cudaError_t launch_merge(int head_dim, const DecodeArgs& args, cudaStream_t stream) {
  const bool narrow = args.shape.columns == 4;
  if (head_dim == 64) {
    return narrow ? launch_merge<64, 4>(args, stream) : launch_merge<64, 8>(args, stream);
  }
  return narrow ? launch_merge<128, 4>(args, stream) : launch_merge<128, 8>(args, stream);
}

PlanView plan_view(const fp_attn_shape& shape, const fp_attn_workspace& workspace) {
  PlanView view = cut_workspace(shape, workspace.limits, workspace.data).view;
  view.opening_count = 2 * decode_grid();
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
  fp_attn_status status = check_shape(shape);
  if (status == FP_ATTN_OK) status = check_step(*shape, tables, workspace);
  if (status != FP_ATTN_OK) return status;
  const PlannerArgs args{table_view(*tables), shape_view(*shape, 0), plan_view(*shape, *workspace)};
  plan_kernel<<<1, kPlannerThreads, 0, static_cast<cudaStream_t>(stream)>>>(args);
  return launched();
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
  launch_attend(*pool, decode, stream);
  status = launched();
  if (status != FP_ATTN_OK) return status;
  if (launch_merge(pool->shape.head_dim, decode, stream) == cudaSuccess) return FP_ATTN_OK;
  return launched();
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
  const bool narrow = pool->shape.head_dim == 64;
  if (engine == 1) {
    DecodeArgs args{};
    args.table = table_view(*tables);
    args.shape = shape;
    args.plan = plan;
    if (narrow) {
      launch_decode<64, 4, DecodeMode::kReadOnly>(*pool, args, stream);
    } else {
      launch_decode<128, 4, DecodeMode::kReadOnly>(*pool, args, stream);
    }
    return launched();
  }
  const StreamArgs args{table_view(*tables), shape, pool->k, pool->v,
                        reinterpret_cast<std::uint32_t*>(plan.partial_o)};
  const int grid = 3 * current_device().multiprocessors;
  if (narrow) {
    stream_kernel<64><<<grid, kStreamThreads, 0, stream>>>(args);
  } else {
    stream_kernel<128><<<grid, kStreamThreads, 0, stream>>>(args);
  }
  return launched();
}
