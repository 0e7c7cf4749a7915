"""The contract that every explainer keeps, as checks on small networks of the usual architectures."""
