// SPDX-License-Identifier: BSD-3-Clause
// THE CATALOGUE: every operation on tensors. Each checks its input, allocates, launches kernels and, when an input
// needs a gradient, records its backward. One .cpp per family; forward and backward stand next to each other.
//
// Shapes in comments are the ones that users see. Unless said otherwise an op accepts any memory order, keeps that of
// its first input when it works element by element, and gives row-major otherwise. Values are float32; int64 and
// boolean inputs of arithmetic are converted to float32.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "core/check.h"
#include "core/rng.h"
#include "core/tape.h"
#include "core/tensor.h"

namespace nervure::ops {

using core::DType;
using core::Order;
using core::Shape;
using core::Tensor;

using Dims = std::vector<std::int64_t>;
using OptionalDim = std::optional<std::int64_t>;
using Number = std::variant<std::int64_t, double>;  // an integer keeps all its digits

/// Give the tape its addition. Called once, by the module.
void initialise();

// ---- layout.cpp: memory orders, types, copies -------------------------------------------------------------------
Tensor to_order(const Tensor& x, const Order& order);  // recorded copy unless already so
Tensor row_major(const Tensor& x);                     // the same, for order 0, 1, 2, ...
Tensor cast(const Tensor& x, DType dtype);             // differentiable between float32 and float32 only
Tensor clone(const Tensor& x);
void copy_(const Tensor& target, const Tensor& source);  // values of `source` (broadcast) into target's storage

// ---- creation.cpp -----------------------------------------------------------------------------------------------
Tensor full(const Shape& shape, const Number& value, DType dtype);
Tensor arange(const Number& start, const Number& end, const Number& step, DType dtype);
void fill_(const Tensor& x, const Number& value);
Tensor rand(const Shape& shape);  // [0, 1)
Tensor randn(const Shape& shape);
Tensor randint(std::int64_t low, std::int64_t high, const Shape& shape);
Tensor randperm(std::int64_t n);
void uniform_(const Tensor& x, double low, double high);
void normal_(const Tensor& x, double mean, double std);
void trunc_normal_(const Tensor& x, double mean, double std, double low, double high);
void bernoulli_(const Tensor& x, double probability);

// ---- binary.cpp: with NumPy broadcasting ------------------------------------------------------------------------
Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
Tensor pow(const Tensor& base, const Tensor& exponent);
Tensor maximum(const Tensor& a, const Tensor& b);  // ties: half of the gradient each, NaN wins (PyTorch)
Tensor minimum(const Tensor& a, const Tensor& b);
// Comparisons give booleans and no gradient; int64 with int64 compares exactly.
Tensor eq(const Tensor& a, const Tensor& b);
Tensor ne(const Tensor& a, const Tensor& b);
Tensor lt(const Tensor& a, const Tensor& b);
Tensor le(const Tensor& a, const Tensor& b);
Tensor gt(const Tensor& a, const Tensor& b);
Tensor ge(const Tensor& a, const Tensor& b);
// On booleans only.
Tensor logical_and(const Tensor& a, const Tensor& b);
Tensor logical_or(const Tensor& a, const Tensor& b);
Tensor logical_not(const Tensor& a);
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);  // condition: boolean
Tensor masked_fill(const Tensor& x, const Tensor& mask, const Number& value);

// ---- unary.cpp --------------------------------------------------------------------------------------------------
Tensor neg(const Tensor& x);
Tensor abs(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor square(const Tensor& x);
Tensor reciprocal(const Tensor& x);
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor clip(const Tensor& x, std::optional<double> low, std::optional<double> high);
Tensor relu(const Tensor& x);
Tensor leaky_relu(const Tensor& x, double negative_slope);
Tensor elu(const Tensor& x, double alpha);
Tensor gelu(const Tensor& x, const std::string& approximate);  // "none" (erf) or "tanh"
Tensor silu(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor sigmoid(const Tensor& x);
Tensor softplus(const Tensor& x, double beta, double threshold);
Tensor hardtanh(const Tensor& x, double min_val, double max_val);
Tensor isnan(const Tensor& x);
Tensor isfinite(const Tensor& x);

// ---- reduce.cpp: `dims` empty means all -------------------------------------------------------------------------
Tensor sum(const Tensor& x, const Dims& dims, bool keepdim);
Tensor mean(const Tensor& x, const Dims& dims, bool keepdim);
Tensor var(const Tensor& x, const Dims& dims, bool keepdim, std::int64_t correction);
/// sqrt(var), also where the squares are too small or too large for float32. Where it is 0, the gradient is 0
/// (PyTorch).
Tensor standard_deviation(const Tensor& x, const Dims& dims, bool keepdim, std::int64_t correction);
Tensor amax(const Tensor& x, const Dims& dims, bool keepdim);  // ties share the gradient evenly
Tensor amin(const Tensor& x, const Dims& dims, bool keepdim);
std::tuple<Tensor, Tensor> max(const Tensor& x, std::int64_t dim, bool keepdim);  // values, indices (the first)
std::tuple<Tensor, Tensor> min(const Tensor& x, std::int64_t dim, bool keepdim);
Tensor argmax(const Tensor& x, OptionalDim dim, bool keepdim);
Tensor argmin(const Tensor& x, OptionalDim dim, bool keepdim);
Tensor logsumexp(const Tensor& x, const Dims& dims, bool keepdim);
Tensor any(const Tensor& x, const Dims& dims, bool keepdim);  // whether one is not 0: boolean, no gradient
Tensor all(const Tensor& x, const Dims& dims, bool keepdim);  // whether none is 0
/// (Σ |x|^p)^(1/p) for p = 1 and 2, max |x| for infinity; where it is 0, the gradient is 0 (PyTorch).
Tensor norm(const Tensor& x, double p, const Dims& dims, bool keepdim);

// ---- scan.cpp ---------------------------------------------------------------------------------------------------
Tensor prod(const Tensor& x, OptionalDim dim,
            bool keepdim);                         // of all without dim; its gradient is right with zeros too
Tensor cumsum(const Tensor& x, std::int64_t dim);  // y[i] = x[0] + ... + x[i]
/// The k largest (smallest) values along a dimension and their indices; the first of equals before the others, NaN is
/// the largest. In this order if `sorted`.
std::tuple<Tensor, Tensor> topk(const Tensor& x, std::int64_t k, std::int64_t dim, bool largest, bool sorted);

// ---- shape.cpp --------------------------------------------------------------------------------------------------
Tensor reshape(const Tensor& x, const Dims& shape);  // one -1 allowed; a view where the memory order allows
Tensor permute(const Tensor& x, const Dims& dims);   // a view under another memory order
Tensor transpose(const Tensor& x, std::int64_t dim0, std::int64_t dim1);
Tensor squeeze(const Tensor& x, OptionalDim dim);
Tensor unsqueeze(const Tensor& x, std::int64_t dim);
Tensor flatten(const Tensor& x, std::int64_t start_dim, std::int64_t end_dim);
Tensor expand(const Tensor& x, const Dims& shape);  // -1 keeps a size
Tensor flip(const Tensor& x, const Dims& dims);
Tensor cat(const std::vector<Tensor>& tensors, std::int64_t dim);
Tensor stack(const std::vector<Tensor>& tensors, std::int64_t dim);
std::vector<Tensor> split(const Tensor& x, const Dims& sizes, std::int64_t dim);  // sizes add up to x.shape[dim]
std::vector<Tensor> chunk(const Tensor& x, std::int64_t chunks, std::int64_t dim);

// ---- index.cpp --------------------------------------------------------------------------------------------------
/// x[start:stop:step] along one dimension; step >= 1, bounds already clamped by the caller's slice.
Tensor slice(const Tensor& x, std::int64_t dim, std::int64_t start, std::int64_t stop, std::int64_t step);
Tensor select(const Tensor& x, std::int64_t dim, std::int64_t index);           // x[..., index, ...], dimension removed
Tensor index_select(const Tensor& x, std::int64_t dim, const Tensor& indices);  // indices (n,) int64, may repeat
/// x[i] for int64 indices of any shape on the first dimension: shape indices.shape + x.shape[1:].
Tensor take_rows(const Tensor& x, const Tensor& indices);
Tensor masked_select(const Tensor& x, const Tensor& mask);  // x[mask], mask boolean of x's leading dimensions
Tensor gather(const Tensor& x, std::int64_t dim, const Tensor& indices);  // as torch.gather

// ---- matmul.cpp -------------------------------------------------------------------------------------------------
Tensor matmul(const Tensor& a, const Tensor& b);  // NumPy's rules: vectors, matrices, broadcast batches
/// y = activation(x W^T + b); x (..., in), W (out, in) lying as [in, out], b (out) or undefined.
/// activation: "" or one of relu, leaky_relu, elu, gelu, gelu_tanh, silu, tanh, sigmoid, softplus, hardtanh (PyTorch's
/// default parameters), fused with the product.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const std::string& activation);

// ---- conv.cpp: activations lie channels-last, weights as [R, S, C / groups, K]; others are converted --------------
using Padding = std::variant<Dims, std::string>;  // numbers, "same" or "valid"
/// y = activation(conv(x, weight) + bias); x (N, C, H, W) or (C, H, W), weight (K, C / groups, R, S), bias (K) or
/// undefined. stride, padding and dilation: one number, or one per dimension. activation: as for linear.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Dims& stride, const Padding& padding,
              const Dims& dilation, std::int64_t groups, const std::string& activation);
/// The same for x (N, C, L) or (C, L) and weight (K, C / groups, S).
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Dims& stride, const Padding& padding,
              const Dims& dilation, std::int64_t groups, const std::string& activation);
/// The transpose of conv2d as a map of x: x (N, C, H, W) or (C, H, W), weight (C, K / groups, R, S), bias (K).
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Dims& stride,
                        const Dims& padding, const Dims& output_padding, std::int64_t groups, const Dims& dilation,
                        const std::string& activation);

// ---- softmax.cpp ------------------------------------------------------------------------------------------------
Tensor softmax(const Tensor& x, std::int64_t dim);
Tensor log_softmax(const Tensor& x, std::int64_t dim);

// ---- rnn.cpp, gru.cpp, lstm.cpp: one layer over all steps, one or both directions -------------------------------
// x (B, T, I), row-major or step by step in memory; states (D, B, H) or undefined: zeros; lengths (B) int64 or
// undefined. `weights`: for each of the D directions weight_ih (gates H, I), weight_hh, bias_ih, bias_hh (or
// undefined), in PyTorch's gate order. Results: y (B, T, D H), 0 past a row's end, and the states at the rows' ends.
std::tuple<Tensor, Tensor> rnn(const Tensor& x, const Tensor& h0, const std::vector<Tensor>& weights,
                               const Tensor& lengths, const std::string& nonlinearity);  // "tanh" or "relu"
std::tuple<Tensor, Tensor> gru(const Tensor& x, const Tensor& h0, const std::vector<Tensor>& weights,
                               const Tensor& lengths, bool reset_after);
/// Weights: also weight_hr (P, H) and weight_peephole (3, H), each or undefined; h is (D, B, P) when projected.
/// `mask` (D, B, P) multiplies h on its way into the recurrent product; a zoneout is one number or (D, B, T, H) of 0
/// and 1, where 1 keeps the old state. None of the three gets a gradient, or may ask for one. With layer normalisation
/// four more weights for each direction: gain_ih (4H), gain_hh (4H), gain_c (H), bias_c (H) or undefined.
std::tuple<Tensor, Tensor, Tensor> lstm(const Tensor& x, const Tensor& h0, const Tensor& c0,
                                        const std::vector<Tensor>& weights, const Tensor& lengths, const Tensor& mask,
                                        const Tensor& zoneout_h, const Tensor& zoneout_c);

// ---- loss.cpp: reduction is "mean", "sum" or "none" ---------------------------------------------------------------
/// input (N, C, ...) logits; target (N, ...) int64 class indices or (N, C, ...) float32 probabilities;
/// weight (C) or undefined; "mean" divides by the sum of the targets' weights (PyTorch).
Tensor cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight, std::int64_t ignore_index,
                     double label_smoothing, const std::string& reduction);
Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target, const Tensor& weight, std::int64_t ignore_index,
                const std::string& reduction);
Tensor binary_cross_entropy(const Tensor& probabilities, const Tensor& target, const Tensor& weight,
                            const std::string& reduction);
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target, const Tensor& weight,
                                        const Tensor& pos_weight, const std::string& reduction);
Tensor mse_loss(const Tensor& input, const Tensor& target, const std::string& reduction);
Tensor l1_loss(const Tensor& input, const Tensor& target, const std::string& reduction);
Tensor huber_loss(const Tensor& input, const Tensor& target, double delta, const std::string& reduction);
Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, double beta, const std::string& reduction);
Tensor kl_div(const Tensor& log_probabilities, const Tensor& target, bool log_target,
              const std::string& reduction);  // also "batchmean"

// ---- dropout.cpp ------------------------------------------------------------------------------------------------
/// Inverted dropout: zero with probability p, else divide by 1 - p. The mask is a function of (seed, offset, index).
Tensor dropout(const Tensor& x, double p);
Tensor dropout2d(const Tensor& x, double p);  // whole channels of (N, C, H, W) or (N, C, L)

// ---- pool.cpp: over the last dimension or the last two, as many as kernel_size or output_size has numbers -----------
// x is (N, C, H, W) or (C, H, W), or (N, C, L) or (C, L); memory is channels-last. Other arguments: one number for all
// dimensions or one for each; an empty stride is kernel_size.
Tensor max_pool(const Tensor& x, const Dims& kernel_size, const Dims& stride, const Dims& padding, const Dims& dilation,
                bool ceil_mode);
/// Also int64 indices into the input's H * W (or L).
std::tuple<Tensor, Tensor> max_pool_with_indices(const Tensor& x, const Dims& kernel_size, const Dims& stride,
                                                 const Dims& padding, const Dims& dilation, bool ceil_mode);
Tensor avg_pool(const Tensor& x, const Dims& kernel_size, const Dims& stride, const Dims& padding, bool ceil_mode,
                bool count_include_pad, std::optional<std::int64_t> divisor_override);
Tensor adaptive_avg_pool(const Tensor& x, const Dims& output_size);
Tensor adaptive_max_pool(const Tensor& x, const Dims& output_size);
std::tuple<Tensor, Tensor> adaptive_max_pool_with_indices(const Tensor& x, const Dims& output_size);

// ---- norm.cpp: x (N, C, ...), channels-last in memory; weight and bias (C) or undefined -----------------------------
/// Training: statistics of the batch, and running_mean and running_var (both (C), or undefined) are updated in place.
/// activation: "" or "relu", in the same pass.
Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, bool training, double momentum, double eps, const std::string& activation);
Tensor instance_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                     const Tensor& bias, bool use_input_stats, double momentum, double eps);
Tensor group_norm(const Tensor& x, std::int64_t num_groups, const Tensor& weight, const Tensor& bias, double eps);

// ---- layer_norm.cpp: over the last dimensions, of sizes normalized_shape; weight and bias of that shape or undefined
// -
Tensor layer_norm(const Tensor& x, const Dims& normalized_shape, const Tensor& weight, const Tensor& bias, double eps);
Tensor rms_norm(const Tensor& x, const Dims& normalized_shape, const Tensor& weight, std::optional<double> eps);

// ---- embedding.cpp ----------------------------------------------------------------------------------------------
/// y[...] = weight[indices[...]]: weight (V, D), indices (...) int64 in [0, V), y (..., D). Row `padding_idx` (-1:
/// none) gets no gradient. With `sparse` a weight that is a row-major leaf gets a row-sparse gradient (row_gradient.h),
/// at a cost in proportion to the indices; else a dense one. Same bits either way, for any number of threads.
Tensor embedding(const Tensor& weight, const Tensor& indices, std::int64_t padding_idx, bool sparse);

// ---- attention.cpp ----------------------------------------------------------------------------------------------
/// softmax(scale query key^T + attn_mask) value; query (..., T, D), key (..., S, D), value (..., S, Dv), result
/// (..., T, Dv). A query that sees no key gives zeros. The last of the leading dimensions, if there are two or more, is
/// the heads.
/// attn_mask: boolean (true: take part) or float32 (added), broadcast to (..., T, S), or undefined; lengths: (B) int64,
/// the keys of each row of the batch that count, or undefined; is_causal: query i sees keys 0 .. i; scale: 1 / sqrt(D)
/// by default.
Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const Tensor& attn_mask, const Tensor& lengths, double dropout_p, bool is_causal,
                                    std::optional<double> scale);
/// The same of queries, keys and values that lie side by side: packed (B, T, 3 E), result (B, T, E).
Tensor self_attention(const Tensor& packed, const Tensor& attn_mask, const Tensor& lengths, std::int64_t heads,
                      double dropout_p, bool is_causal, std::optional<double> scale);
/// Decoding step by step: self-attention over earlier positions and the T of packed (B, T, 3 E); result (B, T, E).
/// Their keys and values are written to keys and values (B, capacity, E, row-major) behind the first `length` ones.
/// Records no gradient.
Tensor attend_cached(const Tensor& packed, const Tensor& keys, const Tensor& values, std::int64_t length,
                     std::int64_t heads);

// ---- transformer.cpp ------------------------------------------------------------------------------------------------
/// Decoding: the T new positions of x (B, T, E) through all layers of a Transformer; result (B, T, E). Records no
/// gradient. Each layer has two or three parts, x + f(norm(x)) with norm_first, else norm(x + f(x)):
/// attend_cached() between in_proj (3 E, E) and out_proj (E, E), with the layer's keys and values (B, capacity, E); if
/// there are sides, attention of the first E rows of in_proj to sides (B, S, 2 E), keys and values of the encoder's
/// output side by side, of which `lengths` (B) count; linear1 (F, E), the activation, linear2 (E, F).
/// weights: six for each part, the two products' with their biases, then the norm's (E) with its bias; at the end
/// weight and bias of one more norm, or nothing. Biases and the norms' weights may be undefined.
Tensor transformer_step(const Tensor& x, const std::vector<Tensor>& weights, double eps, bool norm_first,
                        std::int64_t heads, const std::string& activation, const std::vector<Tensor>& keys,
                        const std::vector<Tensor>& values, std::int64_t length, const std::vector<Tensor>& sides,
                        const Tensor& lengths);

// ---- attentive.cpp: a recurrent decoder with additive attention, step by step; no gradient is recorded --------------
/// What the last M columns of weight_ih (G, E + M) and of join_weight (J, H + M) make of memory (B, S, M), side by
/// side: (B, S, G + J).
Tensor attentive_memory(const Tensor& memory, const Tensor& weight_ih, const Tensor& join_weight);
/// With w = softmax_j(score_weight . tanh(query_weight h_top + keys_j)) over the first `lengths` keys and the context
/// m = Σ_j w_j memory_j: the layers' step from [x, m], and tanh(join_weight [h'_top, m] + join_bias).
/// x (B, E); h and c (layers, B, H), c undefined for GRU (reset_after); keys (B, S, A); values: attentive_memory();
/// query_weight (A, H); score_weight (1, A); weights: weight_ih, weight_hh, bias_ih, bias_hh of each layer.
/// Results: the joined (B, J), w (B, S), h' and for LSTM c'.
std::vector<Tensor> attentive_step(const Tensor& x, const Tensor& h, const Tensor& c, const Tensor& keys,
                                   const Tensor& values, const Tensor& lengths, const Tensor& query_weight,
                                   const Tensor& score_weight, const std::vector<Tensor>& weights,
                                   const Tensor& join_weight, const Tensor& join_bias);

// ---- optim.cpp: one call updates the whole list. Parameters whose gradient is undefined are left alone. ------------
// State lists (momentum buffers ...) have one row-major-in-the-parameter's-order tensor per parameter.
// lr is the step's learning rate; step counts are 1 for the first update; l1 soft-thresholds by lr * l1 afterwards.
// clip_value limits the elements of the gradients as the step reads them, which are not written.
inline constexpr double kNoLimit = std::numeric_limits<double>::infinity();
struct SgdOptions {
  double lr, momentum, dampening, weight_decay, l1;
  bool nesterov, maximize, first_step;
  double clip_value = kNoLimit;
};
void sgd_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& momentum_buffers,
              const SgdOptions& options);
struct RmspropOptions {
  double lr, alpha, eps, weight_decay, momentum, l1;
  bool centered, maximize;
  double clip_value = kNoLimit;
};
void rmsprop_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& square_averages,
                  const std::vector<Tensor>& momentum_buffers, const std::vector<Tensor>& gradient_averages,
                  const RmspropOptions& options);
struct AdagradOptions {
  double lr, lr_decay, weight_decay, eps, l1;
  bool maximize;
  std::int64_t step;
  double clip_value = kNoLimit;
};
void adagrad_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& square_sums,
                  const AdagradOptions& options);
struct AdamOptions {
  double lr, beta1, beta2, eps, weight_decay, l1;
  bool decoupled_weight_decay, amsgrad, maximize;
  std::int64_t step;
  double clip_value = kNoLimit;
};
void adam_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& first_moments,
               const std::vector<Tensor>& second_moments, const std::vector<Tensor>& max_second_moments,
               const AdamOptions& options);
struct NadamOptions {
  double lr, beta1, beta2, eps, weight_decay, momentum_decay, l1;
  bool decoupled_weight_decay, maximize;
  std::int64_t step;
  double mu_product;  // product of the mu of all earlier steps
  double clip_value = kNoLimit;
};
void nadam_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& first_moments,
                const std::vector<Tensor>& second_moments, const NadamOptions& options);
/// Euclidean (2), or other p-norm (inf allowed) of all gradients together, before clipping; scales them in place.
double clip_grad_norm_(const std::vector<Tensor>& parameters, double max_norm, double norm_type,
                       bool error_if_nonfinite);
void clip_grad_value_(const std::vector<Tensor>& parameters, double clip_value);

}  // namespace nervure::ops
