"""Networks: architectures, their weights in files, and networks made elsewhere."""
