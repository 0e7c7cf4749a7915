"""Pages of one file each, for a browser: the report of a results folder, and a comparison."""
