"""What `bench crosscheck` compares: metrics of ours and of Quantus, a file a family; `listed.PAIRS` are all of them."""
