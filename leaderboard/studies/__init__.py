"""Studies: questions that take several tasks, or several maps of one network, each answered on one page."""
