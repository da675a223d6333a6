// Everything of one instruction set, and its kernels in the order of `library.py`.

#include "numbers.h"
#include "vector.h"
#include "tiles.h"
#include "forward.h"
#include "backward.h"
#include "gradient.h"
#include "steps.h"
#include "softmax.h"

void* const kTable[] = {
    (void*)forward, (void*)backward, (void*)weight_gradient,
    (void*)lstm_forward<false>, (void*)lstm_forward<true>, (void*)gru_forward,
    (void*)lstm_backward<false>, (void*)lstm_backward<true>, (void*)gru_backward,
    (void*)masked, (void*)vocabulary_loss,
};
