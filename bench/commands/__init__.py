"""The commands, a file each; nothing else in the house prints."""
