// The launchers of the LSTM kernels. lstm.cu chooses among them.
#pragma once

#include "kernels/lstm_cuda.h"

namespace crnn {

void lstm_plain_forward(const LstmCudaForward& args, CUstream_st* stream);
void lstm_plain_backward(const LstmCudaBackward& args, CUstream_st* stream);

// Whether the cluster kernels' code for the current device has what sm_90 brought.
bool lstm_cluster_kernels_run();

// args.kernel is cluster4 or cluster8 and suits dims and precision.
void lstm_cluster_forward(const LstmCudaForward& args, CUstream_st* stream);
void lstm_cluster_backward(const LstmCudaBackward& args, CUstream_st* stream);

}  // namespace crnn
