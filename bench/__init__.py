"""The bench lets every explainer explain every task and every metric judge it; the command is `bench`."""
