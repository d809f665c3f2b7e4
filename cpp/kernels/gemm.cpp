// SPDX-License-Identifier: BSD-3-Clause
// Which path a product takes, and how it is cut into chunks: by shape alone, so that results do not depend on threads.
#include "kernels/gemm.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/even_step.h"
#include "kernels/gemm_block.h"
#include "kernels/gemm_dots.h"
#include "kernels/gemm_epilogue.h"
#include "kernels/gemm_packed.h"
#include "kernels/gemm_swapped.h"
#include "kernels/gemv.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

// Multiply-adds. A parallel region costs as much as 0.15 million; a chunk should not be much cheaper. The upper bound
// keeps a chunk below 100 ms on the slowest instruction set.
constexpr std::int64_t kSerial = 150'000;
// Of a vector and a matrix, which takes as long as it takes to read the matrix: from the third-level cache five times
// as long as its arithmetic, and two cores read it in half the time.
constexpr std::int64_t kSerialVector = 50'000;
constexpr std::int64_t kChunk = 400'000;
constexpr std::int64_t kLongest = 500'000'000;
constexpr std::int64_t kMostChunks = 32;  // that are cut for parallelism alone

constexpr std::int64_t kNarrowPanel = (kTileVectors - 1) * kLanes;

constexpr std::int64_t kDepth = 384;          // of one pass over K, for blocks of B that are packed or fetched ahead
constexpr std::int64_t kDepthInPlace = 1024;  // and for others
constexpr std::int64_t kLeastDepth = 128;
// Rows of B in place that lie a multiple of a high power of two apart share a few sets of the second-level cache: this
// is how many of them, times that power, stay there. Up to 1.2x at rows of 512 or 1024 elements.
constexpr std::int64_t kSameSets = 1 << 17;
constexpr std::int64_t kDepthSplit = 96;     // and for parts of a long sum: B then stays in the first-level cache
constexpr std::int64_t kLocalColumns = 384;  // of B packed by one chunk for itself
constexpr std::int64_t kResident = 8192;     // elements of B that stay in the first-level cache
constexpr std::int64_t kFar = 1 << 19;       // elements of B that do not stay in the second-level cache

bool is_small(const Gemm& g) { return g.M <= 192 || g.N <= 2 * kNarrowPanel; }
bool is_shallow(const Gemm& g) { return g.K <= 64; }

enum class Path { vector, dots, swapped, block };

struct Plan {
  Path path;
  Blocking blocking;
  std::int64_t row_step, column_unit, column_chunks, chunks;
};

/// Columns in `wanted` chunks or fewer, all alike but for one unit.
void cut_columns(const Gemm& g, std::int64_t wanted, std::int64_t unit, Plan& plan) {
  plan.column_unit = unit;
  plan.column_chunks = larger(smaller(wanted, ceil_div(g.N, unit)), 1);
}

Range columns_of(const Gemm& g, const Plan& plan, std::int64_t chunk) {
  const std::int64_t units = ceil_div(g.N, plan.column_unit);
  const auto edge = [&](std::int64_t j) { return divide(j * units, plan.column_chunks) * plan.column_unit; };
  return {edge(chunk), smaller(edge(chunk + 1), g.N)};
}

/// Cut into about `wanted` chunks: columns first, so that every chunk reads its own part of B.
void cut_columns_first(const Gemm& g, std::int64_t wanted, std::int64_t most_columns, Plan& plan) {
  const std::int64_t least = ceil_div(g.N, most_columns), panels = ceil_div(g.N, kNarrowPanel);
  // Few columns in panels of two widths, many in narrow ones, which ask for less of B at a time.
  if (panels <= 4)
    cut_columns(g, larger(smaller(wanted, g.N / kNarrowPanel), least), kLanes, plan);
  else
    cut_columns(g, 2 * wanted > panels ? panels : larger(wanted, least), kNarrowPanel, plan);
  // Chunks that share a part of B each read it; that is worth it where there would be few.
  const std::int64_t rows = plan.column_chunks >= kMostChunks / 2 ? 1 : divide(wanted, plan.column_chunks);
  plan.row_step = even_step(g.M, rows, kTileRows);
}

/// Long rows, few of them: a tile's rows of A stay in the first-level cache while panels of B pass by.
bool has_long_rows(const Gemm& g) { return g.M <= 64 && g.K > 512 && !g.a_transposed; }

void cut_tiles_first(const Gemm& g, Plan& plan) {
  plan.row_step = kTileRows;
  cut_columns(g, g.N, kNarrowPanel, plan);
}

void cut_rows_first(const Gemm& g, std::int64_t wanted, Plan& plan) {
  plan.row_step = even_step(g.M, smaller(wanted, larger(g.M / 64, 1)), 2 * kTileRows);
  cut_columns(g, ceil_div(g.N, kLocalColumns), kLanes, plan);
  if (!is_shallow(g) || g.b_transposed) return;
  // C is what such a product has to wait for: whole rows of it, one after the other, under a B that stays close.
  cut_columns(g, ceil_div(g.K * g.N, kResident), kNarrowPanel, plan);
  plan.blocking.panels_outside = false;
}

// A few rows of A times a transposed B: transposing B would cost a pass over B, dot products cost a horizontal sum per
// element of C, swapping the operands costs a transposition of C and whole vectors of rows.
Path path_of(const Gemm& g) {
  if (g.M == 1) return Path::vector;
  if (!g.b_transposed || g.M > 192 || g.M > g.K) return Path::block;
  return g.M < 12 && g.K >= 128 && !g.a_transposed ? Path::dots : Path::swapped;
}

/// Whether vectors of B in place lie across two cache lines. Each costs a load more, and each is loaded once for every
/// tile of rows.
bool has_split_rows(const Gemm& g) { return g.M >= 64 && g.ldb % kLanes != 0; }
bool is_split(const Gemm& g) {
  return has_split_rows(g) || (g.M >= 64 && reinterpret_cast<std::uintptr_t>(g.b) % sizeof(vf) != 0);
}

// A single tile of rows reads B as it comes.
bool is_far(const Gemm& g) { return g.K * g.N >= kFar && g.M > kTileRows; }

// In place, a panel of B lies in as many pages as it has rows; packing reads every page once.
bool packs_b(const Gemm& g) { return g.b_transposed || is_split(g) || (is_far(g) && g.M > 32); }

/// Of one pass over K. Sums are cut there, so it may depend on the shape but not on where B begins.
std::int64_t most_depth(const Gemm& g, const Plan& plan) {
  if (g.b_transposed || plan.blocking.far || (g.M <= 192 && has_split_rows(g))) return kDepth;
  if (g.M <= 2 * kTileRows || has_long_rows(g)) return kDepthInPlace;
  const std::int64_t rows = kSameSets / larger(g.ldb & -g.ldb, 1);
  return larger(smaller(kDepthInPlace, rows), kLeastDepth);
}

/// One chunk, no division: for products that take a microsecond.
Plan small_plan(const Gemm& g) {
  return {path_of(g), {g.K < kDepth ? g.K : kDepth, g.b_transposed || is_split(g), true, false}, g.M, kLanes, 1, 1};
}

/// For products that are small in one direction at least. `batch` of them run side by side.
Plan make_plan(const Gemm& g, std::int64_t batch) {
  const std::int64_t work = g.M * g.N * g.K;
  Plan plan = small_plan(g);
  if (plan.path == Path::vector && batch == 1 && work > kSerialVector && work <= kSerial) {
    cut_columns(g, 2, g.b_transposed ? 16 : 64, plan);
    plan.chunks = plan.column_chunks;
    return plan;
  }
  if (work * batch <= kSerial) return plan;
  const std::int64_t wanted = larger(divide(work, larger(kChunk, work * batch / kMostChunks)), 1);
  if (plan.path == Path::vector) {
    // Rows of B are read in pieces of 1 KiB at least when they lie along the columns.
    cut_columns(g, wanted, g.b_transposed ? 16 : 256, plan);
  } else if (plan.path != Path::block) {
    cut_columns(g, wanted, 48, plan);
  } else if (g.M <= 192) {
    plan.blocking.pack_b = packs_b(g);
    plan.blocking.far = is_far(g);
    if (has_long_rows(g) && !plan.blocking.pack_b)
      cut_tiles_first(g, plan);
    else
      cut_columns_first(g, wanted, plan.blocking.pack_b ? kLocalColumns : g.N, plan);
  } else {
    plan.blocking.pack_b = g.b_transposed;
    plan.blocking.panels_outside = !plan.blocking.pack_b;
    cut_rows_first(g, wanted, plan);
  }
  plan.chunks = plan.column_chunks * ceil_div(g.M, plan.row_step);
  plan.blocking.depth = even_step(g.K, ceil_div(g.K, most_depth(g, plan)), 4);
  return plan;
}

void run_chunk(const Gemm& g, const Plan& plan, const float* packed, std::int64_t chunk) {
  const std::int64_t i = divide(chunk, plan.column_chunks), j = chunk - i * plan.column_chunks;
  const Range rows{i * plan.row_step, smaller((i + 1) * plan.row_step, g.M)};
  const Range columns = plan.column_chunks == 1 ? Range{0, g.N} : columns_of(g, plan, j);
  switch (plan.path) {
    case Path::vector:
      return multiply_vector(g, columns);
    case Path::dots:
      return multiply_dots(g, rows, columns);
    case Path::swapped:
      return multiply_swapped(g, packed, columns);
    case Path::block:
      return multiply_block(g, plan.blocking, rows, columns);
  }
}

template <class Body>
NV_INLINE void with_packed(const Gemm& g, const Plan& plan, const Body& body) {
  if (plan.path != Path::swapped) return body(nullptr);
  const core::Scratch<float> scratch(static_cast<std::size_t>(swapped_size(g)));
  pack_swapped(g, scratch.get());
  body(scratch.get());
}

/// The part p .. end of the sum over K.
Gemm depth_part(const Gemm& g, std::int64_t p, std::int64_t end) {
  Gemm part = g;
  part.K = end - p;
  part.a += g.a_transposed ? p * g.lda : p;
  part.b += g.b_transposed ? p : p * g.ldb;
  return part;
}

// Small C, long sums: parts of K side by side, added up in order. One row of C waits for memory, which is best read in
// its own order: whole rows of B, along the columns or as dot products.
bool splits_depth(const Gemm& g) {
  if (g.M * g.N > 16 * 1024 || g.M * g.N * g.K <= 2 * kSerial) return false;
  return g.M > 1 || g.N < 128 ? g.K >= 1024 : !g.b_transposed && g.K >= 512;
}

void split_depth(const Gemm& g) {
  const std::int64_t wanted = larger(2, smaller(smaller(g.K / 256, 16), g.M * g.N * g.K / kChunk));
  const std::int64_t step = even_step(g.K, wanted, 16);
  const std::int64_t parts = ceil_div(g.K, step);
  const std::int64_t size = ceil_div(g.M * g.N, 16) * 16;
  const core::Scratch<float> scratch(static_cast<std::size_t>(parts * size));
  float* const sums = scratch.get();
  core::parallel_chunks(parts, [&](std::int64_t chunk) {
    Gemm part = depth_part(g, chunk * step, smaller((chunk + 1) * step, g.K));
    part.c = sums + chunk * size;
    part.ldc = g.N;
    part.column_bias = part.row_bias = nullptr;
    part.accumulate = false;
    part.activation = Activation::none;
    Plan plan = make_plan(part, kMostChunks);
    if (part.a_transposed && !plan.blocking.pack_b)
      plan.blocking.depth = even_step(part.K, ceil_div(part.K, kDepthSplit), 4);
    with_packed(part, plan, [&](const float* packed) {
      for (std::int64_t i = 0; i < plan.chunks; ++i) run_chunk(part, plan, packed, i);
    });
  });
  for (std::int64_t i = 0; i < size; i += kLanes) {
    vf total = load(sums + i);
    for (std::int64_t p = 1; p < parts; ++p) total += load(sums + p * size + i);
    store(sums + i, total);
  }
  finish_rows(g, {0, g.M}, {0, g.N}, sums, g.N);
}

Gemm member(const Gemm& g, const GemmBatch& batch, std::int64_t index) {
  const std::int64_t i = index / batch.inner, j = index - i * batch.inner;
  Gemm one = g;
  one.a += i * batch.a_outer + j * batch.a_inner;
  one.b += i * batch.b_outer + j * batch.b_inner;
  one.c += i * batch.c_outer + j * batch.c_inner;
  return one;
}

void multiply_batch(const Gemm& g, const GemmBatch& batch) {
  const std::int64_t count = batch.outer * batch.inner;
  Plan plan = make_plan(g, count);
  if (plan.path == Path::swapped) {  // one chunk: each would pack A for itself
    plan.column_chunks = plan.chunks = 1;
  }
  const std::int64_t work = larger(g.M * g.N * g.K, 1);
  const std::int64_t group = plan.chunks > 1 ? 1 : smaller(larger(kChunk / work, 1), ceil_div(count, 2));
  core::parallel_chunks(ceil_div(count, group) * plan.chunks, [&](std::int64_t chunk) {
    const std::int64_t first = chunk / plan.chunks * group;
    for (std::int64_t b = first; b < smaller(first + group, count); ++b) {
      const Gemm one = member(g, batch, b);
      with_packed(one, plan, [&](const float* packed) { run_chunk(one, plan, packed, chunk % plan.chunks); });
    }
  });
}

bool is_large(const Gemm& g) { return !is_small(g) && !is_shallow(g); }

/// Passes over K so short that no chunk takes long.
template <class Body>
NV_INLINE void in_slabs(const Gemm& g, const Body& body) {
  if (g.M * g.N * g.K <= kLongest || is_large(g)) return body(g);
  const std::int64_t area = smaller(g.M, 192) * smaller(g.N, kLocalColumns);  // of the largest chunk, about
  const std::int64_t slab = larger(kLongest / area / kDepth, 1) * kDepth;
  for (std::int64_t p = 0; p < g.K; p += slab) {
    Gemm part = depth_part(g, p, smaller(p + slab, g.K));
    part.accumulate = p > 0 || g.accumulate;
    if (p + slab < g.K) {
      part.column_bias = part.row_bias = nullptr;
      part.activation = Activation::none;
    }
    body(part);
  }
}

bool is_column(const Gemm& g) { return g.N == 1 && g.ldc == 1 && g.M != 1; }

/// A column of C is the row of its transpose.
Gemm transposed(const Gemm& g) {
  Gemm t = g;
  t.M = 1;
  t.N = g.M;
  t.a = g.b;
  t.lda = g.ldb;
  t.a_transposed = !g.b_transposed;
  t.b = g.a;
  t.ldb = g.lda;
  t.b_transposed = !g.a_transposed;
  t.ldc = g.M;
  t.column_bias = g.row_bias;
  t.row_bias = g.column_bias;
  return t;
}

}  // namespace

void gemm(const Gemm& product) {
  if (product.M == 0 || product.N == 0) return;
  in_slabs(is_column(product) ? transposed(product) : product, [](const Gemm& g) {
    if (is_large(g)) return multiply_packed(g);
    if (splits_depth(g)) return split_depth(g);
    const Plan plan = make_plan(g, 1);
    with_packed(g, plan, [&](const float* packed) {
      core::parallel_chunks(plan.chunks, [&](std::int64_t chunk) { run_chunk(g, plan, packed, chunk); });
    });
  });
}

void gemm_batched(const Gemm& product, const GemmBatch& batch) {
  if (product.M == 0 || product.N == 0 || batch.outer * batch.inner == 0) return;
  const std::int64_t count = batch.outer * batch.inner;
  if (count == 1 || is_large(product) || (count < 4 && path_of(product) == Path::swapped)) {
    for (std::int64_t i = 0; i < count; ++i) gemm(member(product, batch, i));
    return;
  }
  if (!is_column(product)) return in_slabs(product, [&](const Gemm& g) { multiply_batch(g, batch); });
  const GemmBatch swapped{batch.outer,   batch.inner,   batch.b_outer, batch.b_inner,
                          batch.a_outer, batch.a_inner, batch.c_outer, batch.c_inner};
  in_slabs(transposed(product), [&](const Gemm& g) { multiply_batch(g, swapped); });
}

}  // namespace nervure::kernels::NV_ISA
