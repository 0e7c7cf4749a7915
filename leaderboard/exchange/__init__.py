"""Results for others: exported, merged with those of other machines, packed to be handed in."""
