"""How well a classifier does: its predictions, scores, tables and pictures of them."""
