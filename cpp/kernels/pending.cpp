// SPDX-License-Identifier: BSD-3-Clause
// Empty until the first kernels land; deleted then.
