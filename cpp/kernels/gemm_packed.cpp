// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gemm_packed.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/even_step.h"
#include "kernels/gemm_pack.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

// The block of B in the second-level cache: 390 KB, and towards the end of a chunk as much again, of the next block.
#if defined(__AVX2__)
constexpr std::int64_t kDepth = Ahead::kMostDepth;
#else
constexpr std::int64_t kDepth = 256;
#endif
constexpr std::int64_t kBlockColumns = 192;  // whole panels for every instruction set
// Threads pack blocks of B for themselves: in their own cache, and without waiting for anybody. That is paid back by
// the rows that use it, so rows are cut only where columns alone make few chunks.
constexpr std::int64_t kFewestRows = 1024;
constexpr std::int64_t kChunks = 8;
// Working memory from here on lies in one huge page. Scattered over small ones, a block of B of half the second-level
// cache does not stay there.
constexpr std::int64_t kHugePage = (2 << 20) / sizeof(float);
// Of A copied at a time: bounds the working memory.
constexpr std::int64_t kMostRows = 4096;

/// A slab of the product: rows x columns of C over part of K.
struct Slab {
  const Gemm* product;
  Range rows, depth;
  const float* packed_a;  // null: A in place
  std::int64_t a_stride;
};

void copy_a(const Gemm& g, Range rows, Range depth, float* packed, std::int64_t stride) {
  core::parallel_for(rows.size(), 16 * kTileRows, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t i = rows.begin + begin;
    if (g.a_transposed)
      pack_micro_panels(g.a + depth.begin * g.lda + i, g.lda, end - begin, depth.size(), kTileRows,
                        packed + begin * stride, kTileRows * stride);
    else
      pack_a(g.a + i * g.lda + depth.begin, g.lda, false, end - begin, depth.size(), packed + begin * stride, stride);
  });
}

/// A block of B that several chunks use. Whoever comes first packs it; who comes meanwhile does not wait.
struct SharedBlock {
  float* packed;
  enum State : int { raw, in_work, ready } state;
};

Panels panels_of(const Slab& slab, Range columns) {
  // Micro-panels of A have the height of narrow tiles.
  return cut_narrow_panels(columns.size(), slab.packed_a && slab.product->a_transposed);
}

void multiply_by(const Slab& slab, Range rows, Range columns, const float* packed) {
  const Gemm& g = *slab.product;
  const float* const a = slab.packed_a ? slab.packed_a + (rows.begin - slab.rows.begin) * slab.a_stride : nullptr;
  const bool first = slab.depth.begin == 0, last = slab.depth.end == g.K;
  Pass pass{&g, rows, columns, slab.depth, packed, a, slab.a_stride, first, last};
  Ahead ahead;
  plan_ahead(pass, columns.end, true, ahead);
  pass.ahead = &ahead;
  run_pass(pass, panels_of(slab, columns), false);
}

void multiply_alone(const Slab& slab, Range rows, Range columns) {
  const std::int64_t width = ceil_div(columns.size(), kLanes) * kLanes;
  const core::Scratch<float> scratch(static_cast<std::size_t>(larger(width * slab.depth.size(), kHugePage)));
  pack_panels(*slab.product, slab.depth, columns, panels_of(slab, columns), scratch.get());
  multiply_by(slab, rows, columns, scratch.get());
}

void multiply_chunk(const Slab& slab, Range rows, Range columns, SharedBlock& block) {
  SharedBlock::State found = SharedBlock::raw;
  if (__atomic_compare_exchange_n(&block.state, &found, SharedBlock::in_work, false, __ATOMIC_ACQUIRE,
                                  __ATOMIC_ACQUIRE)) {
    pack_panels(*slab.product, slab.depth, columns, panels_of(slab, columns), block.packed);
    __atomic_store_n(&block.state, SharedBlock::ready, __ATOMIC_RELEASE);
  } else if (found == SharedBlock::in_work) {
    return multiply_alone(slab, rows, columns);
  }
  multiply_by(slab, rows, columns, block.packed);
}

/// Blocks of columns, each under all rows or a few pieces of them. The last block or two go in halves: two threads then
/// end together, whatever the number of blocks.
void multiply_slab(const Slab& slab) {
  const Gemm& g = *slab.product;
  const std::int64_t M = slab.rows.size(), blocks = ceil_div(g.N, kBlockColumns);
  const std::int64_t width = blocks == 2 ? even_step(g.N, 2, kLanes) : kBlockColumns;
  const std::int64_t pieces = larger(smaller(ceil_div(kChunks, blocks), M / kFewestRows), 1);
  const std::int64_t halved = blocks % 2 ? 1 : 2, whole = (blocks - halved) * pieces;
  const std::int64_t sharing = pieces > 1 ? blocks : halved, size = width * slab.depth.size();
  const core::Scratch<float> scratch(static_cast<std::size_t>(larger(sharing * size, kHugePage)));
  SharedBlock shared[kChunks + 2];
  for (std::int64_t b = 0; b < sharing; ++b) shared[b] = {scratch.get() + b * size, SharedBlock::raw};
  core::parallel_chunks(whole + halved * 2 * pieces, [&](std::int64_t chunk) {
    const bool halves = chunk >= whole;
    const std::int64_t cut = halves ? 2 * pieces : pieces, number = halves ? chunk + whole : chunk;
    const std::int64_t step = even_step(M, cut, kTileRows);
    const std::int64_t i = number % cut * step, block = number / cut;
    if (i >= M) return;
    const Range rows{slab.rows.begin + i, slab.rows.begin + smaller(i + step, M)};
    const Range columns{block * width, smaller((block + 1) * width, g.N)};
    if (cut == 1)
      multiply_alone(slab, rows, columns);
    else
      multiply_chunk(slab, rows, columns, shared[block - (blocks - sharing)]);
  });
}

}  // namespace

void multiply_packed(const Gemm& g) {
  // Rows whose distance is a multiple of 1 KiB fall on a few sets of the first-level cache and push each other out; the
  // copy takes as long as five chunks of columns lose by that.
  const bool copies_a = g.a_transposed || (g.lda % 256 == 0 && g.N >= 5 * kBlockColumns);
  const std::int64_t depth = even_step_within(g.K, kDepth, 4), rows = smaller(g.M, kMostRows);
  const std::int64_t a_stride = ceil_div(depth, kLanes) * kLanes + 16;
  const core::Scratch<float> scratch(
      static_cast<std::size_t>(copies_a ? ceil_div(rows, kTileRows) * kTileRows * a_stride : 1));
  for (std::int64_t i = 0; i < g.M; i += rows) {
    for (std::int64_t p = 0; p < g.K; p += depth) {
      const Range part{p, smaller(p + depth, g.K)};
      Slab slab{&g, {i, smaller(i + rows, g.M)}, part, nullptr, g.a_transposed ? part.size() + 2 : a_stride};
      if (copies_a) {
        copy_a(g, slab.rows, part, scratch.get(), slab.a_stride);
        slab.packed_a = scratch.get();
      }
      multiply_slab(slab);
    }
  }
}

}  // namespace nervure::kernels::NV_ISA
