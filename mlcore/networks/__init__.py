"""Networks: ONNX, Keras and PyTorch models to standalone C++ (the job of ROOT's SOFIE)."""
