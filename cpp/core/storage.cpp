// SPDX-License-Identifier: BSD-3-Clause
#include "core/storage.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/parallel.h"
#include "core/scratch.h"
#include "core/spin_lock.h"

namespace nervure::core {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHeader = 64;  // Storage, and a pointer to it just below the data
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLargestPage = std::size_t{64} << 10;  // of the ordinary ones: 4 KiB, or up to 64 KiB on AArch64
constexpr std::size_t kColoured = std::size_t{64} << 10;     // blocks from here on start at varying cache lines ...
constexpr std::size_t kColours = 61;  // ... so that streams through several do not collide (4 KiB aliasing)
constexpr std::size_t kMinimumCache = std::size_t{64} << 20;
constexpr std::size_t kLargest = std::size_t{1} << 46;
constexpr std::size_t kLargestInSets = std::size_t{4} << 20;
constexpr std::size_t kLent = std::size_t{1} << 20;  // blocks from here on also serve requests for smaller ones
constexpr int kClasses = 4 * 48;

static_assert(sizeof(Storage) + sizeof(Storage*) <= kHeader);

/// Four size classes to a doubling: at most a quarter is wasted, and ragged batches reuse each other's blocks.
int size_class(std::size_t bytes) {
  const std::size_t units = (std::max<std::size_t>(bytes, 1) + kAlignment - 1) / kAlignment;
  if (units <= 4) return static_cast<int>(units) - 1;
  const int shift = static_cast<int>(std::bit_width(units - 1)) - 3;  // (units - 1) >> shift is 4 .. 7
  return 4 * shift + static_cast<int>((units - 1) >> shift);
}

std::size_t class_capacity(int size_class) {
  if (size_class < 4) return static_cast<std::size_t>(size_class + 1) * kAlignment;
  const int shift = size_class / 4 - 1;
  return (static_cast<std::size_t>(size_class % 4 + 5) << shift) * kAlignment;
}

/// Bytes to map: whole huge pages, unless more than half of the last one would lie idle; then ordinary ones end it.
std::size_t mapped(std::size_t bytes) {
  const std::size_t tail = bytes % kHugePage, page = tail < kHugePage / 2 ? kLargestPage : kHugePage;
  return (bytes + page - 1) / page * page;
}

void* map_huge(std::size_t bytes) {
  // Over-map, then cut to a 2 MiB boundary: only aligned ranges become huge pages.
  char* raw =
      static_cast<char*>(mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (raw == MAP_FAILED) throw std::bad_alloc();
  const std::size_t lead = (kHugePage - reinterpret_cast<std::uintptr_t>(raw) % kHugePage) % kHugePage;
  if (lead) munmap(raw, lead);
  munmap(raw + lead + bytes, kHugePage - lead);
#ifdef MADV_HUGEPAGE
  madvise(raw + lead, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return raw + lead;
}

/// Blocks of scratch that this thread holds, by size class.
thread_local int held_by_thread[kClasses] = {};

}  // namespace

/// All free blocks of the process.
class Pool {
 public:
  static Pool& instance() {
    static Pool* pool = new Pool;  // never destroyed: tensors may outlive static destructors
    return *pool;
  }

  Storage* acquire(std::size_t bytes) { return acquire(bytes, checked_class(bytes)); }

  /// Scratch has free lists of its own, and its blocks come in sets, one for each thread and as many as a thread holds
  /// at once: which threads take part in a region, and when, is the scheduler's choice, and must not send a later step
  /// to the operating system. Few kernels hold very large blocks, and these come from the tensors' lists.
  Storage* acquire_scratch(std::size_t bytes) {
    if (bytes > kLargestInSets) return acquire(bytes);
    const int cls = kClasses + checked_class(bytes);
    const int wanted = num_threads() * (held_by_thread[cls - kClasses] + 1);
    if (caching_ && prepared(cls) < wanted) complete_set(cls, wanted);
    Storage* const block = acquire(bytes, cls);
    ++held_by_thread[block->size_class_ - kClasses];
    return block;
  }

  void release_scratch(Storage* block) {
    if (block->size_class_ >= kClasses) --held_by_thread[block->size_class_ - kClasses];
    block->release();
  }

  void recycle(Storage* block) {
    Storage* surplus = nullptr;
    {
      std::lock_guard guard(lock_);
      live_ -= block->capacity_;
      keep(block);
      // Half as much again as was in use at the worst moment, for what its sizes do not fit: shapes that come and go
      // cannot pile up, and a step that repeats finds all it needs.
      const std::size_t limit = caching_ ? std::max(peak_ + peak_ / 2, kMinimumCache) : 0;
      while (cached_ > limit) {
        Storage* stale = take_stalest();
        stale->next_ = surplus;
        surplus = stale;
      }
    }
    destroy_chain(surplus);
  }

  void trim() {
    Storage* chains[2 * kClasses];
    {
      std::lock_guard guard(lock_);
      std::copy(std::begin(free_), std::end(free_), std::begin(chains));
      std::fill(std::begin(free_), std::end(free_), nullptr);
      std::fill(std::begin(prepared_), std::end(prepared_), 0);
      cached_ = 0;
    }
    for (Storage* chain : chains) destroy_chain(chain);
  }

  MemoryStats stats() {
    std::lock_guard guard(lock_);
    return {live_, peak_, cached_, allocations_, system_allocations_};
  }

  void reset_peak() {
    std::lock_guard guard(lock_);
    peak_ = live_;
  }

 private:
  Pool() {
    const char* choice = std::getenv("NERVURE_ALLOC");  // "system": let sanitizers see every allocation
    caching_ = !(choice && std::strcmp(choice, "system") == 0);
    pthread_atfork([] { instance().lock_.lock(); }, [] { instance().lock_.unlock(); },
                   [] { instance().lock_.unlock(); });
  }

  static int checked_class(std::size_t bytes) {
    if (bytes > kLargest) throw std::bad_alloc();
    return size_class(bytes);
  }

  Storage* acquire(std::size_t bytes, int cls) {
    const std::size_t capacity = class_capacity(cls % kClasses);
    Storage* block = nullptr;
    {
      std::lock_guard guard(lock_);
      block = take_free(cls, capacity);
      last_use_[block ? block->size_class_ : cls] = allocations_;
      count_live(block ? block->capacity_ : capacity, block == nullptr);
    }
    if (!block) block = create(cls, capacity);
    block->bytes_ = bytes;
    block->version_.store(0, std::memory_order_relaxed);
    return block;
  }

  /// A free block of the class, else, of large ones, the next larger below twice the size; under lock_. Null: none.
  Storage* take_free(int cls, std::size_t capacity) {
    const int last = capacity >= kLent ? std::min(cls + 3, cls / kClasses * kClasses + kClasses - 1) : cls;
    while (cls < last && !free_[cls]) ++cls;
    Storage* const block = free_[cls];
    if (!block) return nullptr;
    free_[cls] = block->next_;
    cached_ -= block->capacity_;
    return block;
  }

  /// A free block of the size that has not been asked for for the longest time; under lock_, cached_ > 0.
  Storage* take_stalest() {
    int stalest = -1;
    for (int cls = 0; cls < 2 * kClasses; ++cls)
      if (free_[cls] && (stalest < 0 || last_use_[cls] < last_use_[stalest])) stalest = cls;
    Storage* block = free_[stalest];
    free_[stalest] = block->next_;
    cached_ -= block->capacity_;
    return block;
  }

  /// Into its free list; under lock_.
  void keep(Storage* block) {
    block->next_ = free_[block->size_class_];
    free_[block->size_class_] = block;
    cached_ += block->capacity_;
  }

  int prepared(int cls) {
    std::lock_guard guard(lock_);
    return prepared_[cls];
  }

  /// Free blocks until so many have been made.
  void complete_set(int cls, int wanted) {
    const std::size_t capacity = class_capacity(cls % kClasses);
    for (int i = prepared(cls); i < wanted; ++i) {
      {
        std::lock_guard guard(lock_);
        count_live(capacity, /*from_system=*/true);
      }
      Storage* block = create(cls, capacity);
      std::lock_guard guard(lock_);
      live_ -= capacity;
      keep(block);
      ++prepared_[cls];
    }
  }

  void count_live(std::size_t capacity, bool from_system) {
    live_ += capacity;
    peak_ = std::max(peak_, live_);
    ++allocations_;
    if (from_system) ++system_allocations_;
  }

  Storage* create(int cls, std::size_t capacity) {
    std::size_t colour = 0;
    if (capacity >= kColoured) colour = next_colour_.fetch_add(7, std::memory_order_relaxed) % kColours;
    const std::size_t room = kHeader + capacity + (capacity >= kColoured ? kColours * kAlignment : 0);
    void* raw = nullptr;
    try {
      raw = from_system(capacity, room);
    } catch (const std::bad_alloc&) {
      std::lock_guard guard(lock_);
      live_ -= capacity;
      throw;
    }
    auto* block = new (raw) Storage;
    block->size_class_ = cls;
    block->capacity_ = capacity;
    block->data_ = static_cast<char*>(raw) + kHeader + colour * kAlignment;
    static_cast<Storage**>(block->data_)[-1] = block;
    return block;
  }

  /// When there is no more to be had, blocks of other sizes that lie idle here may be what is missing.
  void* from_system(std::size_t capacity, std::size_t room) {
    const auto ask = [=] {
      return capacity >= kHugePage ? map_huge(mapped(room)) : ::operator new(room, std::align_val_t{kAlignment});
    };
    try {
      return ask();
    } catch (const std::bad_alloc&) {
      trim();
      return ask();
    }
  }

  static void destroy_chain(Storage* block) {
    while (block) {
      Storage* next = block->next_;
      destroy(block);
      block = next;
    }
  }

  static void destroy(Storage* block) {
    const std::size_t capacity = block->capacity_;
    if (capacity >= kHugePage)
      munmap(block, mapped(kHeader + capacity + kColours * kAlignment));
    else
      ::operator delete(block, std::align_val_t{kAlignment});
  }

  SpinLock lock_;
  Storage* free_[2 * kClasses] = {};           // of tensors, then of scratch
  int prepared_[2 * kClasses] = {};            // blocks of scratch made for the threads
  std::uint64_t last_use_[2 * kClasses] = {};  // allocations_ when a block of the class was last asked for
  std::size_t live_ = 0, peak_ = 0, cached_ = 0;
  std::uint64_t allocations_ = 0, system_allocations_ = 0;
  std::atomic<std::size_t> next_colour_{0};
  bool caching_ = true;
};

Ref<Storage> Storage::allocate(std::size_t bytes) { return Ref<Storage>(Pool::instance().acquire(bytes)); }

Ref<Storage> Storage::borrow(void* data, std::size_t bytes, void (*drop)(void*), void* owner) {
  auto* block = new (std::nothrow) Storage;
  if (!block) {
    drop(owner);
    throw std::bad_alloc();
  }
  block->bytes_ = bytes;
  block->data_ = data;
  block->drop_ = drop;
  block->owner_ = owner;
  return Ref<Storage>(block);
}

void Storage::release() {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (!drop_) return Pool::instance().recycle(this);
  drop_(owner_);
  delete this;
}

MemoryStats memory_stats() { return Pool::instance().stats(); }
void reset_peak_memory() { Pool::instance().reset_peak(); }
void trim_memory() { Pool::instance().trim(); }

void* acquire_scratch(std::size_t bytes) {
  Storage* block = Pool::instance().acquire_scratch(bytes);
  block->retain();
  return block->data();
}

void release_scratch(void* data) { Pool::instance().release_scratch(static_cast<Storage**>(data)[-1]); }

}  // namespace nervure::core
