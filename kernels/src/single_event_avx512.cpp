#define KERNELS_TARGET avx512
#include "single_event_choice.hpp"
