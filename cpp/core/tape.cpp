// SPDX-License-Identifier: BSD-3-Clause
#include "core/tape.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "core/check.h"
#include "core/launch.h"
#include "core/row_gradient.h"
#include "core/spin_lock.h"

namespace nervure::core {
namespace {

thread_local bool recording = true;
std::atomic<std::uint64_t> next_sequence{1};
std::atomic<std::uint64_t> next_pass{1};

/// Guards the gradients of leaves: two threads may reach the same parameter, or read what another one sets. Held for a
/// few instructions, and never while a gradient is released: its memory may be an array that wants the interpreter.
SpinLock& leaf_lock() {
  static SpinLock* const lock = [] {
    static SpinLock the_lock;
    // A child forked while another thread holds it would wait for ever.
    pthread_atfork([] { the_lock.lock(); }, [] { the_lock.unlock(); }, [] { the_lock.unlock(); });
    return &the_lock;
  }();
  return *lock;
}

void accumulate(Tensor& slot, Tensor gradient) {
  if (!slot)
    slot = std::move(gradient);
  else
    slot = add_gradients(slot, gradient, is_sole_owner(slot) && slot.same_layout_as(gradient));
}

/// Two gradients of the same leaf; the dense ones are its own memory.
Tensor joined(const Tensor& earlier, const Tensor& gradient) {
  const bool is_sparse = rows_of(earlier), is_also = rows_of(gradient);
  if (is_sparse && is_also) return add_row_gradients(earlier, gradient);
  if (is_sparse) return add_gradients(gradient, dense_gradient(earlier), /*in_place=*/true);
  return add_gradients(earlier, is_also ? dense_gradient(gradient) : gradient, /*in_place=*/true);
}

void accumulate_leaf(const Ref<TensorBody>& body, Tensor gradient, const char* from) {
  const Tensor leaf(body);
  NV_CHECK_AS(StateError, gradient.shape() == leaf.shape(), "backward", from, " gave a gradient of shape ",
              gradient.shape(), " for a tensor of shape ", leaf.shape());
  // The gradient of a leaf is its own memory in its own order: optimisers and clipping change it in place.
  if (!rows_of(gradient) && (!is_sole_owner(gradient) || !gradient.same_layout_as(leaf)))
    gradient = copy_gradient(gradient, leaf);
  // The sum is computed outside the lock, with the gradient taken out: a launch may run signal handlers or see a fork.
  for (;;) {
    Ref<TensorBody> earlier;
    {
      std::lock_guard guard(leaf_lock());
      if (!body->grad) {
        body->grad = gradient.body();
        return;
      }
      std::swap(earlier, body->grad);
    }
    try {
      gradient = joined(Tensor(earlier), gradient);
    } catch (...) {
      std::lock_guard guard(leaf_lock());
      if (!body->grad) std::swap(earlier, body->grad);
      throw;
    }
  }
}

/// The nodes that `root` depends on, latest first. Each is claimed for this pass until it is released.
class Pass {
 public:
  explicit Pass(const Ref<Node>& root) : id_(next_pass.fetch_add(1, std::memory_order_relaxed)) {
    nodes_.reserve(64);
    try {
      claim(root);
      for (std::size_t i = 0; i < nodes_.size(); ++i) {
        const Node& node = *nodes_[i];
        for (int k = 0; k < node.n_inputs; ++k)
          if (node.inputs[k].node) claim(node.inputs[k].node);
      }
    } catch (...) {
      release_all();
      throw;
    }
    std::sort(nodes_.begin(), nodes_.end(),
              [](const Ref<Node>& a, const Ref<Node>& b) { return a->sequence > b->sequence; });
  }
  ~Pass() { release_all(); }
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  const std::vector<Ref<Node>>& nodes() const { return nodes_; }

 private:
  void claim(const Ref<Node>& node) {
    // What is claimed must be listed, to be released: room for it first.
    if (nodes_.size() == nodes_.capacity()) nodes_.reserve(2 * nodes_.capacity());
    std::uint64_t owner = 0;
    if (!node->owner.compare_exchange_strong(owner, id_, std::memory_order_acq_rel)) {
      NV_CHECK_AS(StateError, owner == id_, "backward", "another backward() is going through the same graph");
      return;
    }
    nodes_.push_back(node);
    NV_CHECK_AS(StateError, !node->dropped, "backward",
                "this graph was freed by an earlier backward(); pass retain_graph=True to the first");
  }
  void release_all() {
    for (const Ref<Node>& node : nodes_) {
      for (int i = 0; i < node->n_outputs; ++i) node->output_grads[i] = Tensor();
      node->owner.store(0, std::memory_order_release);
    }
  }

  const std::uint64_t id_;
  std::vector<Ref<Node>> nodes_;
};

bool received_gradient(const Node& node) {
  for (int i = 0; i < node.n_outputs; ++i)
    if (node.output_grads[i]) return true;
  return false;
}

void run_node(Node& node, bool retain_graph) {
  constexpr int kInline = 4;
  Tensor inline_dx[kInline];
  std::vector<Tensor> many;
  if (node.n_inputs > kInline) many.resize(static_cast<std::size_t>(node.n_inputs));
  Tensor* dx = node.n_inputs > kInline ? many.data() : inline_dx;

  if (received_gradient(node)) {
    Gradients gradients(node, dx);
    node.run(gradients);
  }
  // Drop first, hand over then: a gradient that shares memory with nothing else can be adopted without a copy.
  for (int i = 0; i < node.n_outputs; ++i) node.output_grads[i] = Tensor();
  if (!retain_graph) node.drop_saved();
  for (int i = 0; i < node.n_inputs; ++i) {
    const Edge& edge = node.inputs[i];
    if (!edge || !dx[i]) continue;
    if (edge.node)
      accumulate(edge.node->output_grads[edge.output_index], std::move(dx[i]));
    else
      accumulate_leaf(edge.leaf, std::move(dx[i]), node.name);
  }
}

Tensor initial_gradient(const Tensor& y, const Tensor& gradient) {
  if (!gradient) {
    NV_CHECK(y.numel() == 1, "backward", "needs a gradient argument for a tensor of shape ", y.shape(),
             ": only one-element tensors have an implicit one");
    Tensor one = Tensor::empty_like(y);
    *one.f32_out() = 1.0f;
    return one;
  }
  check_dtype("backward", "gradient", gradient, DType::float32);
  NV_CHECK(gradient.shape() == y.shape(), "backward", "gradient must have the tensor's shape ", y.shape(), ", got ",
           gradient.shape());
  return gradient.detach();
}

}  // namespace

AddGradients add_gradients = nullptr;
CopyGradient copy_gradient = nullptr;

Node::Node(const char* node_name, int inputs_count, int outputs_count)
    : name(node_name),
      sequence(next_sequence.fetch_add(1, std::memory_order_relaxed)),
      n_inputs(inputs_count),
      n_outputs(outputs_count),
      inputs(inputs_count <= kInline ? inline_inputs_ : new Edge[static_cast<std::size_t>(inputs_count)]),
      output_grads(outputs_count <= 1 ? &inline_output_ : new Tensor[static_cast<std::size_t>(outputs_count)]) {}

Node::~Node() {
  if (inputs != inline_inputs_) delete[] inputs;
  if (output_grads != &inline_output_) delete[] output_grads;
}

void Node::release() {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  // Destroying a node releases its inputs' nodes, and so on through the whole graph: a list instead of recursion.
  thread_local Node* doomed = nullptr;
  thread_local bool draining = false;
  next_doomed_ = doomed;
  doomed = this;
  if (draining) return;
  draining = true;
  while (doomed) {
    Node* node = doomed;
    doomed = node->next_doomed_;
    delete node;
  }
  draining = false;
}

const Tensor& Gradients::dy(int i) const { return node_.output_grads[i]; }
bool Gradients::wants(int i) const { return static_cast<bool>(node_.inputs[i]); }

void tape_detail::connect(Node* node, const Tensor* inputs, const Tensor* outputs) {
  for (int i = 0; i < node->n_inputs; ++i) {
    const Tensor& x = inputs[i];
    if (!x || !x.requires_grad()) continue;
    Edge& edge = node->inputs[i];
    if (x.body()->node) {
      edge.node = x.body()->node;
      edge.output_index = x.body()->output_index;
    } else {
      edge.leaf = x.body();
    }
  }
  const Ref<Node> owned(node);
  for (int i = 0; i < node->n_outputs; ++i) {
    outputs[i].body()->node = owned;
    outputs[i].body()->output_index = i;
  }
}

void tape_detail::throw_changed(const Node& node, const Storage& storage, std::uint32_t saved_version) {
  std::string which = "a tensor saved for this gradient";
  for (int i = 0; i < node.n_inputs; ++i)
    if (const Ref<TensorBody>& leaf = node.inputs[i].leaf; leaf && leaf->storage.get() == &storage) {
      which += ", the leaf of shape " + leaf->shape.str() + ",";
      break;
    }
  throw StateError(message((std::string("backward of ") + node.name).c_str(), which,
                           " was changed in place after the forward pass (version ", storage.version(), ", saved at ",
                           saved_version, "); clone() it before changing it, or change it after backward()"));
}

bool grad_enabled() { return recording; }
void set_grad_enabled(bool enabled) { recording = enabled; }

bool needs_grad(const std::vector<Tensor>& inputs) {
  return grad_enabled() &&
         std::any_of(inputs.begin(), inputs.end(), [](const Tensor& x) { return x && x.requires_grad(); });
}

Tensor gradient_as_it_is(const Tensor& leaf) {
  std::lock_guard guard(leaf_lock());
  return Tensor(leaf.body()->grad);
}

std::vector<Tensor> gradients_as_they_are(const std::vector<Tensor>& leaves) {
  std::vector<Tensor> gradients;
  gradients.reserve(leaves.size());
  std::lock_guard guard(leaf_lock());
  for (const Tensor& leaf : leaves) gradients.emplace_back(leaf.body()->grad);
  return gradients;
}

Tensor Tensor::grad() const {
  for (;;) {
    const Tensor found = gradient_as_it_is(*this);
    if (!rows_of(found)) return found;
    // The caller may change what it gets: from here on the gradient is a dense one.
    const Tensor dense = dense_gradient(found);
    std::lock_guard guard(leaf_lock());
    if (body_->grad == found.body()) {
      body_->grad = dense.body();
      return dense;
    }
  }
}

void Tensor::set_grad(const Tensor& grad) const {
  Ref<TensorBody> body = grad.body_;
  std::lock_guard guard(leaf_lock());
  std::swap(body_->grad, body);  // the earlier one goes when the lock is open again
}

void backward(const Tensor& y, const Tensor& gradient, bool retain_graph) {
  NV_CHECK_AS(StateError, y.requires_grad(), "backward",
              "the tensor does not depend on anything that requires a gradient");
  NoGrad no_grad;
  Tensor dy = initial_gradient(y, gradient);
  if (y.is_leaf()) return accumulate_leaf(y.body(), std::move(dy), "backward");

  Pass pass(y.body()->node);
  y.body()->node->output_grads[y.body()->output_index] = std::move(dy);
  int done = 0;
  for (const Ref<Node>& node : pass.nodes()) {
    if (++done % 16 == 0 && poll_interrupt()) [[unlikely]] {
      take_interrupted();
      throw_interrupted();
    }
    run_node(*node, retain_graph);
  }
}

}  // namespace nervure::core
