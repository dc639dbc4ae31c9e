"""CUDA kernels run on the CPU: see emulator.h for how, and build.py for the module."""
