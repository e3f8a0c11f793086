#define KERNELS_TARGET avx2
#include "single_event_choice.hpp"
