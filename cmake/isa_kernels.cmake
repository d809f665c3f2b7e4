# Every file of cpp/kernels is compiled once per instruction set, into an object library of its own; NV_ISA names the
# namespace its code lies in. The choice between them is made at import (cpp/core/dispatch.h).
file(GLOB kernel_sources CONFIGURE_DEPENDS cpp/kernels/*.cpp)
set(NERVURE_KERNEL_OBJECTS)

# -fno-math-errno, -fno-trapping-math: let sqrt, comparisons and conversions vectorise; results stay IEEE.
# -fno-exceptions ... -fno-threadsafe-statics: nothing that would emit code shared between instruction sets.
# (Never -ffast-math: linking with it would set flush-to-zero for the whole process.)
# -O1 and those of the further optimisations that the kernels were measured to gain from (the transcendental functions
# up to 1.6x): their inner loops are vectors and unrolled as written. This takes 40 % less time to compile than -O3.
set(kernel_options -O1 -fstrict-aliasing -finline-functions -fexpensive-optimizations -fgcse -frerun-cse-after-loop
                   -fschedule-insns2 -ftree-vectorize
                   -fno-math-errno -fno-trapping-math -ffp-contract=fast
                   -fno-exceptions -fno-rtti -fno-threadsafe-statics -Wno-psabi -Wno-ignored-attributes
                   # GCC 12 reports its own AVX-512 headers (undefined pass-through operands)
                   -Wno-uninitialized -Wno-maybe-uninitialized)
# What gains from all of -O3: many sums or constants kept in registers.
set_source_files_properties(cpp/kernels/gemm_tile.cpp cpp/kernels/gemv.cpp cpp/kernels/conv_tile.cpp
                            cpp/kernels/conv_line.cpp cpp/kernels/conv_slide.cpp cpp/kernels/conv_depthwise.cpp
                            cpp/kernels/row_norm.cpp cpp/kernels/unary.cpp cpp/kernels/optim.cpp PROPERTIES
                            COMPILE_OPTIONS -O3
                            SKIP_PRECOMPILE_HEADERS ON) # precompiled with other options they crash GCC 12

function(add_isa_kernels isa)
  add_library(kernels_${isa} OBJECT ${kernel_sources})
  target_include_directories(kernels_${isa} PRIVATE cpp)
  target_compile_definitions(kernels_${isa} PRIVATE NV_ISA=${isa})
  target_compile_options(kernels_${isa} PRIVATE ${warnings} ${kernel_options} ${ARGN})
  if(NERVURE_ONE_GO)
    # Reading the compiler's header of intrinsics takes as long as compiling a small kernel.
    target_precompile_headers(kernels_${isa} PRIVATE cpp/core/vmath.h cpp/core/parallel.h cpp/core/scratch.h)
  endif()
  set(NERVURE_KERNEL_OBJECTS ${NERVURE_KERNEL_OBJECTS} $<TARGET_OBJECTS:kernels_${isa}> PARENT_SCOPE)
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  add_isa_kernels(baseline -march=x86-64-v2 -mtune=generic)
  add_isa_kernels(avx2 -march=x86-64-v3 -mtune=generic)
  add_isa_kernels(avx512 -march=x86-64-v4 -mtune=generic -mprefer-vector-width=512)
else()
  # The scheduler of GCC for AArch64 spills the accumulators of the GEMM kernel.
  add_isa_kernels(baseline -fno-schedule-insns)
endif()
