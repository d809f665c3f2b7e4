// SPDX-License-Identifier: BSD-3-Clause
// Stand-ins until every op file has landed; deleted then.
#include "ops/ops.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"
namespace nervure::core {
__attribute__((weak)) void manual_seed(std::uint64_t) {}
__attribute__((weak)) std::uint64_t initial_seed() { return 0; }
__attribute__((weak)) RngStream reserve_random(std::int64_t) { return {0, 0}; }
__attribute__((weak)) RngStream rng_state() { return {0, 0}; }
__attribute__((weak)) void set_rng_state(RngStream) {}
}
namespace nervure::ops {
__attribute__((weak)) Tensor rand(const Shape& shape) { throw core::StateError("[rand] pending"); }
__attribute__((weak)) Tensor randn(const Shape& shape) { throw core::StateError("[randn] pending"); }
__attribute__((weak)) Tensor randint(std::int64_t low, std::int64_t high, const Shape& shape) { throw core::StateError("[randint] pending"); }
__attribute__((weak)) Tensor randperm(std::int64_t n) { throw core::StateError("[randperm] pending"); }
__attribute__((weak)) void uniform_(const Tensor& x, double low, double high) { throw core::StateError("[uniform_] pending"); }
__attribute__((weak)) void normal_(const Tensor& x, double mean, double std) { throw core::StateError("[normal_] pending"); }
__attribute__((weak)) void trunc_normal_(const Tensor& x, double mean, double std, double low, double high) { throw core::StateError("[trunc_normal_] pending"); }
__attribute__((weak)) void bernoulli_(const Tensor& x, double probability) { throw core::StateError("[bernoulli_] pending"); }
__attribute__((weak)) Tensor sum(const Tensor& x, const Dims& dims, bool keepdim) { throw core::StateError("[sum] pending"); }
__attribute__((weak)) Tensor mean(const Tensor& x, const Dims& dims, bool keepdim) { throw core::StateError("[mean] pending"); }
__attribute__((weak)) Tensor var(const Tensor& x, const Dims& dims, bool keepdim, std::int64_t correction) { throw core::StateError("[var] pending"); }
__attribute__((weak)) Tensor amax(const Tensor& x, const Dims& dims, bool keepdim) { throw core::StateError("[amax] pending"); }
__attribute__((weak)) Tensor amin(const Tensor& x, const Dims& dims, bool keepdim) { throw core::StateError("[amin] pending"); }
__attribute__((weak)) std::tuple<Tensor, Tensor> max(const Tensor& x, std::int64_t dim, bool keepdim) { throw core::StateError("[max] pending"); }
__attribute__((weak)) std::tuple<Tensor, Tensor> min(const Tensor& x, std::int64_t dim, bool keepdim) { throw core::StateError("[min] pending"); }
__attribute__((weak)) Tensor argmax(const Tensor& x, OptionalDim dim, bool keepdim) { throw core::StateError("[argmax] pending"); }
__attribute__((weak)) Tensor argmin(const Tensor& x, OptionalDim dim, bool keepdim) { throw core::StateError("[argmin] pending"); }
__attribute__((weak)) Tensor logsumexp(const Tensor& x, const Dims& dims, bool keepdim) { throw core::StateError("[logsumexp] pending"); }
__attribute__((weak)) Tensor reshape(const Tensor& x, const Dims& shape) { throw core::StateError("[reshape] pending"); }
__attribute__((weak)) Tensor permute(const Tensor& x, const Dims& dims) { throw core::StateError("[permute] pending"); }
__attribute__((weak)) Tensor transpose(const Tensor& x, std::int64_t dim0, std::int64_t dim1) { throw core::StateError("[transpose] pending"); }
__attribute__((weak)) Tensor squeeze(const Tensor& x, OptionalDim dim) { throw core::StateError("[squeeze] pending"); }
__attribute__((weak)) Tensor unsqueeze(const Tensor& x, std::int64_t dim) { throw core::StateError("[unsqueeze] pending"); }
__attribute__((weak)) Tensor flatten(const Tensor& x, std::int64_t start_dim, std::int64_t end_dim) { throw core::StateError("[flatten] pending"); }
__attribute__((weak)) Tensor expand(const Tensor& x, const Dims& shape) { throw core::StateError("[expand] pending"); }
__attribute__((weak)) Tensor flip(const Tensor& x, const Dims& dims) { throw core::StateError("[flip] pending"); }
__attribute__((weak)) Tensor cat(const std::vector<Tensor>& tensors, std::int64_t dim) { throw core::StateError("[cat] pending"); }
__attribute__((weak)) Tensor stack(const std::vector<Tensor>& tensors, std::int64_t dim) { throw core::StateError("[stack] pending"); }
__attribute__((weak)) std::vector<Tensor> split(const Tensor& x, const Dims& sizes, std::int64_t dim) { throw core::StateError("[split] pending"); }
__attribute__((weak)) std::vector<Tensor> chunk(const Tensor& x, std::int64_t chunks, std::int64_t dim) { throw core::StateError("[chunk] pending"); }
__attribute__((weak)) Tensor slice(const Tensor& x, std::int64_t dim, std::int64_t start, std::int64_t stop, std::int64_t step) { throw core::StateError("[slice] pending"); }
__attribute__((weak)) Tensor select(const Tensor& x, std::int64_t dim, std::int64_t index) { throw core::StateError("[select] pending"); }
__attribute__((weak)) Tensor index_select(const Tensor& x, std::int64_t dim, const Tensor& indices) { throw core::StateError("[index_select] pending"); }
__attribute__((weak)) Tensor take_rows(const Tensor& x, const Tensor& indices) { throw core::StateError("[take_rows] pending"); }
__attribute__((weak)) Tensor masked_select(const Tensor& x, const Tensor& mask) { throw core::StateError("[masked_select] pending"); }
__attribute__((weak)) Tensor gather(const Tensor& x, std::int64_t dim, const Tensor& indices) { throw core::StateError("[gather] pending"); }
__attribute__((weak)) Tensor softmax(const Tensor& x, std::int64_t dim) { throw core::StateError("[softmax] pending"); }
__attribute__((weak)) Tensor log_softmax(const Tensor& x, std::int64_t dim) { throw core::StateError("[log_softmax] pending"); }
__attribute__((weak)) Tensor cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight, std::int64_t ignore_index, double label_smoothing, const std::string& reduction) { throw core::StateError("[cross_entropy] pending"); }
__attribute__((weak)) Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target, const Tensor& weight, std::int64_t ignore_index, const std::string& reduction) { throw core::StateError("[nll_loss] pending"); }
__attribute__((weak)) Tensor binary_cross_entropy(const Tensor& probabilities, const Tensor& target, const Tensor& weight, const std::string& reduction) { throw core::StateError("[binary_cross_entropy] pending"); }
__attribute__((weak)) Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target, const Tensor& weight, const Tensor& pos_weight, const std::string& reduction) { throw core::StateError("[binary_cross_entropy_with_logits] pending"); }
__attribute__((weak)) Tensor mse_loss(const Tensor& input, const Tensor& target, const std::string& reduction) { throw core::StateError("[mse_loss] pending"); }
__attribute__((weak)) Tensor l1_loss(const Tensor& input, const Tensor& target, const std::string& reduction) { throw core::StateError("[l1_loss] pending"); }
__attribute__((weak)) Tensor huber_loss(const Tensor& input, const Tensor& target, double delta, const std::string& reduction) { throw core::StateError("[huber_loss] pending"); }
__attribute__((weak)) Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, double beta, const std::string& reduction) { throw core::StateError("[smooth_l1_loss] pending"); }
__attribute__((weak)) Tensor kl_div(const Tensor& log_probabilities, const Tensor& target, bool log_target, const std::string& reduction) { throw core::StateError("[kl_div] pending"); }
__attribute__((weak)) Tensor dropout(const Tensor& x, double p) { throw core::StateError("[dropout] pending"); }
__attribute__((weak)) void sgd_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& momentum_buffers, const SgdOptions& options) { throw core::StateError("[sgd_step] pending"); }
__attribute__((weak)) void rmsprop_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& square_averages, const std::vector<Tensor>& momentum_buffers, const std::vector<Tensor>& gradient_averages, const RmspropOptions& options) { throw core::StateError("[rmsprop_step] pending"); }
__attribute__((weak)) void adagrad_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& square_sums, const AdagradOptions& options) { throw core::StateError("[adagrad_step] pending"); }
__attribute__((weak)) void adam_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& first_moments, const std::vector<Tensor>& second_moments, const std::vector<Tensor>& max_second_moments, const AdamOptions& options) { throw core::StateError("[adam_step] pending"); }
__attribute__((weak)) void nadam_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& first_moments, const std::vector<Tensor>& second_moments, const NadamOptions& options) { throw core::StateError("[nadam_step] pending"); }
__attribute__((weak)) double clip_grad_norm_(const std::vector<Tensor>& parameters, double max_norm, double norm_type, bool error_if_nonfinite) { throw core::StateError("[clip_grad_norm_] pending"); }
__attribute__((weak)) void clip_grad_value_(const std::vector<Tensor>& parameters, double clip_value) { throw core::StateError("[clip_grad_value_] pending"); }
}  // namespace nervure::ops

// ---- temporary element-wise operations (plain loops) ----
#include <cmath>
#include <functional>
namespace nervure::ops {
namespace {
using F2 = float (*)(float, float);
Shape bshape(const Shape& a, const Shape& b) {
  int r = std::max(a.rank(), b.rank()); Shape s = Shape::filled(r, 1);
  for (int i = 0; i < r; ++i) {
    std::int64_t x = i < r - a.rank() ? 1 : a[i - (r - a.rank())], y = i < r - b.rank() ? 1 : b[i - (r - b.rank())];
    NV_CHECK(x == y || x == 1 || y == 1, "broadcast", "shapes ", a, " and ", b, " do not broadcast");
    s[i] = x == 1 ? y : x;
  }
  return s;
}
template <class Body> void walk(const Shape& s, const Shape& st, int d, std::int64_t off, const Body& body) {
  if (d == s.rank()) return body(off);
  for (std::int64_t i = 0; i < s[d]; ++i) walk(s, st, d + 1, off + i * st[d], body);
}
Shape bstr(const Tensor& t, const Shape& s) {
  Shape st = Shape::filled(s.rank(), 0), own = t.strides(); int d = s.rank() - t.rank();
  for (int i = 0; i < t.rank(); ++i) st[i + d] = t.size(i) == 1 ? 0 : own[i];
  return st;
}
template <class T> std::vector<T> read(const Tensor& t, const Shape& s) {
  std::vector<T> v; v.reserve(static_cast<std::size_t>(s.numel()));
  if (s.numel() == 0) return v;
  walk(s, bstr(t, s), 0, 0, [&](std::int64_t o) {
    v.push_back(t.dtype() == DType::float32 ? static_cast<T>(t.f32()[o]) : t.dtype() == DType::int64 ? static_cast<T>(t.i64()[o]) : static_cast<T>(t.mask()[o]));
  });
  return v;
}
template <class T> void put(const Tensor& t, const std::vector<T>& v) {
  std::size_t i = 0; if (t.numel() == 0) return;
  walk(t.shape(), t.strides(), 0, 0, [&](std::int64_t o) {
    if (t.dtype() == DType::float32) t.f32_out()[o] = static_cast<float>(v[i++]);
    else if (t.dtype() == DType::int64) t.i64_out()[o] = static_cast<std::int64_t>(v[i++]);
    else t.mask_out()[o] = v[i++] != 0;
  });
}
Tensor unb(const Tensor& g, const Shape& s) {
  if (g.shape() == s) return g;
  Tensor r = g; Dims lead;
  for (int i = 0; i < g.rank() - s.rank(); ++i) lead.push_back(i);
  if (!lead.empty()) r = sum(r, lead, false);
  Dims ones; for (int i = 0; i < s.rank(); ++i) if (s[i] == 1 && r.size(i) != 1) ones.push_back(i);
  return ones.empty() ? r : sum(r, ones, true);
}
Tensor bin(const char* n, const Tensor& a, const Tensor& b, F2 f, F2 fa, F2 fb) {
  Shape s = bshape(a.shape(), b.shape());
  Tensor y = s == a.shape() ? Tensor::empty(s, DType::float32, a.order()) : Tensor::empty(s);
  auto u = read<float>(a, s), v = read<float>(b, s);
  for (std::size_t i = 0; i < u.size(); ++i) u[i] = f(u[i], v[i]);
  put(y, u);
  if (core::needs_grad(a, b)) core::record(n, y, {a, b}, [=](core::Gradients& g) {
    auto dy = read<float>(g.dy(), s), p = read<float>(a, s), q = read<float>(b, s);
    for (int k = 0; k < 2; ++k) if (g.wants(k)) {
      std::vector<float> d(dy.size());
      for (std::size_t i = 0; i < d.size(); ++i) d[i] = dy[i] * (k ? fb : fa)(p[i], q[i]);
      Tensor t = Tensor::empty(s); put(t, d); g.set(k, unb(t, k ? b.shape() : a.shape()));
    }
  });
  return y;
}
template <class C> Tensor cmp(const Tensor& a, const Tensor& b, C c) {
  Shape s = bshape(a.shape(), b.shape()); Tensor y = Tensor::empty(s, DType::boolean);
  auto u = read<double>(a, s), v = read<double>(b, s);
  for (std::size_t i = 0; i < u.size(); ++i) u[i] = c(u[i], v[i]);
  put(y, u); return y;
}
Tensor un(const char* n, const Tensor& x, std::function<double(double)> f, std::function<double(double)> d) {
  Tensor y = Tensor::empty_like(x, DType::float32); auto u = read<float>(x, x.shape());
  for (auto& e : u) e = static_cast<float>(f(e));
  put(y, u);
  if (core::needs_grad(x)) core::record(n, y, {x}, [=](core::Gradients& g) {
    auto dy = read<float>(g.dy(), x.shape()), v = read<float>(x, x.shape());
    for (std::size_t i = 0; i < v.size(); ++i) dy[i] *= static_cast<float>(d(v[i]));
    Tensor t = Tensor::empty_like(x); put(t, dy); g.set(0, t);
  });
  return y;
}
double sg(double x) { return 1 / (1 + std::exp(-x)); }
}  // namespace
#define W __attribute__((weak))
W void initialise() {
  core::add_gradients = [](const Tensor& a, const Tensor& b, bool in) { Tensor y = add(a, b); if (!in) return y; put(a, read<float>(y, y.shape())); return a; };
  core::copy_gradient = [](const Tensor& g, const Tensor& l) { Tensor y = Tensor::empty_like(l); put(y, read<float>(g, l.shape())); return y; };
}
W Tensor to_order(const Tensor& x, const Order& o) {
  if (core::same_layout(x.shape(), x.order(), o)) return x;
  Tensor y = Tensor::empty(x.shape(), x.dtype(), o); put(y, read<double>(x, x.shape()));
  if (core::needs_grad(x)) core::record("to_order", y, {x}, [](core::Gradients& g) { g.set(0, g.dy()); });
  return y;
}
W Tensor row_major(const Tensor& x) { return to_order(x, Order::row_major(x.rank())); }
W Tensor cast(const Tensor& x, DType d) { if (x.dtype() == d) return x; Tensor y = Tensor::empty_like(x, d); put(y, read<double>(x, x.shape())); return y; }
W Tensor clone(const Tensor& x) { Tensor y = Tensor::empty_like(x); put(y, read<double>(x, x.shape())); if (core::needs_grad(x)) core::record("clone", y, {x}, [](core::Gradients& g) { g.set(0, g.dy()); }); return y; }
W void copy_(const Tensor& t, const Tensor& s) { NV_CHECK(bshape(t.shape(), s.shape()) == t.shape(), "copy_", "source ", s.shape(), " does not fit target ", t.shape()); put(t, read<double>(s, t.shape())); }
W Tensor full(const Shape& s, double v, DType d) { Tensor y = Tensor::empty(s, d); put(y, std::vector<double>(static_cast<std::size_t>(s.numel()), v)); return y; }
W Tensor arange(double a, double b, double st, DType d) { std::vector<double> v; for (std::int64_t i = 0; i < static_cast<std::int64_t>(std::ceil((b - a) / st)); ++i) v.push_back(a + static_cast<double>(i) * st); Tensor y = Tensor::empty(Shape{static_cast<std::int64_t>(v.size())}, d); put(y, v); return y; }
W void fill_(const Tensor& x, double v) { put(x, std::vector<double>(static_cast<std::size_t>(x.numel()), v)); }
W Tensor add(const Tensor& a, const Tensor& b) { return bin("add", a, b, [](float x, float y) { return x + y; }, [](float, float) { return 1.f; }, [](float, float) { return 1.f; }); }
W Tensor sub(const Tensor& a, const Tensor& b) { return bin("sub", a, b, [](float x, float y) { return x - y; }, [](float, float) { return 1.f; }, [](float, float) { return -1.f; }); }
W Tensor mul(const Tensor& a, const Tensor& b) { return bin("mul", a, b, [](float x, float y) { return x * y; }, [](float, float y) { return y; }, [](float x, float) { return x; }); }
W Tensor div(const Tensor& a, const Tensor& b) { return bin("div", a, b, [](float x, float y) { return x / y; }, [](float, float y) { return 1 / y; }, [](float x, float y) { return -x / y / y; }); }
W Tensor pow(const Tensor& a, const Tensor& b) { return bin("pow", a, b, [](float x, float y) { return std::pow(x, y); }, [](float x, float y) { return y == 0 ? 0.f : y * std::pow(x, y - 1); }, [](float x, float y) { return x == 0 ? 0.f : std::pow(x, y) * std::log(x); }); }
W Tensor maximum(const Tensor& a, const Tensor& b) { return bin("maximum", a, b, [](float x, float y) { return x != x || x > y ? x : y; }, [](float x, float y) { return x > y ? 1.f : x == y ? .5f : 0.f; }, [](float x, float y) { return y > x ? 1.f : x == y ? .5f : 0.f; }); }
W Tensor minimum(const Tensor& a, const Tensor& b) { return bin("minimum", a, b, [](float x, float y) { return x != x || x < y ? x : y; }, [](float x, float y) { return x < y ? 1.f : x == y ? .5f : 0.f; }, [](float x, float y) { return y < x ? 1.f : x == y ? .5f : 0.f; }); }
W Tensor eq(const Tensor& a, const Tensor& b) { return cmp(a, b, [](double x, double y) { return x == y; }); }
W Tensor ne(const Tensor& a, const Tensor& b) { return cmp(a, b, [](double x, double y) { return x != y; }); }
W Tensor lt(const Tensor& a, const Tensor& b) { return cmp(a, b, [](double x, double y) { return x < y; }); }
W Tensor le(const Tensor& a, const Tensor& b) { return cmp(a, b, [](double x, double y) { return x <= y; }); }
W Tensor gt(const Tensor& a, const Tensor& b) { return cmp(a, b, [](double x, double y) { return x > y; }); }
W Tensor ge(const Tensor& a, const Tensor& b) { return cmp(a, b, [](double x, double y) { return x >= y; }); }
W Tensor logical_and(const Tensor& a, const Tensor& b) { return cmp(a, b, [](double x, double y) { return x != 0 && y != 0; }); }
W Tensor logical_or(const Tensor& a, const Tensor& b) { return cmp(a, b, [](double x, double y) { return x != 0 || y != 0; }); }
W Tensor logical_not(const Tensor& a) { return cmp(a, a, [](double x, double) { return x == 0; }); }
W Tensor isnan(const Tensor& a) { return cmp(a, a, [](double x, double) { return x != x; }); }
W Tensor isfinite(const Tensor& a) { return cmp(a, a, [](double x, double) { return std::isfinite(x); }); }
W Tensor where(const Tensor& c, const Tensor& a, const Tensor& b) { Tensor m = cast(c, DType::float32); return add(mul(m, a), mul(sub(Tensor::scalar(1), m), b)); }
W Tensor masked_fill(const Tensor& x, const Tensor& m, double v) { return where(m, Tensor::scalar(static_cast<float>(v)), x); }
W Tensor neg(const Tensor& x) { return un("neg", x, [](double v) { return -v; }, [](double) { return -1.0; }); }
W Tensor abs(const Tensor& x) { return un("abs", x, [](double v) { return std::fabs(v); }, [](double v) { return v > 0 ? 1.0 : v < 0 ? -1.0 : 0.0; }); }
W Tensor exp(const Tensor& x) { return un("exp", x, [](double v) { return std::exp(v); }, [](double v) { return std::exp(v); }); }
W Tensor log(const Tensor& x) { return un("log", x, [](double v) { return std::log(v); }, [](double v) { return 1 / v; }); }
W Tensor sqrt(const Tensor& x) { return un("sqrt", x, [](double v) { return std::sqrt(v); }, [](double v) { return .5 / std::sqrt(v); }); }
W Tensor square(const Tensor& x) { return un("square", x, [](double v) { return v * v; }, [](double v) { return 2 * v; }); }
W Tensor reciprocal(const Tensor& x) { return un("reciprocal", x, [](double v) { return 1 / v; }, [](double v) { return -1 / v / v; }); }
W Tensor sin(const Tensor& x) { return un("sin", x, [](double v) { return std::sin(v); }, [](double v) { return std::cos(v); }); }
W Tensor cos(const Tensor& x) { return un("cos", x, [](double v) { return std::cos(v); }, [](double v) { return -std::sin(v); }); }
W Tensor relu(const Tensor& x) { return un("relu", x, [](double v) { return v > 0 ? v : 0; }, [](double v) { return v > 0 ? 1.0 : 0.0; }); }
W Tensor leaky_relu(const Tensor& x, double s) { return un("leaky_relu", x, [=](double v) { return v > 0 ? v : s * v; }, [=](double v) { return v > 0 ? 1.0 : s; }); }
W Tensor elu(const Tensor& x, double a) { return un("elu", x, [=](double v) { return v > 0 ? v : a * std::expm1(v); }, [=](double v) { return v > 0 ? 1.0 : a * std::exp(v); }); }
W Tensor gelu(const Tensor& x, const std::string&) { return un("gelu", x, [](double v) { return .5 * v * (1 + std::erf(v * .70710678)); }, [](double v) { return .5 * (1 + std::erf(v * .70710678)) + v * std::exp(-.5 * v * v) * .39894228; }); }
W Tensor silu(const Tensor& x) { return un("silu", x, [](double v) { return v * sg(v); }, [](double v) { return sg(v) * (1 + v * (1 - sg(v))); }); }
W Tensor tanh(const Tensor& x) { return un("tanh", x, [](double v) { return std::tanh(v); }, [](double v) { return 1 - std::tanh(v) * std::tanh(v); }); }
W Tensor sigmoid(const Tensor& x) { return un("sigmoid", x, [](double v) { return sg(v); }, [](double v) { return sg(v) * (1 - sg(v)); }); }
W Tensor softplus(const Tensor& x, double b, double t) { return un("softplus", x, [=](double v) { return v * b > t ? v : std::log1p(std::exp(b * v)) / b; }, [=](double v) { return v * b > t ? 1.0 : sg(b * v); }); }
W Tensor hardtanh(const Tensor& x, double l, double h) { return un("hardtanh", x, [=](double v) { return std::min(h, std::max(l, v)); }, [=](double v) { return v > l && v < h ? 1.0 : 0.0; }); }
W Tensor clip(const Tensor& x, std::optional<double> l, std::optional<double> h) { return un("clip", x, [=](double v) { if (l && v < *l) v = *l; if (h && v > *h) v = *h; return v; }, [=](double v) { return (!l || v >= *l) && (!h || v <= *h) ? 1.0 : 0.0; }); }
}  // namespace nervure::ops

// ---- temporary products ----
#include "core/launch.h"
#include "kernels/gemm.h"
namespace nervure::ops {
namespace {
Tensor mm(const Tensor& a, const Tensor& b, bool ta, bool tb) {
  Tensor A = row_major(a), B = row_major(b);
  std::int64_t M = A.size(ta ? 1 : 0), K = A.size(ta ? 0 : 1), N = B.size(tb ? 0 : 1);
  Tensor C = Tensor::empty({M, N});
  kernels::Gemm g{.M = M, .N = N, .K = K, .a = A.f32(), .lda = A.size(1), .a_transposed = ta, .b = B.f32(), .ldb = B.size(1), .b_transposed = tb, .c = C.f32_out(), .ldc = N};
  core::launch(M * N * K, [=] { kernels::gemm(g); });
  return C;
}
}
W Tensor matmul(const Tensor& a, const Tensor& b) {
  NV_CHECK(a.rank() == 2 && b.rank() == 2 && a.size(1) == b.size(0), "matmul", "shapes ", a.shape(), " and ", b.shape());
  Tensor y = mm(a, b, false, false);
  if (core::needs_grad(a, b)) core::record("matmul", y, {a, b}, [a, b](core::Gradients& g) {
    if (g.wants(0)) g.set(0, mm(g.dy(), b, false, true));
    if (g.wants(1)) g.set(1, mm(a, g.dy(), true, false));
  });
  return y;
}
W Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b, const std::string& act) {
  NV_CHECK(w.rank() == 2 && x.rank() >= 1 && x.size(x.rank() - 1) == w.size(1), "linear", "weight must be (out, in), got ", w.shape(), " for input ", x.shape());
  Dims s = x.shape().to_vector(); s.back() = w.size(0);
  Tensor y = reshape(matmul(reshape(x, {-1, w.size(1)}), transpose(w, 0, 1)), s);
  if (b) y = add(y, b);
  if (act == "relu") y = relu(y);
  return y;
}
}
