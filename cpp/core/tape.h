// SPDX-License-Identifier: BSD-3-Clause
// Reverse-mode differentiation. Each op records one node: a closure that turns the gradients of its outputs into those
// of its inputs. backward() runs the nodes in reverse order of creation, which is a topological order.
//
// Kernels overwrite; the tape accumulates: it adopts the first gradient that reaches a tensor and adds later ones.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace nervure::core {

/// Where the gradient of one input goes: to an output of the node that made it, or to a leaf. Neither: not wanted.
struct Edge {
  Ref<Node> node;
  Ref<TensorBody> leaf;
  int output_index = 0;
  explicit operator bool() const { return node || leaf; }
};

/// Every op that writes into a tensor which it did not make itself says so here, before it writes: a backward() that
/// still needs the earlier values then refuses to run.
inline void writes_into(const Tensor& x) { x.body()->storage->count_write(); }

/// A tensor (or the memory of one) that a closure reads, as it was when the closure was recorded.
template <class Value>
struct Saved {
  Value value;
  std::uint32_t version;

  explicit Saved(Value saved_value) : value(std::move(saved_value)), version(storage() ? storage()->version() : 0) {}
  const Storage* storage() const {
    if constexpr (std::is_same_v<Value, Tensor>)
      return value ? value.body()->storage.get() : nullptr;
    else
      return value.get();
  }
  bool is_unchanged() const { return !storage() || storage()->version() == version; }
};

/// What a closure reads, for record(): every tensor whose memory somebody else can reach. Undefined ones do not count.
template <class... Values>
std::tuple<Saved<Values>...> saved(Values... values) {
  return {Saved<Values>(std::move(values))...};
}
using SavedList = std::vector<Saved<Tensor>>;
inline SavedList saved_list(const std::vector<Tensor>& tensors) { return {tensors.begin(), tensors.end()}; }

/// What a node's closure sees: the gradients that came in, and places for those that go out.
class Gradients {
 public:
  Gradients(Node& node, Tensor* dx) : node_(node), dx_(dx) {}
  /// Gradient of output i; undefined when nothing depends on that output (ops with several outputs only).
  const Tensor& dy(int i = 0) const;
  /// Whether input i needs its gradient.
  bool wants(int i) const;
  /// Hand over the gradient of input i: any memory order, shape of the input. It may share storage with dy.
  void set(int i, Tensor gradient) { dx_[i] = std::move(gradient); }
  /// Throws StateError if it has been written into since it was saved: for what is read in some cases only, and
  /// therefore not listed in record().
  template <class Value>
  void check_unchanged(const Saved<Value>& saved) const;

 private:
  Node& node_;
  Tensor* dx_;
};

class Node {
 public:
  Node(const char* name, int n_inputs, int n_outputs);
  virtual ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Compute the gradients of the inputs.
  virtual void run(Gradients& gradients) = 0;
  /// Drop what was saved for run().
  virtual void drop_saved() = 0;

  void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release();  // destroys long chains without recursion

  const char* name;
  const std::uint64_t sequence;  // order of creation
  const int n_inputs, n_outputs;
  Edge* inputs;          // n_inputs
  Tensor* output_grads;  // n_outputs, filled during backward()
  bool dropped = false;
  std::atomic<std::uint64_t> owner{0};  // the backward() that is going through it

 private:
  static constexpr int kInline = 3;
  std::atomic<std::int32_t> references_{0};
  Node* next_doomed_ = nullptr;
  Edge inline_inputs_[kInline];
  Tensor inline_output_;
};

namespace tape_detail {

[[noreturn]] void throw_changed(const Node& node, const Storage& storage, std::uint32_t saved_version);

template <class Value>
void check_unchanged(const Node& node, const Saved<Value>& saved) {
  if (!saved.is_unchanged()) [[unlikely]]
    throw_changed(node, *saved.storage(), saved.version);
}

/// A closure and what it reads. It is called with the saved values behind the gradients, if it takes them.
template <class Closure, class... Values>
struct Recorded {
  Closure closure;
  std::tuple<Saved<Values>...> saved;

  void run(const Node& node, Gradients& gradients) {
    std::apply(
        [&](const Saved<Values>&... each) {
          (check_unchanged(node, each), ...);
          if constexpr (std::is_invocable_v<Closure&, Gradients&, const Values&...>)
            closure(gradients, each.value...);
          else
            closure(gradients);
        },
        saved);
  }
};

template <class Closure>
struct RecordedList {
  Closure closure;
  SavedList saved;

  void run(const Node& node, Gradients& gradients) {
    for (const Saved<Tensor>& each : saved) check_unchanged(node, each);
    closure(gradients);
  }
};

template <class Closure, class... Values>
Recorded<Closure, Values...> recorded(Closure closure, std::tuple<Saved<Values>...> saved) {
  return {std::move(closure), std::move(saved)};
}
template <class Closure>
RecordedList<Closure> recorded(Closure closure, SavedList saved) {
  return {std::move(closure), std::move(saved)};
}

template <class Record>
class ClosureNode final : public Node {
 public:
  ClosureNode(const char* name, int n_inputs, int n_outputs, Record record)
      : Node(name, n_inputs, n_outputs), record_(std::move(record)) {}
  ~ClosureNode() override { drop_saved(); }
  void run(Gradients& gradients) override { record_.run(*this, gradients); }
  void drop_saved() override {
    if (!dropped) record_.~Record();
    dropped = true;
  }

 private:
  union {
    Record record_;  // lives until drop_saved()
  };
};
template <class Record>
ClosureNode(const char*, int, int, Record) -> ClosureNode<Record>;

void connect(Node* node, const Tensor* inputs, const Tensor* outputs);

}  // namespace tape_detail

template <class Value>
void Gradients::check_unchanged(const Saved<Value>& saved) const {
  tape_detail::check_unchanged(node_, saved);
}

/// False inside NoGrad.
bool grad_enabled();
void set_grad_enabled(bool enabled);

class NoGrad {
 public:
  NoGrad() : previous_(grad_enabled()) { set_grad_enabled(false); }
  ~NoGrad() { set_grad_enabled(previous_); }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool previous_;
};

/// Whether an op with these inputs must be recorded. Undefined tensors do not count.
template <class... Inputs>
bool needs_grad(const Inputs&... inputs) {
  return grad_enabled() && ((inputs.defined() && inputs.requires_grad()) || ...);
}
bool needs_grad(const std::vector<Tensor>& inputs);

/// Record that `y` came from `inputs`; closure(Gradients&) computes their gradients, from what saved(...) lists. The
/// values listed are its further arguments, unless it takes none. Call only when needs_grad().
template <class SavedValues, class Closure>
void record(const char* name, const Tensor& y, std::initializer_list<Tensor> inputs, SavedValues saved,
            Closure closure) {
  auto* node = new tape_detail::ClosureNode(name, static_cast<int>(inputs.size()), 1,
                                            tape_detail::recorded(std::move(closure), std::move(saved)));
  tape_detail::connect(node, inputs.begin(), &y);
}

/// The same for several inputs known at run time and several outputs.
template <class SavedValues, class Closure>
void record(const char* name, const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs, SavedValues saved,
            Closure closure) {
  auto* node = new tape_detail::ClosureNode(name, static_cast<int>(inputs.size()), static_cast<int>(outputs.size()),
                                            tape_detail::recorded(std::move(closure), std::move(saved)));
  tape_detail::connect(node, inputs.data(), outputs.data());
}

/// Accumulate into .grad of every leaf that `y` depends on the gradient of sum(y * gradient). `gradient` may be
/// undefined when y has one element. Nodes are dropped as they are done unless `retain_graph`.
void backward(const Tensor& y, const Tensor& gradient, bool retain_graph);

/// How the tape adds gradients: sum = a + b, into a's storage when `in_place`. Set once by ops/.
using AddGradients = Tensor (*)(const Tensor& a, const Tensor& b, bool in_place);
extern AddGradients add_gradients;
/// A copy in the memory order of `like`. Set once by ops/.
using CopyGradient = Tensor (*)(const Tensor& gradient, const Tensor& like);
extern CopyGradient copy_gradient;

}  // namespace nervure::core
