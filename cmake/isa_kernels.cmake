# Every file of cpp/kernels is compiled once per instruction set, into an object library of its own; NV_ISA names the
# namespace its code lies in. The choice between them is made at import (cpp/core/dispatch.h).
file(GLOB kernel_sources CONFIGURE_DEPENDS cpp/kernels/*.cpp)
# What gains from all of -O3: many sums or constants kept in registers.
set(kernel_sources_o3 conv_depthwise conv_line conv_slide conv_tile gemm_tile gemv optim row_norm unary)
list(TRANSFORM kernel_sources_o3 REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/cpp/kernels/\\1.cpp")
# The rest gets -O1 and those of the further optimisations that it was measured to gain from (the transcendental
# functions up to 1.6x): inner loops are vectors and unrolled as written. This takes 40 % less time to compile.
set(kernel_sources_o1 ${kernel_sources})
list(REMOVE_ITEM kernel_sources_o1 ${kernel_sources_o3})
set(kernel_options_o3 -O3)
set(kernel_options_o1 -O1 -fstrict-aliasing -finline-functions -fexpensive-optimizations -fgcse
                      -frerun-cse-after-loop -fschedule-insns2 -ftree-vectorize)
set(NERVURE_KERNEL_OBJECTS)

# -fno-math-errno, -fno-trapping-math: let sqrt, comparisons and conversions vectorise; results stay IEEE.
# -fno-exceptions ... -fno-threadsafe-statics: nothing that would emit code shared between instruction sets.
# (Never -ffast-math: linking with it would set flush-to-zero for the whole process.)
set(kernel_options -fno-math-errno -fno-trapping-math -ffp-contract=fast
                   -fno-exceptions -fno-rtti -fno-threadsafe-statics -Wno-psabi -Wno-ignored-attributes
                   # GCC 12 reports its own AVX-512 headers (undefined pass-through operands)
                   -Wno-uninitialized -Wno-maybe-uninitialized)

function(add_isa_kernels isa)
  foreach(level IN ITEMS o3 o1) # each with a precompiled header of its own: mixed levels crash GCC 12
    set(target kernels_${isa}_${level})
    add_library(${target} OBJECT ${kernel_sources_${level}})
    target_include_directories(${target} PRIVATE cpp)
    target_compile_definitions(${target} PRIVATE NV_ISA=${isa})
    target_compile_options(${target} PRIVATE ${warnings} ${kernel_options_${level}} ${kernel_options} ${ARGN})
    if(NERVURE_ONE_GO)
      # Reading the compiler's header of intrinsics takes as long as compiling a small kernel.
      target_precompile_headers(${target} PRIVATE cpp/core/vmath.h cpp/core/parallel.h cpp/core/scratch.h)
    endif()
    list(APPEND NERVURE_KERNEL_OBJECTS $<TARGET_OBJECTS:${target}>)
  endforeach()
  set(NERVURE_KERNEL_OBJECTS ${NERVURE_KERNEL_OBJECTS} PARENT_SCOPE)
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  add_isa_kernels(baseline -march=x86-64-v2 -mtune=generic)
  add_isa_kernels(avx2 -march=x86-64-v3 -mtune=generic)
  add_isa_kernels(avx512 -march=x86-64-v4 -mtune=generic -mprefer-vector-width=512)
else()
  # The scheduler of GCC for AArch64 spills the accumulators of the GEMM kernel.
  add_isa_kernels(baseline -fno-schedule-insns)
endif()
