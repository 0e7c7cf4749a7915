"""How tables look: laid out once, then written as text for a terminal, as Markdown, as LaTeX."""
