"""The reference models, and architectures at any configuration: specs with the names of PyTorch's classes."""
