"""Finding the lungs in radiographs."""
