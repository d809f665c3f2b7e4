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
__attribute__((weak)) void initialise() {}
__attribute__((weak)) Tensor to_order(const Tensor& x, const Order& order) { throw core::StateError("[to_order] pending"); }
__attribute__((weak)) Tensor row_major(const Tensor& x) { throw core::StateError("[row_major] pending"); }
__attribute__((weak)) Tensor cast(const Tensor& x, DType dtype) { throw core::StateError("[cast] pending"); }
__attribute__((weak)) Tensor clone(const Tensor& x) { throw core::StateError("[clone] pending"); }
__attribute__((weak)) void copy_(const Tensor& target, const Tensor& source) { throw core::StateError("[copy_] pending"); }
__attribute__((weak)) Tensor full(const Shape& shape, double value, DType dtype) { throw core::StateError("[full] pending"); }
__attribute__((weak)) Tensor arange(double start, double end, double step, DType dtype) { throw core::StateError("[arange] pending"); }
__attribute__((weak)) void fill_(const Tensor& x, double value) { throw core::StateError("[fill_] pending"); }
__attribute__((weak)) Tensor rand(const Shape& shape) { throw core::StateError("[rand] pending"); }
__attribute__((weak)) Tensor randn(const Shape& shape) { throw core::StateError("[randn] pending"); }
__attribute__((weak)) Tensor randint(std::int64_t low, std::int64_t high, const Shape& shape) { throw core::StateError("[randint] pending"); }
__attribute__((weak)) Tensor randperm(std::int64_t n) { throw core::StateError("[randperm] pending"); }
__attribute__((weak)) void uniform_(const Tensor& x, double low, double high) { throw core::StateError("[uniform_] pending"); }
__attribute__((weak)) void normal_(const Tensor& x, double mean, double std) { throw core::StateError("[normal_] pending"); }
__attribute__((weak)) void trunc_normal_(const Tensor& x, double mean, double std, double low, double high) { throw core::StateError("[trunc_normal_] pending"); }
__attribute__((weak)) void bernoulli_(const Tensor& x, double probability) { throw core::StateError("[bernoulli_] pending"); }
__attribute__((weak)) Tensor add(const Tensor& a, const Tensor& b) { throw core::StateError("[add] pending"); }
__attribute__((weak)) Tensor sub(const Tensor& a, const Tensor& b) { throw core::StateError("[sub] pending"); }
__attribute__((weak)) Tensor mul(const Tensor& a, const Tensor& b) { throw core::StateError("[mul] pending"); }
__attribute__((weak)) Tensor div(const Tensor& a, const Tensor& b) { throw core::StateError("[div] pending"); }
__attribute__((weak)) Tensor pow(const Tensor& base, const Tensor& exponent) { throw core::StateError("[pow] pending"); }
__attribute__((weak)) Tensor maximum(const Tensor& a, const Tensor& b) { throw core::StateError("[maximum] pending"); }
__attribute__((weak)) Tensor minimum(const Tensor& a, const Tensor& b) { throw core::StateError("[minimum] pending"); }
__attribute__((weak)) Tensor eq(const Tensor& a, const Tensor& b) { throw core::StateError("[eq] pending"); }
__attribute__((weak)) Tensor ne(const Tensor& a, const Tensor& b) { throw core::StateError("[ne] pending"); }
__attribute__((weak)) Tensor lt(const Tensor& a, const Tensor& b) { throw core::StateError("[lt] pending"); }
__attribute__((weak)) Tensor le(const Tensor& a, const Tensor& b) { throw core::StateError("[le] pending"); }
__attribute__((weak)) Tensor gt(const Tensor& a, const Tensor& b) { throw core::StateError("[gt] pending"); }
__attribute__((weak)) Tensor ge(const Tensor& a, const Tensor& b) { throw core::StateError("[ge] pending"); }
__attribute__((weak)) Tensor logical_and(const Tensor& a, const Tensor& b) { throw core::StateError("[logical_and] pending"); }
__attribute__((weak)) Tensor logical_or(const Tensor& a, const Tensor& b) { throw core::StateError("[logical_or] pending"); }
__attribute__((weak)) Tensor logical_not(const Tensor& a) { throw core::StateError("[logical_not] pending"); }
__attribute__((weak)) Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) { throw core::StateError("[where] pending"); }
__attribute__((weak)) Tensor masked_fill(const Tensor& x, const Tensor& mask, double value) { throw core::StateError("[masked_fill] pending"); }
__attribute__((weak)) Tensor neg(const Tensor& x) { throw core::StateError("[neg] pending"); }
__attribute__((weak)) Tensor abs(const Tensor& x) { throw core::StateError("[abs] pending"); }
__attribute__((weak)) Tensor exp(const Tensor& x) { throw core::StateError("[exp] pending"); }
__attribute__((weak)) Tensor log(const Tensor& x) { throw core::StateError("[log] pending"); }
__attribute__((weak)) Tensor sqrt(const Tensor& x) { throw core::StateError("[sqrt] pending"); }
__attribute__((weak)) Tensor square(const Tensor& x) { throw core::StateError("[square] pending"); }
__attribute__((weak)) Tensor reciprocal(const Tensor& x) { throw core::StateError("[reciprocal] pending"); }
__attribute__((weak)) Tensor sin(const Tensor& x) { throw core::StateError("[sin] pending"); }
__attribute__((weak)) Tensor cos(const Tensor& x) { throw core::StateError("[cos] pending"); }
__attribute__((weak)) Tensor clip(const Tensor& x, std::optional<double> low, std::optional<double> high) { throw core::StateError("[clip] pending"); }
__attribute__((weak)) Tensor relu(const Tensor& x) { throw core::StateError("[relu] pending"); }
__attribute__((weak)) Tensor leaky_relu(const Tensor& x, double negative_slope) { throw core::StateError("[leaky_relu] pending"); }
__attribute__((weak)) Tensor elu(const Tensor& x, double alpha) { throw core::StateError("[elu] pending"); }
__attribute__((weak)) Tensor gelu(const Tensor& x, const std::string& approximate) { throw core::StateError("[gelu] pending"); }
__attribute__((weak)) Tensor silu(const Tensor& x) { throw core::StateError("[silu] pending"); }
__attribute__((weak)) Tensor tanh(const Tensor& x) { throw core::StateError("[tanh] pending"); }
__attribute__((weak)) Tensor sigmoid(const Tensor& x) { throw core::StateError("[sigmoid] pending"); }
__attribute__((weak)) Tensor softplus(const Tensor& x, double beta, double threshold) { throw core::StateError("[softplus] pending"); }
__attribute__((weak)) Tensor hardtanh(const Tensor& x, double min_val, double max_val) { throw core::StateError("[hardtanh] pending"); }
__attribute__((weak)) Tensor isnan(const Tensor& x) { throw core::StateError("[isnan] pending"); }
__attribute__((weak)) Tensor isfinite(const Tensor& x) { throw core::StateError("[isfinite] pending"); }
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
__attribute__((weak)) Tensor matmul(const Tensor& a, const Tensor& b) { throw core::StateError("[matmul] pending"); }
__attribute__((weak)) Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const std::string& activation) { throw core::StateError("[linear] pending"); }
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
