#define KERNELS_TARGET portable
#include "single_event_choice.hpp"
